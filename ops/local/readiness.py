"""Whether a process is ready, by the metrics that it shows."""

import asyncio
import re

from ops.local.ports import LOOPBACK

_TIMEOUT_S = 2.0
_OPEN = re.compile(rb"^postroad_broker_connections_open\{.*\} (\S+)$", re.MULTILINE)


async def is_ready(metrics_port: int) -> bool:
    """Return whether a process has opened all its connections to the broker."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, metrics_port)
            try:
                writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
                states = _OPEN.findall(await reader.read())
            finally:
                writer.close()
    except OSError:  # a time-out is one too
        return False
    return bool(states) and all(float(state) for state in states)
