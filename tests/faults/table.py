"""The results, as a table in Markdown."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise

from tests.faults.checker import Finding, What, failed_clearly
from tests.faults.records import Fault, Records
from tests.faults.system import PAGE_SIZE, PRODUCTS

_JOBS_A_SYNC = PRODUCTS // PAGE_SIZE
_FINDINGS: tuple[What, ...] = (
    *("lost", "doubled", "wrong", "late", "unclear", "unhealthy", "leak"),
)


def report(records: Records, findings: list[Finding], *, seed: int, took_s: float) -> str:
    """Write all that a campaign has to say."""
    counts = Counter(finding.what for finding in findings)
    lines = [
        f"# {len(records.faults)} faults, seed {seed}",
        "",
        f"{records.broker}; {datetime.now(UTC):%Y-%m-%d}, in {took_s / 60:.0f} minutes.",
        "",
        *_by_kind(records),
        "",
        *_totals(records, counts),
    ]
    if findings:
        lines += ["", "## What must not be", ""]
        lines += [f"- {finding.what}: {finding.detail}" for finding in findings]
    return "\n".join(lines) + "\n"


def _by_kind(records: Records) -> Iterator[str]:
    """One row a kind of fault: how long products could not be had, and until all was well."""
    answered = sorted(
        request.ended
        for request in records.requests
        if request.is_ok and request.about.startswith(("product ", "page "))
    )
    heads = ["injected", "requests meanwhile", "failed clearly", "longest without an answer"]
    shows_meanwhile = any(fault.well_meanwhile_s is not None for fault in records.faults)
    heads += ["well without the node after"] * shows_meanwhile
    yield f"| fault | {' | '.join(heads)} | well again after |"
    yield f"| --- |{' ---: |' * (len(heads) + 1)}"
    for kind in sorted({fault.kind for fault in records.faults}):
        faults = [fault for fault in records.faults if fault.kind == kind]
        during = [
            request
            for request in records.requests
            if any(fault.began <= request.ended <= _end(fault) for fault in faults)
        ]
        failed = sum(failed_clearly(during).values())
        gap_s = max(_longest_gap(answered, fault) for fault in faults)
        well = "not in time"
        if all(fault.healthy is not None for fault in faults):
            well = f"{max(_end(fault) - fault.lifted for fault in faults):.1f} s"
        yield (
            f"| {kind.replace('_', ' ')} | {len(faults)} | {len(during)} | {failed} |"
            f" {gap_s:.1f} s |{_meanwhile(faults) if shows_meanwhile else ''} {well} |"
        )


def _meanwhile(faults: list[Fault]) -> str:
    """Return the cell that says after how long all was well with the harm still there."""
    known = [each.well_meanwhile_s for each in faults if each.well_meanwhile_s is not None]
    return f" {max(known):.1f} s |" if known else " |"


def _totals(records: Records, counts: Counter[What]) -> Iterator[str]:
    failed = failed_clearly(records.requests)
    answered = len(records.requests) - sum(failed.values())
    given_out = len(records.syncs) * _JOBS_A_SYNC
    yield "| | |"
    yield "| --- | ---: |"
    yield f"| faults | {len(records.faults)} |"
    yield f"| requests | {len(records.requests)} |"
    yield f"| of them answered | {answered} |"
    for code, count in failed.most_common():
        yield f"| of them `{code}` | {count} |"
    yield f"| jobs, of {len(records.syncs)} syncs | {given_out} |"
    yield f"| events accepted | {len(records.accepted)} |"
    yield f"| sign-ins that a listener heard of as they happened | {len(records.heard)} |"
    stalled_s = sum(stall.ended - stall.began for stall in records.stalls)
    yield f"| seconds in which the callers themselves did not get to run | {stalled_s:.1f} |"
    for what in _FINDINGS:
        yield f"| {what} | {counts[what]} |"


def _longest_gap(times: Iterable[float], fault: Fault) -> float:
    """Give the longest time without an answer, as far as it lay within a fault."""
    began, ended = fault.began, _end(fault)
    marks = [began, *(each for each in times if began < each < ended), ended]
    return max(after - before for before, after in pairwise(marks))


def _end(fault: Fault) -> float:
    return fault.lifted if fault.healthy is None else fault.healthy
