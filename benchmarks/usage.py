"""What processes have used: CPU time and memory, from /proc."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
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
    return {name: _total(_cpu_s, pids) for name, pids in groups.items()}


def memory_by_group(groups: Groups) -> dict[str, float]:
    """Memory of each group in MB; a page shared by several processes counts in parts (PSS)."""
    return {name: round(_total(_memory_mb, pids), 1) for name, pids in groups.items()}


def _cpu_s(pid: int) -> float:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _memory_mb(pid: int) -> float:
    lines = _read(pid, "smaps_rollup").splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return int(kib) / 1024


def descendants(pids: Iterable[int]) -> list[int]:
    """List what descends from processes, and has not ended meanwhile."""
    found = []
    for pid in pids:
        with suppress(ProcessGone):
            children = [int(child) for child in _read(pid, f"task/{pid}/children").split()]
            found += [*children, *descendants(children)]
    return found


def _total(figure: Callable[[int], float], pids: Iterable[int]) -> float:
    """Add a figure up over processes and what descends from them."""
    wanted = list(pids)
    total = sum(map(figure, wanted))
    for child in descendants(wanted):
        with suppress(ProcessGone):  # such as the `df` that RabbitMQ runs now and then
            total += figure(child)
    return total


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(f"process {pid} has ended") from error
