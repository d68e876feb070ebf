"""Docker's command, from an event loop."""

import asyncio
import subprocess

from ops.local.broker import BrokerError

TIMEOUT_S = 120.0


async def docker(*arguments: str, stdin: str = "", timeout_s: float = TIMEOUT_S) -> str:
    """Run a Docker command and return what it prints.

    Raises:
        BrokerError: it failed, or did not end in time.
    """
    process = await asyncio.create_subprocess_exec(
        *("docker", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(stdin.encode()), timeout_s)
    except TimeoutError:
        raise BrokerError(f"docker {' '.join(arguments)}: not within {timeout_s:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        printed = (output + errors).decode().strip()
        raise BrokerError(f"docker {' '.join(arguments)}: {printed}")
    return output.decode()
