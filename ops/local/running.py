"""Where the system that runs on a state folder listens, and its broker."""

from dataclasses import asdict

from ops.local import ports
from ops.local.broker import PrivateBroker
from ops.local.broker_node import Ports
from ops.state.folder import StateFolder


def addresses(http: str, broker: PrivateBroker) -> dict[str, object]:
    """Return where the running system listens, for ``StateFolder.write_running``."""
    return {"http": http, "amqp": broker.address, "broker": asdict(broker.ports)}


def running_broker(state: StateFolder) -> PrivateBroker | None:
    """Return the broker that another process runs on a state folder, none if nothing runs."""
    running = state.running()
    if running is None or ports.is_free(running["broker"]["amqp"]):  # it ended, or was killed
        return None
    return PrivateBroker(state.broker_folder, ports=Ports(**running["broker"]))
