"""Keys, trust and broker definitions as the manifests and contracts are now.

They are made by another process: ours has imported the contracts as they were. It is run as
``python -m ops.services.fresh_definitions STATE``.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from ops.services import programs
from ops.state.folder import StateFolder
from postroad.topology.definitions import Definitions
from postroad.topology.services import ServicesFileError


def main() -> None:
    """Print what the broker is to import."""
    state = StateFolder(Path(sys.argv[1]))
    with state.changing():
        allowed = programs.allowed_services(state)
        programs.write_trust(state, allowed)
        print(json.dumps(programs.broker_definitions(state, allowed)))


async def fresh_definitions(state: StateFolder) -> Definitions:
    """Renew everybody's keys and trust, and return what the broker is to import.

    Raises:
        ServicesFileError: a manifest or a contract is wrong; the message is the last line of why.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", __name__, str(state.folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        output, errors = await child.communicate()
    finally:
        if child.returncode is None:  # we were cancelled
            child.kill()
    if child.returncode:
        *_, last = errors.decode(errors="replace").splitlines() or [f"status {child.returncode}"]
        raise ServicesFileError(last.partition("ServicesFileError: ")[2] or last)
    made: Definitions = json.loads(output)
    return made


if __name__ == "__main__":
    main()
