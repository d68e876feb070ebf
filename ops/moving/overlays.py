"""What both brokers import while a system moves from one to the other.

Programs have both in BROKER_URLS, and stay with the one that lets them in. That is decided by the
users' limits, which are a part of the definitions: with none of its connections allowed a user
keeps those that it has, and gets no other.
"""

from ops.services.operator import OPERATOR
from postroad.topology.definitions import Definitions
from postroad.topology.names import SCALER, VHOST

SHUT, OPEN = "move-shut.json", "move-open.json"


def overlays(wanted: Definitions) -> dict[str, Definitions]:
    """Return definitions that let in the operator alone, and some that let in everybody.

    With both the operator may carry: read and fill every queue, and pass on what others have
    signed. ``wanted``, imported once more, takes that away again.
    """
    return {
        SHUT: _with_users(wanted, {"max-connections": 0}),
        OPEN: _with_users(wanted, {}),
    }


def let_in(wanted: Definitions) -> list[str]:
    """Return the users that are shut out and let in: the services, but not the operator."""
    names = [user["name"] for user in wanted["users"] if "limits" in user]
    return [name for name in names if name not in (OPERATOR, SCALER)]


def _with_users(wanted: Definitions, limits: dict[str, int]) -> Definitions:
    services = let_in(wanted)
    users = [
        user | {"limits": user["limits"] | limits} if user["name"] in services else user
        for user in wanted["users"]
    ]
    return wanted | {
        "users": [
            user | {"tags": ["impersonator"]} if user["name"] == OPERATOR else user
            for user in users
        ],
        "permissions": [
            each | {"write": ".*", "read": ".*"}
            if (each["user"], each["vhost"]) == (OPERATOR, VHOST)
            else each
            for each in wanted["permissions"]
        ],
    }
