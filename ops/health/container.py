"""A container's health check: ``python -m ops.health.container``.

    python -m ops.health.container                      what runs beside it lives: the bridge
                                                        answers, or a worker is connected
    python -m ops.health.container http://host/path     this address answers 200
    python -m ops.health.container connected            a connection to one of BROKER_URLS is open

It starts in a few hundredths of a second, because it is run every few: it imports nothing of ours.
"""

import os
import sys
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

PROC = Path("/proc")
_TIMEOUT_S = 4.0
_ESTABLISHED = "01"  # in /proc/net/tcp, see proc_pid_net(5)


def main() -> int:
    """Check what the argument names; give the exit status."""
    what = sys.argv[1] if len(sys.argv) > 1 else _what_to_check()
    problem = _disconnected() if what == "connected" else _unanswered(what)
    print(f"{what}: {problem or 'ok'}")
    return 1 if problem else 0


def _what_to_check() -> str:
    is_worker = "BROKER_URLS" in os.environ and not _runs("http_bridge")
    return "connected" if is_worker else _bridge_url()


def _runs(module: str) -> bool:
    """Look at all processes: the first one may be an init, or a shell."""
    for file in PROC.glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            if module.encode() in file.read_bytes().split(b"\0"):
                return True
    return False


def _bridge_url() -> str:
    port = os.environ.get("BRIDGE_PORT") or os.environ.get("PORT") or "8000"
    return f"http://127.0.0.1:{port}/healthz"


def _broker_ports() -> set[int]:
    urls = [urlsplit(url.strip()) for url in os.environ.get("BROKER_URLS", "").split(",")]
    return {url.port or (5671 if url.scheme == "amqps" else 5672) for url in urls}


def _unanswered(url: str) -> str | None:
    opener = build_opener(ProxyHandler({}))  # a proxy does not know our loopback
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as response:
            status: int = response.status
    except HTTPError as error:  # a status of 400 and more
        with error:
            return str(error)
    except (OSError, ValueError, HTTPException) as error:  # the last: it speaks no HTTP
        return str(error) or type(error).__name__
    return None if status == 200 else f"status {status}"


def _disconnected() -> str | None:
    """Look at the container's own connections: a check must not open one each time."""
    try:
        ports = _broker_ports()
    except ValueError as error:
        return f"BROKER_URLS: {error}"
    tables = (PROC / "net" / "tcp", PROC / "net" / "tcp6")
    for table in filter(Path.exists, tables):  # without IPv6 there is no tcp6
        for line in table.read_text().splitlines()[1:]:
            _, _, remote, state, *_ = line.split()
            if state == _ESTABLISHED and int(remote.rpartition(":")[2], 16) in ports:
                return None
    return "no connection is open"


if __name__ == "__main__":
    sys.exit(main())
