"""Exchanges, queues, policies, users and permissions: all generated, declared by no service.

From ``rabbitmq/services.toml`` and the contracts come ``rabbitmq/definitions.json``, which the
broker imports at its start, and the trust bundle. Topic exchanges throughout, because only their
routing keys can be authorised (docs/decisions/0002-topology.md).
"""

import base64
import hashlib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from shared.contracts.registry import CONTRACTS
from shared.contracts.registry import EVENTS as EVENT_CONTRACTS
from shared.messaging.keys import Identity

VHOST = "postroad"
RPC, REPLIES, EVENTS, DEAD = "rpc", "rpc.replies", "events", "dead"

RPC_MAX_LENGTH = 10_000  # requests that wait; one more is refused, and its caller told so at once
RPC_TTL_MS = 60_000  # no request has a longer deadline
REPLY_MAX_LENGTH = 50_000  # replies that wait for a caller that stands still
DEAD_MAX_LENGTH = 100_000  # then the oldest go
DEAD_TTL_MS = 14 * 86_400_000

Definitions = dict[str, Any]


class ServicesFileError(Exception):
    """services.toml is missing or wrong; the message says where."""


class Service(BaseModel):
    """One table of services.toml, which explains the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: bool = False
    calls: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()
    acts_for_users: bool = False
    issues_tokens: bool = False


class Services(RootModel[dict[str, Service]]):
    """All services, by name."""

    @property
    def names(self) -> list[str]:
        """Name the services, in the file's order."""
        return list(self.root)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read services.toml.

        Raises:
            ServicesFileError: it is not TOML, or grants what no contract offers.
        """
        try:
            services = cls.model_validate(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise ServicesFileError(str(error)) from error
        for name, service in services.root.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ServicesFileError(f"{name!r} is no service name: use a-z, 0-9 and _")
            _check_rights(name, "calls", service.calls, CONTRACTS)
            _check_rights(name, "publishes", service.publishes, EVENT_CONTRACTS)
            _check_rights(name, "listens", service.listens, EVENT_CONTRACTS)
        return services


def _check_rights(name: str, field: str, rights: Iterable[str], contracts: Iterable[str]) -> None:
    for right in rights:
        if not any(re.fullmatch(_key_pattern(right), contract) for contract in contracts):
            raise ServicesFileError(f"{name}: there is no contract for {field} = {right!r}")


def load_services(path: Path) -> Services:
    """Read services.toml from a file.

    Raises:
        ServicesFileError: it cannot be read, or is wrong.
    """
    try:
        return Services.parse(path.read_text())
    except OSError as error:
        raise ServicesFileError(f"cannot read {path}: {error.strerror}") from error


def rpc_queue(service: str) -> str:
    """Name the queue of a service's requests."""
    return f"rpc.{service}"


def dead_queue(queue: str) -> str:
    """Name the queue of a queue's dead letters."""
    return f"dead.{queue}"


def definitions(services: Services) -> Definitions:
    """Generate what the broker imports, without passwords."""
    answering = [name for name, service in services.root.items() if service.answers]
    return {
        "vhosts": [{"name": VHOST}],
        "users": [{"name": name, "tags": []} for name in services.names],
        "permissions": [_permissions(name, service) for name, service in services.root.items()],
        "topic_permissions": [
            permission
            for name, service in services.root.items()
            for permission in _topic_permissions(name, service)
        ],
        "exchanges": [
            _exchange(RPC, "topic"),
            _exchange(REPLIES, "topic"),
            _exchange(EVENTS, "topic"),
            _exchange(DEAD, "headers"),
        ],
        "queues": [
            queue
            for name in answering
            for queue in (
                _queue(rpc_queue(name), "classic"),
                _queue(dead_queue(rpc_queue(name)), "quorum"),
            )
        ],
        "bindings": [
            binding
            for name in answering
            for binding in (
                _binding(RPC, rpc_queue(name), routing_key=f"{name}.#"),
                _binding(DEAD, dead_queue(rpc_queue(name)), arguments=_rejected(rpc_queue(name))),
            )
        ],
        "policies": [
            _policy(
                "rpc",
                rf"^rpc\.({'|'.join(answering)})$",
                {
                    "max-length": RPC_MAX_LENGTH,
                    "overflow": "reject-publish",
                    "message-ttl": RPC_TTL_MS,
                    "dead-letter-exchange": DEAD,
                },
            ),
            _policy(
                "replies",
                r"^(reply|listen)\.",
                {"max-length": REPLY_MAX_LENGTH, "message-ttl": RPC_TTL_MS},
            ),
            _policy(
                "dead", r"^dead\.", {"max-length": DEAD_MAX_LENGTH, "message-ttl": DEAD_TTL_MS}
            ),
        ],
    }


