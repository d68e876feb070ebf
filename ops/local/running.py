"""The system that runs on a state folder: where it listens, and its broker."""

from dataclasses import asdict

from ops.local import ports
from ops.local.broker import BrokerError, PrivateBroker
from ops.local.broker_node import Ports
from ops.state.folder import StateFolder

AWAY = "the broker is away; it is being started again ('postroad logs --service postroad')"


def addresses(http: str, broker: PrivateBroker) -> dict[str, object]:
    """Return where the running system listens, for ``StateFolder.write_running``."""
    return {"http": http, "amqp": broker.address, "broker": asdict(broker.ports)}


def running_broker(state: StateFolder) -> PrivateBroker | None:
    """Return the broker of the system that runs on a state folder, none if nothing runs.

    It may be away for a moment: the system starts it again.
    """
    running = state.running()
    return PrivateBroker(state.broker_folder, ports=Ports(**running["broker"])) if running else None


def listens(broker: PrivateBroker) -> bool:
    """Tell whether a broker takes connections, and is not just being started again."""
    return ports.is_listening(broker.ports.amqp)


def reachable_broker(state: StateFolder) -> PrivateBroker | None:
    """Return the broker as ``running_broker`` does, to be changed.

    Raises:
        BrokerError: it is away.
    """
    broker = running_broker(state)
    if broker is not None and not listens(broker):
        raise BrokerError(f"{AWAY}; nothing was changed, try again in a moment")
    return broker


def absence(state: StateFolder) -> str:
    """Say why nobody can be asked on a state folder, and what to do."""
    if holder := state.holder():
        return f"{holder} is at work on {state.folder}, but not up yet; try again in a moment"
    return f"nothing runs on {state.folder}; start it with 'postroad up'"
