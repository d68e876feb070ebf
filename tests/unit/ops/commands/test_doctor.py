"""What `postroad doctor` finds: in a broker's definitions, and in what a system shows."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from time import time
from typing import Any

import pytest

from ops.commands import doctor
from ops.commands.dispatch import run_command
from ops.commands.provision import provision
from ops.health import checks
from ops.health.checks import Depth
from ops.health.drift import COMPARISONS, Finding
from ops.local.broker import PrivateBroker
from ops.state.folder import StateFolder
from postroad.security.keys import Identity
from postroad.security.rotation import rotate
from postroad.topology.definitions import Definitions
from postroad.topology.names import QUARANTINE, VHOST
from postroad.topology.services import Services

Change = Callable[[Definitions], object]


def exported(wanted: Definitions) -> Definitions:
    """Give definitions as a broker exports them: with what it adds, and other people's things."""
    found = deepcopy(wanted)
    for queue in found["queues"]:
        queue["type"] = queue["arguments"]["x-queue-type"]
    found["policies"].append({"name": "theirs", "vhost": "/", "pattern": ".*"})
    bind("rpc.replies", "amq.gen-1", "reply.x.1")(found)
    bind("events", "amq.gen-2", "auth.#")(found)
    return found


def differences(wanted: Definitions, found: Definitions) -> list[str]:
    return [
        finding.problem for compare in COMPARISONS.values() for finding in compare(wanted, found)
    ]


def entry(found: Definitions, kind: str, **wanted: str) -> dict[str, Any]:
    match: dict[str, Any] = next(
        each for each in found[kind] if all(each[name] == value for name, value in wanted.items())
    )
    return match


def drop(kind: str, **wanted: str) -> Change:
    return lambda found: found[kind].remove(entry(found, kind, **wanted))


def put(kind: str, which: dict[str, str], **values: Any) -> Change:
    return lambda found: entry(found, kind, **which).update(values)


def add(kind: str, **values: Any) -> Change:
    return lambda found: found[kind].append({"vhost": VHOST, **values})


def bind(source: str, destination: str, key: str, *, to: str = "queue") -> Change:
    return add(
        "bindings", source=source, destination=destination, destination_type=to, routing_key=key
    )


def test_a_broker_as_it_was_generated_has_nothing_wrong(topology: Definitions) -> None:
    assert differences(topology, exported(topology)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (drop("queues", name="dead.work.catalog.sync"), "the queue dead.work.catalog.sync is"),
        (drop("exchanges", name="dead.work"), "the exchange dead.work is missing"),
        (put("exchanges", {"name": "rpc"}, type="fanout"), "exchange rpc: type is 'fanout'"),
        (put("queues", {"name": "rpc.auth"}, type="stream"), "the queue rpc.auth is stream"),
        (
            drop("bindings", destination="dead.rpc.auth"),
            "the binding of the queue dead.rpc.auth to refused by rpc.auth is missing",
        ),
        (
            bind("events", "rpc.auth", "#"),
            "the binding of the queue rpc.auth to events by # is not one of ours",
        ),
        (
            bind("rpc.replies", "amq.gen-2", "#"),
            "the binding of the queue amq.gen-2 to rpc.replies by # is not one of ours",
        ),
        (
            bind("events", "rpc", "auth.#", to="exchange"),
            "the binding of the exchange rpc to events by auth.# is not one of ours",
        ),
        (
            add("exchanges", name="reply.shop.x", type="topic", durable=True, arguments={}),
            "the exchange reply.shop.x is not one of ours",
        ),
        (
            put("exchanges", {"name": "events"}, arguments={"alternate-exchange": "rpc"}),
            "exchange events: arguments is {'alternate-exchange': 'rpc'}",
        ),
        (
            add("queues", name="amq.gen-2", type="classic", durable=True, auto_delete=False),
            "the queue amq.gen-2 is not one of ours",
        ),
        (
            add("queues", name="amq.gen-3", type="classic", durable=False, auto_delete=True),
            "the queue amq.gen-3 is not one of ours",
        ),
        (
            add("queues", name="listen.shop.x", type="classic", durable=True, auto_delete=True),
            "the queue listen.shop.x is not one of ours",
        ),
        (drop("policies", name="dead"), "the policy dead is missing"),
        (put("policies", {"name": "rpc"}, pattern=".*"), "policy rpc: pattern is '.*'"),
        (
            put("policies", {"name": "dead"}, definition={"max-length": 5}),
            "policy dead: definition is {'max-length': 5}",
        ),
        (add("policies", name="quick", pattern=".*"), "the policy quick is not one of ours"),
        (
            put("users", {"name": "bridge"}, tags=["administrator"]),
            "user bridge: tags is ['administrator']",
        ),
        (
            lambda found: found["users"].append({"name": "guest", "tags": []}),
            "the user guest is not one of ours",
        ),
        (put("permissions", {"user": "bridge"}, write=".*"), "permissions of bridge: write is"),
        (
            drop("topic_permissions", user="bridge", exchange="events"),
            "the topic permission of bridge on events is missing",
        ),
        (
            put("topic_permissions", {"user": "bridge", "exchange": "rpc"}, write=".*"),
            "topic permission of bridge on rpc: write is '.*'",
        ),
    ],
)
def test_what_differs_is_named(topology: Definitions, change: Change, problem: str) -> None:
    found = exported(topology)
    change(found)

    (difference,) = differences(topology, found)

    assert difference.startswith(problem)


