"""What a walk proves, as findings and as a table in Markdown."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from tests.faults.checker import Finding, check, failed_clearly
from tests.faults.records import Request
from tests.upgrades.releases import Release
from tests.upgrades.walk import Leg, Walk

_LEFT = ("outbox", "queue", "waiting", "dead")


def findings_of(walk: Walk, expected: dict[str, str]) -> list[Finding]:
    """Find what must not be: beside what faults may not do, no request fails at all."""
    found = [each for each in check(walk.records, expected) if each.what != "unclear"]
    found += [
        Finding("unclear", f"{each.outcome}: {each.about} for {each.caller} ({each.way})")
        for each in walk.records.requests
        if not each.is_ok
    ]
    found += [Finding("lost", f"{count} in {queue}") for queue, count in walk.dead.items()]
    found += [
        Finding("unhealthy", f"{name} ended by itself, {count} times")
        for name, count in walk.crashes.items()
    ]
    if walk.stopped_by:
        found.append(Finding("unhealthy", f"could not go on at {walk.stopped_by}"))
    return found


def report(
    walk: Walk, findings: list[Finding], before: Release, after: Release, *, on: str, took_s: float
) -> str:
    """Write the table."""
    lines = [
        f"# From {before.title} to {after.title}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, on {on}, in {took_s / 60:.1f} minutes.",
        "",
        *_legs(walk),
        "",
        *_totals(walk, findings),
    ]
    if findings:
        lines += ["", "## What must not be", ""]
        counts = Counter(f"{each.what}: {each.detail}" for each in findings)
        lines += [f"- {detail} ({count} times)" for detail, count in counts.items()]
    return "\n".join(lines) + "\n"


def _legs(walk: Walk) -> Iterator[str]:
    heads = ("replaced", "seconds", "requests", "of them failed")
    left = ("left in outboxes", "in queues", "in wait queues", "dead")
    yield f"| stage | {' | '.join((*heads, *left))} |"
    yield f"| --- |{' ---: |' * (len(heads) + len(left))}"
    for leg in walk.legs:
        asked = [each for each in walk.records.requests if _within(each, leg)]
        failed = failed_clearly(asked)
        names = ", ".join(f"{count} `{code}`" for code, count in failed.most_common())
        numbers = (
            *(leg.replaced, round(leg.ended - leg.began), len(asked), names or 0),
            *(leg.left[each] for each in _LEFT),
        )
        yield f"| {leg.name} | {' | '.join(map(str, numbers))} |"


def _within(request: Request, leg: Leg) -> bool:
    """Tell whether a request ended in a part of the walk, or in none when that did not end."""
    return leg.began <= request.ended <= leg.ended


def _totals(walk: Walk, findings: list[Finding]) -> Iterator[str]:
    records = walk.records
    failed = sum(failed_clearly(records.requests).values())
    counts = Counter(finding.what for finding in findings)
    yield "| | |"
    yield "| --- | ---: |"
    yield f"| requests | {len(records.requests)} |"
    yield f"| of them failed | {failed} |"
    yield f"| events accepted | {len(records.accepted)} |"
    yield f"| syncs accepted | {len(records.syncs_accepted)} |"
    for what in ("lost", "doubled", "wrong", "late"):
        yield f"| {what} | {counts[what]} |"
    yield f"| dead letters at the end | {sum(walk.dead.values())} |"
    yield f"| programs that ended by themselves | {sum(walk.crashes.values())} |"
