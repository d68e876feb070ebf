"""Which releases of RabbitMQ nobody supports any more, and which have a fault that touches us.

Sources: the table at rabbitmq.com/release-information, for series that it has dropped the last
release notes of the series, and for faults the release notes and issues named beside them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

Version = tuple[int, int, int]

# The last day of community support; a series that is not here has no known one, or is newer.
SUPPORTED_UNTIL = {
    (3, 10): date(2023, 7, 31),
    (3, 11): date(2023, 12, 31),
    (3, 12): date(2024, 6, 1),
    (3, 13): date(2024, 9, 30),
    (4, 0): date(2025, 4, 30),
    (4, 1): date(2026, 1, 31),
    (4, 2): date(2026, 7, 31),
    (4, 3): date(2026, 11, 30),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong from one release on, up to the one before it was mended."""

    since: Version
    mended: Version
    problem: str
    take: str


_PASSIVE = "refuses callers a look at queues that they may write to"  # rabbitmq-server#16272
FAULTS = (
    Fault((4, 2, 6), (4, 2, 7), _PASSIVE, "4.2.7 or newer"),
    Fault((4, 3, 0), (4, 3, 1), _PASSIVE, "4.3.4 or newer"),
    Fault(
        (4, 3, 0),
        (4, 3, 3),  # rabbitmq-server#16652
        "may stop moving dead letters of work queues once a cluster's members have changed",
        "4.3.4 or newer",
    ),
)


def out_of_support(version: str, today: date) -> str | None:
    """Return a sentence about a release that the community supports no more, else none."""
    parsed = _parsed(version)
    until = SUPPORTED_UNTIL.get(parsed[:2]) if parsed else None
    if until is None or today <= until:
        return None
    return f"community support of RabbitMQ {version} ended on {until}"


def faults(version: str) -> Iterator[tuple[str, str]]:
    """Find what is wrong with a release, each with what to take instead."""
    parsed = _parsed(version)
    for fault in FAULTS:
        if parsed and fault.since <= parsed < fault.mended:
            yield f"RabbitMQ {version} {fault.problem}", f"take {fault.take}"


def in_a_line(version: str, today: date) -> str | None:
    """Return all that there is to say of a release, none when there is nothing."""
    said = [f"{problem}: {advice}" for problem, advice in faults(version)]
    if (ended := out_of_support(version, today)) is not None:
        said.append(ended)
    return "; ".join(said) or None


def _parsed(version: str) -> Version | None:
    """Read ``3.10.8``, also with what a distribution adds, as ``3.10.8-1.1+deb12u1``."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)(?!\d)", version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