def with_passwords(definitions: Definitions, passwords: Mapping[str, str]) -> Definitions:
    """Add each user's password, hashed as RabbitMQ keeps it (salted SHA-256)."""
    users = [user | _password_hash(passwords[user["name"]]) for user in definitions["users"]]
    return definitions | {"users": users}


def trust_bundle(services: Services, identities: Iterable[Identity]) -> dict[str, object]:
    """Put everybody's public keys and rights together (``shared.messaging.keys.TrustBundle``)."""
    return {
        "services": {
            identity.service: {
                "keys": identity.public()["keys"],
                "calls": list(services.root[identity.service].calls),
                "publishes": list(services.root[identity.service].publishes),
                "acts_for_users": services.root[identity.service].acts_for_users,
                "issues_tokens": services.root[identity.service].issues_tokens,
            }
            for identity in identities
        }
    }


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


def _queue(name: str, kind: str) -> Definitions:
    return {
        "name": name,
        "vhost": VHOST,
        "durable": True,
        "auto_delete": False,
        "arguments": {"x-queue-type": kind},
    }


def _binding(
    source: str, queue: str, *, routing_key: str = "", arguments: Definitions | None = None
) -> Definitions:
    return {
        "source": source,
        "vhost": VHOST,
        "destination": queue,
        "destination_type": "queue",
        "routing_key": routing_key,
        "arguments": arguments or {},
    }


def _rejected(queue: str) -> Definitions:
    """Match what a worker rejected; an expired request has had its answer, and is let go."""
    return {
        "x-match": "all-with-x",
        "x-first-death-queue": queue,
        "x-first-death-reason": "rejected",
    }


def _policy(name: str, pattern: str, definition: Definitions) -> Definitions:
    return {
        "vhost": VHOST,
        "name": name,
        "pattern": pattern,
        "apply-to": "queues",
        "priority": 0,
        "definition": definition,
    }


def _permissions(name: str, service: Service) -> Definitions:
    configure, write, read = [], [], []
    if service.calls:
        own_replies = rf"reply\.{name}\..*"
        configure += [own_replies]
        write += ["rpc", own_replies]
        read += [r"rpc\.replies", own_replies]
        # To see whether a worker listens (a passive declare) a user needs some permission on the
        # queue from RabbitMQ 4.3.1 on. This one lets nobody publish: that takes an exchange.
        write += [re.escape(rpc_queue(called)) for called in _called_services(service)]
    if service.publishes:
        write += ["events"]
    if service.listens:
        own_events = rf"listen\.{name}\..*"
        configure += [own_events]
        write += [own_events]
        read += ["events", own_events]
    if service.answers:
        write += [r"rpc\.replies"]
        read += [re.escape(rpc_queue(name))]
    return {
        "user": name,
        "vhost": VHOST,
        "configure": _any_of(configure),
        "write": _any_of(write),
        "read": _any_of(read),
    }


def _topic_permissions(name: str, service: Service) -> list[Definitions]:
    """Authorise routing keys; an exchange without an entry would be open, so each has one."""
    requests = _any_of([_key_pattern(right) for right in service.calls])
    replies = r"^reply\." if service.answers else "^$"
    own_replies = rf"^reply\.{name}\." if service.calls else "^$"
    published = _any_of([_key_pattern(right) for right in service.publishes])
    listened = _any_of([_key_pattern(right) for right in service.listens])
    return [
        _topic_permission(name, RPC, write=requests, read="^$"),
        _topic_permission(name, REPLIES, write=replies, read=own_replies),
        _topic_permission(name, EVENTS, write=published, read=listened),
    ]


def _topic_permission(user: str, exchange: str, *, write: str, read: str) -> Definitions:
    return {"user": user, "vhost": VHOST, "exchange": exchange, "write": write, "read": read}


def _called_services(service: Service) -> list[str]:
    return sorted({right.partition(".")[0] for right in service.calls})


def _key_pattern(right: str) -> str:
    return re.escape(right[:-1]) + ".*" if right.endswith(".*") else re.escape(right)


def _any_of(patterns: list[str]) -> str:
    return f"^({'|'.join(patterns)})$" if patterns else "^$"


def _password_hash(password: str) -> Definitions:
    salt = os.urandom(4)
    digest = hashlib.sha256(salt + password.encode()).digest()
    return {
        "password_hash": base64.b64encode(salt + digest).decode(),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
    }
