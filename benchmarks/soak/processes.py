"""What a process has, read from /proc."""

from dataclasses import dataclass
from pathlib import Path

KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True)
class Belongings:
    """Memory (its own and its share of what is shared), open files, sockets of them, threads."""

    pss_mib: float
    rss_mib: float
    files: int
    sockets: int
    threads: int


def belongings(pid: int) -> Belongings:
    """Look at a process.

    Raises:
        OSError: there is none.
    """
    process = Path(f"/proc/{pid}")
    memory = _table(process / "smaps_rollup")
    files = [_target(file) for file in (process / "fd").iterdir()]
    return Belongings(
        pss_mib=memory["Pss"] / KIB_PER_MIB,
        rss_mib=memory["Rss"] / KIB_PER_MIB,
        files=len(files),
        sockets=sum(target.startswith("socket:") for target in files),
        threads=_table(process / "status")["Threads"],
    )


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def _table(file: Path) -> dict[str, int]:
    """Read lines such as ``Pss:  1234 kB``."""
    pairs = (line.partition(":")[::2] for line in file.read_text().splitlines())
    numbers = {name: rest.split()[:1] for name, rest in pairs}
    return {name: int(first[0]) for name, first in numbers.items() if first and first[0].isdigit()}
