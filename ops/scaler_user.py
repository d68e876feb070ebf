"""The broker user that asks how deep queues are, as KEDA does, and may do nothing else."""

from shared.messaging.topology import VHOST, Definitions, with_passwords

SCALER = "scaler"


def with_scaler(definitions: Definitions, password: str) -> Definitions:
    """Add the user: it may open the management API, and no message."""
    user = {"name": SCALER, "tags": ["management"]}
    nothing = {"user": SCALER, "vhost": VHOST, "configure": "^$", "write": "^$", "read": "^$"}
    return definitions | {
        "users": [
            *definitions["users"],
            *with_passwords({"users": [user]}, {SCALER: password})["users"],
        ],
        "permissions": [*definitions["permissions"], nothing],
    }
