import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from ops.services.operator import OPERATOR, operator_rights
from postroad.contracts.registry import CONTRACTS
from postroad.limits import RETRY_DELAYS_S
from postroad.security.keys import Identity, TrustBundle
from postroad.topology.definitions import Definitions, QueueType, definitions, with_passwords
from postroad.topology.names import (
    DEAD_WORK_EXCHANGE,
    EVENTS_EXCHANGE,
    QUARANTINE,
    REFUSED_EXCHANGE,
    REPLIES_EXCHANGE,
    RETRY_EXCHANGE,
    RPC_EXCHANGE,
    SCALER,
    VHOST,
    WAIT_EXCHANGE,
    WORK_EXCHANGE,
    dead_queue,
    rpc_queue,
    wait_key,
    work_queue,
)
from postroad.topology.rules import ChannelClosed, Rules
from postroad.topology.services import Services, ServicesFileError, load_services, trust_bundle

LAST_ATTEMPT = len(RETRY_DELAYS_S) + 1


def entries(topology: Definitions, kind: str, **wanted: Any) -> list[dict[str, Any]]:
    return [
        entry
        for entry in topology[kind]
        if all(entry.get(name) == value for name, value in wanted.items())
    ]


def policy_of(topology: Definitions, queue: str) -> dict[str, Any]:
    (policy,) = (each for each in topology["policies"] if re.search(each["pattern"], queue))
    definition: dict[str, Any] = policy["definition"]
    return definition


def test_every_method_is_routed_to_its_services_queue(topology: Definitions) -> None:
    rules = Rules(topology)

    for method, contract in CONTRACTS.items():
        assert rules.route(RPC_EXCHANGE, method, {}) == [rpc_queue(contract.service)]


def test_an_answering_service_has_a_queue_and_one_for_its_dead_letters(
    topology: Definitions, services: Services
) -> None:
    answering = [name for name, service in services.root.items() if service.answers]
    expected = {queue for name in answering for queue in (rpc_queue(name), f"dead.rpc.{name}")}

    names = {queue["name"] for queue in topology["queues"]}

    assert {name for name in names if ".rpc." in f".{name}"} == expected


def test_a_work_queue_is_a_quorum_queue_and_has_one_for_its_dead_letters(
    topology: Definitions, services: Services
) -> None:
    kinds = {queue["name"]: queue["arguments"]["x-queue-type"] for queue in topology["queues"]}

    for name, service in services.root.items():
        for work in service.works:
            assert kinds[work_queue(name, work)] == "quorum"
            assert kinds[dead_queue(work_queue(name, work))] == "quorum"


def test_every_event_and_job_is_routed_to_the_work_queues_that_take_it(
    topology: Definitions,
) -> None:
    rules = Rules(topology)

    assert rules.route(EVENTS_EXCHANGE, "catalog.sync.requested", {}) == ["work.catalog.sync"]
    assert rules.route(WORK_EXCHANGE, "catalog.pages.fetch", {}) == ["work.catalog.sync"]
    assert rules.route(EVENTS_EXCHANGE, "auth.login.failed", {}) == ["work.auth.audit"]
    assert rules.route(EVENTS_EXCHANGE, "catalog.product.added", {}) == []


def test_failed_work_waits_longer_each_time_and_comes_back_to_its_queue(
    topology: Definitions,
) -> None:
    rules = Rules(topology)
    queue = work_queue("catalog", "sync")

    waits = [
        rules.route(WAIT_EXCHANGE, wait_key(step, queue), {}) for step in range(1, LAST_ATTEMPT)
    ]
    ttls_ms = [policy_of(topology, name)["message-ttl"] for (name,) in waits]
    back = [
        rules.route(RETRY_EXCHANGE, wait_key(step, queue), {}) for step in range(1, LAST_ATTEMPT)
    ]

    assert ttls_ms == sorted(set(ttls_ms))
    assert back == [[queue]] * len(waits)
    assert rules.route(WAIT_EXCHANGE, wait_key(LAST_ATTEMPT, queue), {}) == []


def test_work_is_moved_without_loss(topology: Definitions) -> None:
    for queue in ("work.catalog.sync", "work.auth.audit", "wait.1"):
        policy = policy_of(topology, queue)

        # at-least-once dead-lettering asks for reject-publish (rabbitmq.com/docs/quorum-queues)
        assert policy["dead-letter-strategy"] == "at-least-once"
        assert policy["overflow"] == "reject-publish"


def test_dead_work_is_kept_by_the_queue_it_was_in(topology: Definitions) -> None:
    policy = policy_of(topology, "work.catalog.sync")

    routed = Rules(topology).route(
        policy["dead-letter-exchange"], policy["dead-letter-routing-key"], {}
    )

    assert routed == ["dead.work.catalog.sync"]


