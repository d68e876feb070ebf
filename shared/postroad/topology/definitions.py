"""What the broker is told: exchanges, queues, bindings, policies, users and permissions.

Generated from the contracts and ``services.toml``. Topic exchanges wherever services publish,
because only their routing keys can be authorised (docs/decisions/0002-topology.md).
"""

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from postroad.limits import RETRY_DELAYS_S
from postroad.topology.names import (
    DEAD_WORK_EXCHANGE,
    EVENTS_EXCHANGE,
    EVENTS_TO_WORK_EXCHANGE,
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
    wait_queue,
    work_queue,
)
from postroad.topology.permissions import permissions, topic_permissions
from postroad.topology.services import Service, Services, ServicesFileError, key_pattern

RPC_MAX_LENGTH = 10_000  # requests that wait; one more is refused, and its caller told so at once
OWN_QUEUE_TTL_MS = 60_000  # of a queue that nobody consumes: a client's goes with its connection
RPC_TTL_MS = 60_000  # no request has a longer deadline
REPLY_MAX_LENGTH = 50_000  # replies that wait for a caller that stands still
WORK_MAX_LENGTH = 1_000_000  # events and jobs; more stay in their outbox
WORK_TTL_MS = 30 * 86_400_000  # as long as the signature of an event or a job holds
WAIT_TTLS_MS = tuple(1000 * delay_s for delay_s in RETRY_DELAYS_S)
DELIVERY_LIMIT = 20  # of what its workers die of; RabbitMQ 4's own default, before it there is none
DEAD_MAX_LENGTH = 100_000  # then the oldest go
# Of the bodies in a queue, so that no sender fills the disk: as many as the lengths above of the
# size that is usual, with room to spare.
RPC_MAX_BYTES = 64 * 2**20
REPLY_MAX_BYTES = 128 * 2**20  # a page of products may have 4 MiB
WORK_MAX_BYTES = 2**30
DEAD_MAX_BYTES = 256 * 2**20
CHANNELS = 4  # that a user may have for each connection
DEAD_TTL_MS = 14 * 86_400_000
LOOKS = 1_000_000  # each look at what nobody works on counts as a delivery; RabbitMQ 4 allows 20

Definitions = dict[str, Any]
QueueType = Literal["classic", "quorum"]


def definitions(
    services: Services,
    *,
    wait_ttls_ms: Sequence[int] = WAIT_TTLS_MS,
    rpc_queue_type: QueueType = "classic",
) -> Definitions:
    """Generate what the broker imports, without passwords.

    ``wait_ttls_ms``: how long failed work waits each time, before it is tried again.
    ``rpc_queue_type``: of the queues of requests; a cluster wants ``quorum``
    (docs/decisions/0013-cluster.md).

    Raises:
        ServicesFileError: a queue is to take what no contract is named.
    """
    requests = [rpc_queue(name) for name, service in services.root.items() if service.answers]
    works = {
        work_queue(name, queue): taken
        for name, service in services.root.items()
        for queue, taken in service.works.items()
    }
    waits = list(enumerate(wait_ttls_ms, 1))
    return {
        "vhosts": [{"name": VHOST}],
        "users": [
            *(_user(name, service) for name, service in services.root.items()),
            _user(SCALER, Service(connections=0), "management"),
        ],
        "permissions": [
            *(permissions(name, service) for name, service in services.root.items()),
            permissions(SCALER, Service()),
        ],
        "topic_permissions": [
            permission
            for name, service in [*services.root.items(), (SCALER, Service())]
            for permission in topic_permissions(name, service)
        ],
        "exchanges": [
            *(
                _exchange(name, "topic")
                for name in (
                    RPC_EXCHANGE,
                    REPLIES_EXCHANGE,
                    EVENTS_EXCHANGE,
                    EVENTS_TO_WORK_EXCHANGE,
                    WORK_EXCHANGE,
                    WAIT_EXCHANGE,
                    RETRY_EXCHANGE,
                    REFUSED_EXCHANGE,
                )
            ),
            _exchange(DEAD_WORK_EXCHANGE, "direct"),
        ],
        "queues": [
            *(_queue(name, rpc_queue_type) for name in requests),
            *(_queue(name, "quorum") for name in works),
            *(_queue(wait_queue(step), "quorum") for step, _ in waits),
            *(_queue(dead_queue(name), "quorum") for name in (*requests, *works)),
            _queue(QUARANTINE, "quorum"),
        ],
        "bindings": [
            *(
                _binding(RPC_EXCHANGE, name, routing_key=f"{name.removeprefix(rpc_queue(''))}.#")
                for name in requests
            ),
            *(
                binding
                for name, taken in works.items()
                for binding in _work_bindings(name, taken, services)
            ),
            *(
                _binding(WAIT_EXCHANGE, wait_queue(step), routing_key=f"{step}.#")
                for step, _ in waits
            ),
            _binding(RETRY_EXCHANGE, QUARANTINE, routing_key=QUARANTINE),
            *(
                _binding(REFUSED_EXCHANGE, dead_queue(name), routing_key=name)
                for name in (*requests, *works)
            ),
        ],
        "policies": [
            *_request_policies(requests, rpc_queue_type),
            *(_work_policy(name) for name in works),
            *(_wait_policy(wait_queue(step), ttl_ms) for step, ttl_ms in waits),
            *_dead_policies(),
        ],
    }


def with_passwords(definitions: Definitions, passwords: Mapping[str, str]) -> Definitions:
    """Add each user's password, hashed as RabbitMQ keeps it (salted SHA-256)."""
    users = [user | _password_hash(passwords[user["name"]]) for user in definitions["users"]]
    return definitions | {"users": users}


