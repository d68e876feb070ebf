"""The results, as a table in Markdown."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from os import cpu_count

from tests.broker_move.campaign import AROUND_S, Move, Result
from tests.faults.checker import Finding, failed_clearly
from tests.faults.records import Records, Request

LONGEST_S = 5.0  # of 503 by a switch
UNAVAILABLE = ("unavailable", "outcome_unknown", "overloaded")  # 503


def report(result: Result, findings: list[Finding], *, took_s: float) -> str:
    """Write all that a campaign has to say."""
    counts = Counter(finding.what for finding in findings)
    lines = [
        f"# RabbitMQ {result.old} to {result.new} and back, under load",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu_count()} cores, in {took_s / 60:.0f} minutes.",
        "",
        *_moves(result),
        "",
        "| of the whole | |",
        "| --- | ---: |",
        f"| jobs published to wait | {result.jobs} |",
        f"| events accepted, these among them | {len(result.records.accepted)} |",
        f"| syncs | {len(result.records.syncs)} |",
        *_requests(result.records),
        *(f"| {what} | {counts[what]} |" for what in ("lost", "doubled", "wrong")),
        *(f"| {what} | {counts[what]} |" for what in ("late", "unclear", "leak")),
        *(f"| left in {place} | {count} |" for place, count in result.left.items()),
    ]
    if findings:
        lines += ["", "## What must not be", ""]
        lines += [f"- {finding.what}: {finding.detail}" for finding in findings[:50]]
    return "\n".join(lines) + "\n"


def too_long(result: Result) -> Iterator[str]:
    """Name each move that took longer than is promised."""
    for move in result.moves:
        if (seconds := unavailable_s(result.records, move)) > LONGEST_S:
            yield f"{move.way}: 503 for {seconds:.1f} s"


def unavailable_s(records: Records, move: Move) -> float:
    """Return how long looking at products and oneself got 503: from the first time to the last.

    Those who sign in write to the database that the waiting jobs are noted in, one at a time; and
    that a worker was late (504) is not the switch's doing.
    """
    around = _around(records, move)
    failed = [each for each in around if _looks(each) and each.outcome in UNAVAILABLE]
    return max(each.ended for each in failed) - failed[0].began if failed else 0.0


def _looks(request: Request) -> bool:
    return request.about.startswith(("product ", "page ", "user "))


def _around(records: Records, move: Move) -> list[Request]:
    """Return the requests over HTTP of a move, until its traffic is over."""
    return [
        request
        for request in records.requests
        if request.way == "http" and move.began <= request.ended <= move.carried + AROUND_S
    ]


def _moves(result: Result) -> Iterator[str]:
    heads = (
        *("jobs waiting", "three commands", "503 for", "looks failed"),
        *("others failed", "carried after", "carrier killed", "load average"),
    )
    yield f"| move | {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * len(heads)}"
    for move in result.moves:
        around = _around(result.records, move)
        looks = [request for request in around if _looks(request)]
        others = [request for request in around if not _looks(request)]
        yield (
            f"| {move.way} | {move.waiting} | {move.switched - move.began:.1f} s"
            f" | {unavailable_s(result.records, move):.1f} s | {_failed(looks)} | {_failed(others)}"
            f" | {move.carried - move.switched:.0f} s | {move.kills} | {move.load:.0f} |"
        )


def _failed(requests: list[Request]) -> str:
    return f"{sum(not request.is_ok for request in requests)} of {len(requests)}"


def _requests(records: Records) -> Iterator[str]:
    failed = failed_clearly(records.requests)
    yield f"| requests, over HTTP and without | {len(records.requests)} |"
    for code, count in failed.most_common():
        yield f"| of them `{code}` | {count} |"