def test_the_scaler_may_look_at_queues_and_do_nothing(topology: Definitions) -> None:
    (permission,) = entries(topology, "permissions", user=SCALER)

    (user,) = entries(topology, "users", name=SCALER)
    assert user["tags"] == ["management"]
    assert user["limits"] == {"max-connections": 0, "max-channels": 0}
    assert {permission[act] for act in ("configure", "write", "read")} == {"^$"}


def test_a_queue_has_no_arguments_but_its_type(topology: Definitions) -> None:
    for queue in topology["queues"]:
        assert list(queue["arguments"]) == ["x-queue-type"]
        assert queue["durable"]


def test_every_queue_is_bounded_in_length_and_time(topology: Definitions) -> None:
    for queue in [*(each["name"] for each in topology["queues"]), "amq.gen-x"]:
        policy = policy_of(topology, queue)

        assert policy["max-length"] > 0
        assert queue == QUARANTINE or policy["message-ttl"] > 0


def test_in_quarantine_nothing_is_lost(topology: Definitions) -> None:
    policy = policy_of(topology, QUARANTINE)

    assert "message-ttl" not in policy
    assert policy["overflow"] == "reject-publish"


def test_what_nobody_works_on_may_be_looked_at_often(topology: Definitions) -> None:
    # each look is a delivery, and RabbitMQ 4 drops what was delivered 20 times in vain
    for queue in ("dead.work.catalog.sync", "dead.rpc.auth", QUARANTINE, "wait.1"):
        assert policy_of(topology, queue)["delivery-limit"] >= 1_000_000


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_each_quorum_queue_has_a_delivery_limit_and_no_classic_one(
    services: Services, queue_type: QueueType
) -> None:
    topology = definitions(services, rpc_queue_type=queue_type)
    rules = Rules(topology)

    for queue in topology["queues"]:
        is_quorum = queue["arguments"]["x-queue-type"] == "quorum"
        assert ("delivery-limit" in rules.policy(queue["name"])) is is_quorum, queue["name"]


def test_only_who_redrives_reads_dead_letters_and_writes_to_the_way_back(
    services: Services,
) -> None:
    topology = definitions(Services(services.root | {OPERATOR: operator_rights()}))
    for permission in topology["permissions"]:
        may = permission["user"] == OPERATOR
        for queue in ("dead.rpc.auth", "dead.work.catalog.sync", QUARANTINE):
            assert bool(re.search(permission["read"], queue)) is may
        assert bool(re.search(permission["write"], RETRY_EXCHANGE)) is may
        for name in ("dead", "dead.work", "work.catalog.sync", "rpc.auth"):
            if permission["user"] == OPERATOR:
                assert not re.search(permission["read"], name)


def test_a_redrive_and_the_quarantine_have_one_queue_each(topology: Definitions) -> None:
    rules = Rules(topology)

    assert rules.route(RETRY_EXCHANGE, wait_key(0, "work.catalog.sync"), {}) == [
        "work.catalog.sync"
    ]
    assert rules.route(RETRY_EXCHANGE, QUARANTINE, {}) == [QUARANTINE]


def test_a_request_queue_refuses_when_full_and_dead_letters_nothing(topology: Definitions) -> None:
    policy = policy_of(topology, rpc_queue("catalog"))

    assert policy["overflow"] == "reject-publish"
    assert "dead-letter-exchange" not in policy


def test_every_service_is_a_user_without_tags(topology: Definitions, services: Services) -> None:
    users = [user for user in topology["users"] if user["name"] != SCALER]

    assert [(user["name"], user["tags"]) for user in users] == [
        (name, []) for name in services.names
    ]


def test_every_user_has_bounds_on_what_it_may_open(
    topology: Definitions, services: Services
) -> None:
    for user in topology["users"]:
        limits, service = user["limits"], services.root.get(user["name"])
        assert limits["max-connections"] == (service.connections if service else 0)
        assert limits["max-channels"] == 4 * limits["max-connections"]


def test_every_policy_bounds_messages_and_bytes(topology: Definitions) -> None:
    for policy in topology["policies"]:
        assert policy["definition"]["max-length"] > 0
        assert 0 < policy["definition"]["max-length-bytes"] <= 2**30


def test_a_reader_may_cut_dead_letters_of_its_own_queues_only(topology: Definitions) -> None:
    rules = Rules(topology)

    assert rules.route(REFUSED_EXCHANGE, rpc_queue("auth"), {}) == [dead_queue(rpc_queue("auth"))]
    rules.check_topic("auth", "write", REFUSED_EXCHANGE, rpc_queue("auth"))
    for user, key in (("auth", "rpc.catalog"), ("auth", "dead.rpc.auth"), ("bridge", "rpc.auth")):
        with pytest.raises(ChannelClosed):
            rules.check_topic(user, "write", REFUSED_EXCHANGE, key)