# what a system shows


def problems(findings: Any) -> list[str]:
    return [finding.problem for finding in findings]


@pytest.mark.parametrize(
    ("depth", "problem"),
    [
        (Depth("rpc.auth", 0, 1), None),
        (Depth("rpc.auth", 0, 0), "nobody answers rpc.auth"),
        (Depth("rpc.auth", 8_000, 1), "rpc.auth holds 8000 of 10000"),
        (Depth("rpc.auth", 7_999, 1), None),
        (Depth("work.catalog.sync", 0, 0), None),  # it is scaled to nothing when there is nothing
        (
            Depth("work.catalog.sync", 3, 0),
            "nobody works on work.catalog.sync, where 3 wait",
        ),
        (Depth("wait.1", 3, 0), None),
        (Depth("dead.rpc.auth", 3, 0), "3 in dead.rpc.auth"),
        (Depth(QUARANTINE, 1, 0), "1 in quarantine"),
    ],
)
def test_a_queue_in_need_is_found(topology: Definitions, depth: Depth, problem: str | None) -> None:
    found = problems(checks.of_queues([depth], topology))

    assert found == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    ("version", "alarms", "count"),
    [
        ("3.10.8", [], 0),
        ("4.1.0", [], 0),
        ("3.9.29", [], 1),
        ("4.2.6", [], 1),
        ("3.10.8", ["memory"], 1),
    ],
)
def test_a_broker_in_need_is_found(version: str, alarms: list[str], count: int) -> None:
    status = {"rabbitmq_version": version, "alarms": alarms}

    assert len(problems(checks.of_broker(status))) == count


@pytest.mark.parametrize(
    ("ahead_s", "said"), [(4.0, []), (60.0, ["60 s ahead of"]), (-60.0, ["60 s behind"])]
)
def test_clocks_that_differ_are_found(ahead_s: float, said: list[str]) -> None:
    found = problems(checks.of_clock(ahead_s))

    assert [f"the broker's clock is {each} ours" for each in said] == found


@pytest.fixture
def state(tmp_path: Path, services: Services) -> StateFolder:
    state = StateFolder(tmp_path / "state")
    with state.held("tests"):
        provision(state, services)
    return state


def test_a_new_folder_has_nothing_wrong(state: StateFolder, services: Services) -> None:
    assert not [*checks.of_files(state), *checks.of_keys(state, services.names)]


def test_a_rotation_that_was_left_half_done_is_found(
    state: StateFolder, services: Services
) -> None:
    path = state.identity_file("auth")
    rotate(Identity.load(path)).save(path)

    (problem,) = problems(checks.of_keys(state, services.names))

    assert problem.startswith("others do not know the keys that auth has")


def test_keys_without_a_next_one_are_found(state: StateFolder, services: Services) -> None:
    path = state.identity_file("auth")
    identity = Identity.load(path)
    keys = tuple(
        key.model_copy(update={"retires_at": time() + 3_600}) if key.purpose == "tokens" else key
        for key in identity.keys
    )
    identity.model_copy(update={"keys": keys}).save(path)
    trust = json.loads(state.trust_file.read_text())
    trust["services"]["auth"]["keys"] = [key.public().model_dump() for key in keys]
    state.write_trust(trust)

    (problem,) = problems(checks.of_keys(state, services.names))

    assert problem == "auth has no key for tokens that lasts another week"


def test_missing_keys_are_found(state: StateFolder, services: Services) -> None:
    state.identity_file("auth").unlink()

    (problem,) = problems(checks.of_keys(state, services.names))

    assert "cannot read the identity" in problem


@pytest.mark.parametrize("name", ["identity.json", "broker.password"])
def test_a_secret_that_others_may_read_is_found(state: StateFolder, name: str) -> None:
    path = state.folder / "services" / "auth" / name
    path.chmod(0o644)

    (finding,) = checks.of_files(state)

    assert finding == Finding("files", f"others may open {path}", f"chmod 600 {path}")


def test_an_open_folder_is_found(state: StateFolder) -> None:
    state.folder.chmod(0o755)

    (finding,) = checks.of_files(state)

    assert finding.advice == f"chmod go= {state.folder}"


def test_a_full_disk_is_found(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LEAST_FREE_BYTES", 1 << 62)

    assert len(problems(checks.of_disk(state))) == 1


async def test_work_that_waits_for_its_first_worker_is_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without, attended = Depth("work.auth.audit", 2, 0), Depth("work.auth.audit", 2, 1)
    looks = iter([without, without, without, attended])

    async def look(_: PrivateBroker) -> list[Depth]:
        return [next(looks)]

    monkeypatch.setattr(doctor, "_depths", look)
    monkeypatch.setattr(doctor, "_PAUSE_S", 0.0)

    assert await doctor._settled_depths(PrivateBroker(tmp_path)) == [attended]


def run(state: StateFolder, *arguments: str) -> int:
    return run_command(["doctor", *arguments, "--state", str(state.folder)])


def test_where_nothing_runs_only_the_folder_is_looked_at(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(state) == 2

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok  files, keys, disk"
    assert lines[1].startswith("?   broker: nothing runs on ")


def test_where_there_is_no_folder_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(StateFolder(tmp_path / "none")) == 2
    assert "there is no folder" in capsys.readouterr().err
