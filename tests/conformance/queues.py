"""Queues, methods and times that the tests of several modules name."""

from typing import Any

from postroad.contracts.events import SessionRevoked
from postroad.topology.definitions import Definitions
from postroad.topology.names import dead_queue, rpc_queue

AUTH, CATALOG = rpc_queue("auth"), rpc_queue("catalog")
DEAD_CATALOG = dead_queue(CATALOG)
METHOD, AUTH_METHOD = "catalog.products.get", "auth.sessions.create"
REVOKED = SessionRevoked.name
LONG_MS, SHORT_MS = "30000", "1"


def with_policy(definitions: Definitions, name: str, **changes: Any) -> Definitions:
    """Change a policy; an underscore in a key stands for a hyphen."""
    (policy,) = (each for each in definitions["policies"] if each["name"] == name)
    policy["definition"] |= {key.replace("_", "-"): value for key, value in changes.items()}
    return definitions