def test_every_user_has_a_topic_permission_for_every_topic_exchange(
    topology: Definitions, services: Services
) -> None:
    # where there is none, every routing key is allowed
    for exchange in entries(topology, "exchanges", type="topic"):
        for user in services.names:
            assert entries(topology, "topic_permissions", user=user, exchange=exchange["name"])


def test_nobody_may_use_the_default_exchange(topology: Definitions) -> None:
    for permission in topology["permissions"]:
        for act in ("configure", "write", "read"):
            assert not re.search(permission[act], "amq.default")


def test_patterns_are_anchored(topology: Definitions) -> None:
    for permission in topology["permissions"]:
        for act in ("configure", "write", "read"):
            assert permission[act].startswith("^")
            assert permission[act].endswith("$")


def test_everything_is_in_one_virtual_host(topology: Definitions) -> None:
    assert topology["vhosts"] == [{"name": VHOST}]
    for kind in set(topology) - {"vhosts", "users"}:
        assert {entry["vhost"] for entry in topology[kind]} == {VHOST}


def test_a_caller_of_one_method_may_write_its_key_only() -> None:
    services = Services.parse('[shop]\ncalls = ["auth.sessions.create"]\n[auth]\nanswers = true')

    (permission,) = entries(
        definitions(services), "topic_permissions", user="shop", exchange=RPC_EXCHANGE
    )

    assert re.search(permission["write"], "auth.sessions.create")
    for key in ("auth.sessions.createx", "xauth.sessions.create", "authxsessions.create", ""):
        assert not re.search(permission["write"], key)


def test_a_service_that_only_answers_may_write_replies_only() -> None:
    topology = definitions(Services.parse("[catalog]\nanswers = true"))
    (permission,) = entries(topology, "permissions", user="catalog")
    writable = [
        name
        for name in (
            RPC_EXCHANGE,
            REPLIES_EXCHANGE,
            EVENTS_EXCHANGE,
            DEAD_WORK_EXCHANGE,
            REFUSED_EXCHANGE,
            "rpc.auth",
            "reply.bridge.x",
        )
        if re.search(permission["write"], name)
    ]

    assert writable == [REPLIES_EXCHANGE, REFUSED_EXCHANGE]
    assert not re.search(permission["configure"], "reply.catalog.x")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[bridge", "Expected"),
        ("[bridge]\nanswer = true", "answer"),
        ("[Bridge]", "'Bridge' is not a valid name"),
        ('[bridge]\ncalls = ["catalog.products.gett"]', "catalog.products.gett"),
        ('[bridge]\ncalls = ["shop.*"]', "shop"),
        ('[bridge]\ncalls = "catalog.*"', "calls"),
        ('[bridge]\nenqueues = ["catalog.pages.burn"]', "catalog.pages.burn"),
        ('[bridge]\nworks = {mail = ["catalog.mail.sent"]}', "works.mail"),
        ('[bridge]\nworks = {"a.b" = ["catalog.*"]}', "'a.b' is not a valid name"),
        ('[bridge]\nwatches = ["work.bridge.mail"]', "no queue work.bridge.mail to watch"),
        ("[scaler]", "a broker user of our own"),
    ],
)
def test_a_wrong_services_file_is_explained(text: str, complaint: str) -> None:
    with pytest.raises(ServicesFileError, match=re.escape(complaint)):
        Services.parse(text)


def test_a_missing_services_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServicesFileError, match=r"nothing\.toml"):
        load_services(tmp_path / "nothing.toml")


def test_a_password_is_kept_as_a_salted_hash(topology: Definitions, services: Services) -> None:
    users = with_passwords(topology, dict.fromkeys([*services.names, SCALER], "secret"))["users"]

    for user in users:
        raw = base64.b64decode(user["password_hash"])
        assert raw[4:] == hashlib.sha256(raw[:4] + b"secret").digest()
    assert len({user["password_hash"] for user in users}) == len(users)
    assert "password_hash" not in topology["users"][0]


def test_the_trust_bundle_holds_public_keys_and_rights(
    services: Services, identities: dict[str, Identity]
) -> None:
    trust = TrustBundle.model_validate(trust_bundle(services, identities.values()))

    for name, service in services.root.items():
        trusted = trust.services[name]
        assert trusted.calls == service.calls
        assert trusted.acts_for_users is service.acts_for_users
        assert trusted.issues_tokens is service.issues_tokens
        assert {key.kid for key in trusted.keys} == {key.kid for key in identities[name].keys}
