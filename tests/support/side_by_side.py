"""Running tests side by side: how many at a time, and those that watch the time by themselves."""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

MOST_WORKERS = 8
ROOT = Path(__file__).parents[2]
SHARES_SYSTEM = re.compile(r": (System|Page|httpx\.AsyncClient)\b")  # the fixtures of tests/e2e
OWN_SYSTEM = "running_system("


class ModuleScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Give a worker whole modules, and one of them all that share the running system."""

    def _split_scope(self, nodeid: str) -> str:
        module = super()._split_scope(nodeid)
        return "tests/e2e" if _shares_system(module) else module


@cache
def _shares_system(module: str) -> bool:
    text = (ROOT / module).read_text()
    return module.startswith("tests/e2e/") and bool(
        SHARES_SYSTEM.search(text) and OWN_SYSTEM not in text
    )


def watches_time(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def workers_for(config: pytest.Config) -> int:
    """Choose for `-n auto`: two for each core, for tests mostly wait; for a few tests none."""
    chosen = config.option.keyword or config.option.markexpr
    is_whole = not chosen and all(Path(each).is_dir() for each in config.args)
    return min(2 * (os.cpu_count() or 1), MOST_WORKERS) if is_whole else 0


@contextmanager
def turn(item: pytest.Item) -> Iterator[None]:
    """Wait until a test may run: beside any other, or `alone` beside none."""
    run = getattr(item.config, "workerinput", {}).get("testrunuid")
    if run is None:
        yield
        return
    with Path(tempfile.gettempdir(), f"postroad-tests-{run}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if watches_time(item) else fcntl.LOCK_SH)
        yield


def skips(reports: list[pytest.TestReport]) -> str:
    """Say in a line how many tests were skipped, and why."""
    reasons = [
        str(each.longrepr[-1]).removeprefix("Skipped: ")
        for each in reports
        if isinstance(each.longrepr, tuple)
    ]
    counts = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    return f"{len(reasons)} skipped: " + "; ".join(
        f"{reason} ({count})" for reason, count in counts.items()
    )