def _user(name: str, service: Service, *tags: str) -> Definitions:
    """Name a user, and bound what it may open: a broker's memory goes for connections, too."""
    most = service.connections
    limits = {"max-connections": most, "max-channels": CHANNELS * most}
    return {"name": name, "tags": list(tags), "limits": limits}


def _exchange(name: str, kind: str) -> Definitions:
    return {
        "name": name,
        "vhost": VHOST,
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queue(name: str, kind: QueueType) -> Definitions:
    return {
        "name": name,
        "vhost": VHOST,
        "durable": True,
        "auto_delete": False,
        "arguments": {"x-queue-type": kind},
    }


def _binding(source: str, queue: str, *, routing_key: str) -> Definitions:
    return {
        "source": source,
        "vhost": VHOST,
        "destination": queue,
        "destination_type": "queue",
        "routing_key": routing_key,
        "arguments": {},
    }


def _work_bindings(queue: str, taken: Iterable[str], services: Services) -> list[Definitions]:
    """Bind a work queue to what it takes, to what comes back to it, and its dead letters."""
    contracts = {
        EVENTS_EXCHANGE: services.events.keys(),
        EVENTS_TO_WORK_EXCHANGE: services.events.keys(),
        WORK_EXCHANGE: services.jobs.keys(),
    }
    bindings = []
    for right in taken:
        exchanges = [
            exchange
            for exchange, names in contracts.items()
            if any(re.fullmatch(key_pattern(right), name) for name in names)
        ]
        if not exchanges:
            raise ServicesFileError(
                f"{queue}: there is no event or job {right!r}; load_services() takes contracts "
                "that are not the registry's"
            )
        bindings += [
            _binding(exchange, queue, routing_key=_binding_key(right)) for exchange in exchanges
        ]
    return [
        *bindings,
        _binding(RETRY_EXCHANGE, queue, routing_key=f"*.{queue}"),
        _binding(DEAD_WORK_EXCHANGE, dead_queue(queue), routing_key=queue),
    ]


def _binding_key(right: str) -> str:
    return right[:-1] + "#" if right.endswith(".*") else right


def _request_policies(requests: Iterable[str], queue_type: QueueType) -> list[Definitions]:
    """Bound what waits for workers, and for callers.

    A policy with a delivery limit counts for no classic queue, not even in what else it says. So
    quorum queues have one of their own, and a classic one that was there before keeps the other.
    """
    pattern = f"^({'|'.join(map(re.escape, requests))})$"
    bounds = {
        "max-length": RPC_MAX_LENGTH,
        "max-length-bytes": RPC_MAX_BYTES,
        "overflow": "reject-publish",
        "message-ttl": RPC_TTL_MS,
    }
    limited = _policy(
        "rpc.quorum", pattern, bounds | {"delivery-limit": DELIVERY_LIMIT}, priority=1
    )
    return [
        _policy("rpc", pattern, bounds),
        *([limited] if queue_type == "quorum" else []),
        _policy(
            "replies",
            r"^(amq\.gen-|reply\.|listen\.)",  # the last two: of clients before 0.2
            {
                "expires": OWN_QUEUE_TTL_MS,
                "max-length": REPLY_MAX_LENGTH,
                "max-length-bytes": REPLY_MAX_BYTES,
                "message-ttl": RPC_TTL_MS,
            },
        ),
    ]


def _work_policy(queue: str) -> Definitions:
    """Lose nothing: what cannot be done, or not in time, is moved to the dead letters."""
    return _policy(
        queue,
        f"^{re.escape(queue)}$",
        {
            "max-length": WORK_MAX_LENGTH,
            "max-length-bytes": WORK_MAX_BYTES,
            "overflow": "reject-publish",
            "message-ttl": WORK_TTL_MS,
            "delivery-limit": DELIVERY_LIMIT,
            "dead-letter-exchange": DEAD_WORK_EXCHANGE,
            "dead-letter-routing-key": queue,
            "dead-letter-strategy": "at-least-once",
        },
    )


def _wait_policy(queue: str, ttl_ms: int) -> Definitions:
    """Let failed work wait, all in one queue equally long: a queue expires from its head only."""
    return _policy(
        queue,
        f"^{re.escape(queue)}$",
        {
            "max-length": WORK_MAX_LENGTH,
            "max-length-bytes": WORK_MAX_BYTES,
            "overflow": "reject-publish",
            "message-ttl": ttl_ms,
            "delivery-limit": LOOKS,
            "dead-letter-exchange": RETRY_EXCHANGE,
            "dead-letter-strategy": "at-least-once",
        },
    )


def _dead_policies() -> list[Definitions]:
    """Keep dead letters for two weeks, and those in quarantine until somebody is done with them."""
    bounds = {
        "max-length": DEAD_MAX_LENGTH,
        "max-length-bytes": DEAD_MAX_BYTES,
        "delivery-limit": LOOKS,
    }
    return [
        _policy("dead", r"^dead\.", bounds | {"message-ttl": DEAD_TTL_MS}),
        _policy(QUARANTINE, rf"^{QUARANTINE}$", bounds | {"overflow": "reject-publish"}),
    ]


def _policy(name: str, pattern: str, definition: Definitions, *, priority: int = 0) -> Definitions:
    return {
        "vhost": VHOST,
        "name": name,
        "pattern": pattern,
        "apply-to": "queues",
        "priority": priority,
        "definition": definition,
    }


def _password_hash(password: str) -> Definitions:
    salt = os.urandom(4)
    digest = hashlib.sha256(salt + password.encode()).digest()
    return {
        "password_hash": base64.b64encode(salt + digest).decode(),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
    }
