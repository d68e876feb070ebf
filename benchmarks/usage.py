"""What processes have used: CPU time and memory, from /proc."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Groups = Mapping[str, Iterable[int]]  # process ids by what they do, their children counted too


class ProcessGone(Exception):
    """A process that was to be looked at has ended."""


def cpu_by_group(groups: Groups) -> dict[str, float]:
    """CPU seconds, user and system, that each group has used so far.

    Raises:
        ProcessGone: one of them has ended.
    """
    return {name: sum(map(_cpu_s, with_children(pids))) for name, pids in groups.items()}


def memory_by_group(groups: Groups) -> dict[str, float]:
    """Memory of each group in MB; a page shared by several processes counts in parts (PSS)."""
    return {
        name: round(sum(map(_memory_mb, with_children(pids))), 1) for name, pids in groups.items()
    }


def _cpu_s(pid: int) -> float:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _memory_mb(pid: int) -> float:
    lines = _read(pid, "smaps_rollup").splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return int(kib) / 1024


def with_children(pids: Iterable[int]) -> list[int]:
    """List processes and all that descend from them.

    Raises:
        ProcessGone: one of them has ended.
    """
    found = []
    for pid in pids:
        children = _read(pid, f"task/{pid}/children").split()
        found += [pid, *with_children(int(child) for child in children)]
    return found


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(f"process {pid} has ended") from error
