"""What processes hold: read from /proc, so it needs nobody's help."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.faults.records import Usage
from tests.faults.system import BRIDGE, WORKERS, System


def usage(system: System) -> Iterator[Usage]:
    """Look at each process of the system, the brokers among them."""
    for name in (BRIDGE, *WORKERS):
        for pid in system.supervisor.pids(name):
            yield from _usage(name, pid)
    for node in system.brokers.nodes:
        if node.pid:
            yield from _usage(node.name, node.pid, counts_sockets=False)


def _usage(program: str, pid: int, *, counts_sockets: bool = True) -> Iterator[Usage]:
    """Look at a process; a broker's sockets are its clients', who change nodes."""
    with suppress(OSError):  # it has just ended
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        yield Usage(
            program,
            pid,
            _age_s(pid),
            descriptors=sum(counts_sockets or not is_socket for is_socket in _descriptors(pid)),
            rss_kib=int(status["VmRSS"].split()[0]),
            threads=int(status["Threads"]),
        )


def _descriptors(pid: int) -> Iterator[bool]:
    """Tell of each open file whether it is a socket."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # it has just been closed
            yield str(each.readlink()).startswith("socket:")


def _age_s(pid: int) -> float:
    """Tell how long a process has been there (proc_pid_stat(5), field 22)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    began_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_s


def left_over(folder: Path) -> list[str]:
    """Name the processes that have to do with a state folder, but for ourselves."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):  # it has just ended, or is not ours
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
            if str(folder).encode() in environment + command:
                found.append(f"{entry.name} {command.replace(bytes(1), b' ').decode()[:80]}")
    return found
