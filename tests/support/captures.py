"""Messages as the management API shows them, and a state folder with the keys to read them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.state.folder import StateFolder
from postroad.security.keys import Identity, TrustBundle
from postroad.topology.names import RPC_EXCHANGE
from tests.support.letters import Letter


def captured(letter: Letter, **changes: Any) -> dict[str, Any]:
    """Show a letter as it waits in the queue of its receiver."""
    return {
        "payload_bytes": len(letter.body),
        "redelivered": False,
        "exchange": RPC_EXCHANGE,
        "routing_key": letter.routing_key,
        "message_count": 0,
        "properties": letter.properties,
        "payload": letter.body.decode(),
        "payload_encoding": "string",
    } | changes


def write_state(
    folder: Path, identities: Mapping[str, Identity], trust: TrustBundle
) -> StateFolder:
    """Make a state folder with these keys."""
    state = StateFolder(folder)
    for name, identity in identities.items():
        state.identity_file(name).parent.mkdir(parents=True)
        identity.save(state.identity_file(name))
    state.write_trust(json.loads(trust.model_dump_json()))
    return state
