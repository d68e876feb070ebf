"""What the records prove: each finding is something that must not be."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.faults.expected import WELL_WITHOUT_S
from tests.faults.records import OK, Fault, Records, Request, Stall, Sync, Usage
from tests.faults.system import PAGE_SIZE, PRODUCTS

GRACE_S = 1.0  # beyond a deadline
HEALTHY_WITHIN_S = 30.0
# What a request may fail with, since a caller knows what to do about each.
CLEAR = frozenset(
    (
        *("unavailable", "overloaded", "outcome_unknown", "reply_timeout"),
        *("upstream_failed", "upstream_busy"),
    )
)
TRANSPORT = frozenset(("refused", "cut", "silent"))  # what a bridge that is not there gives
# A process may hold so much more at its end than when it was first seen warm.
MORE_DESCRIPTORS = 8
DESCRIPTORS_A_THREAD = 2  # SQLite's connections are kept, one for each thread that needed one
THREADS_MOST = 80  # the largest prefetch, 64, has a thread for each request
MORE_RSS, MORE_RSS_KIB = 1.25, 16_384
# They may have held several answers of upstream at once, each as long as is taken at all (8 MiB):
# room that the allocator keeps. Seen were 56 MiB, once, and only after answers of that length.
MORE_RSS_OF_FETCHERS_KIB = 65_536
FETCHERS = ("catalog_worker", "catalog_sync")
WARM_S = 15.0  # younger processes are still starting
LOOKS = 4  # at a warm process, before anything can be said of it

What = Literal["lost", "doubled", "wrong", "late", "unclear", "unhealthy", "leak"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be."""

    what: What
    detail: str


def check(records: Records, expected: Mapping[str, str]) -> list[Finding]:
    """Find what must not be; ``expected`` has the digests of right answers."""
    return [
        *_events(records),
        *_syncs(records),
        *_answers(records.requests, expected),
        *_sessions(records.requests),
        *_failures(records),
        *_recoveries(records.faults),
        *_growth(records.usage),
        *_broker(records.broker_before, records.broker_after),
        *(Finding("leak", f"still there at the end: {each}") for each in records.left_over),
        *(Finding("doubled", copies) for copies in records.answered_copies),
        *(Finding("unhealthy", f"not to be done: {each}") for each in records.not_done),
    ]


def _events(records: Records) -> Iterator[Finding]:
    """Each accepted event had its effect; whatever had one, had it once."""
    for accepted in records.accepted:
        if not records.effects[accepted.name, accepted.key]:
            detail = f"{accepted.name} of {accepted.key}, accepted at {accepted.at:.1f} s"
            yield Finding("lost", detail)
    for (name, key), count in records.effects.items():
        if count > 1:
            yield Finding("doubled", f"{name} of {key} is noted {count} times")


def _syncs(records: Records) -> Iterator[Finding]:
    """Each accepted sync was done, each of its pages once."""
    known = {sync.sync_id: sync for sync in records.syncs}
    for sync_id in records.syncs_accepted - known.keys():
        yield Finding("lost", f"the sync {sync_id} is not known")
    for sync in records.syncs:
        yield from _sync(sync)
    if (added := sum(sync.added for sync in records.syncs)) > PRODUCTS:
        yield Finding("doubled", f"{added} products added, of {PRODUCTS}")
    if removed := sum(sync.removed for sync in records.syncs):
        yield Finding("wrong", f"{removed} products removed, and none was")
    for queue, count in records.given_up.items():
        if count:
            yield Finding("lost", f"{count} given up in {queue}")


def _sync(sync: Sync) -> Iterator[Finding]:
    pages = PRODUCTS // PAGE_SIZE
    if sync.pages_done > pages or sync.products > PRODUCTS:
        yield Finding("doubled", f"{sync}")
    elif sync.status != "done" or (sync.pages, sync.pages_done) != (pages, pages):
        yield Finding("lost", f"{sync}")
    elif sync.products != PRODUCTS:
        yield Finding("wrong", f"{sync}")


def _answers(requests: Iterable[Request], expected: Mapping[str, str]) -> Iterator[Finding]:
    """Each answer is about what its caller asked, and says what upstream says."""
    for request in requests:
        if not request.is_ok:
            continue
        if request.answered != request.about:
            detail = f"{request.caller} asked for {request.about} and got {request.answered}"
            yield Finding("wrong", detail)
        elif request.about in expected and request.digest != expected[request.about]:
            yield Finding("wrong", f"{request.about} was changed on its way to {request.caller}")


def _sessions(requests: Iterable[Request]) -> Iterator[Finding]:
    """No session was given to two who asked."""
    given = Counter(
        request.digest
        for request in requests
        if request.is_ok and request.about.startswith("session of ")
    )
    for session, count in given.items():
        if count > 1:
            yield Finding("wrong", f"the session {session} was given {count} times")


def _failures(records: Records) -> Iterator[Finding]:
    """Each request was answered or failed clearly, in time."""
    for request in records.requests:
        during = [fault for fault in records.faults if _overlap(request, fault)]
        hidden = request.way == "http" and any(fault.hides_bridge for fault in during)
        if hidden and (request.is_ok or request.outcome in CLEAR | TRANSPORT):
            continue
        took_s = request.ended - request.began - _held_up_s(request, records.stalls)
        if took_s > request.deadline_s + GRACE_S:
            yield Finding("late", f"{request.outcome} after {took_s:.2f} s: {_named(request)}")
        if not request.is_ok and request.outcome not in _allowed(during):
            yield Finding("unclear", f"{request.outcome}: {_named(request)}")


def _held_up_s(request: Request, stalls: Iterable[Stall]) -> float:
    """Tell for how much of a request it was the caller who was held up."""
    return sum(
        max(0.0, min(request.ended, stall.ended) - max(request.began, stall.began))
        for stall in stalls
    )


def _allowed(during: Iterable[Fault]) -> frozenset[str]:
    """Give what a request may fail with: beyond the leeway a clock says that tokens are bad."""
    moved = any(fault.moves_clock for fault in during)
    return CLEAR | {"not_authenticated"} if moved else CLEAR


def _overlap(request: Request, fault: Fault) -> bool:
    ended = fault.lifted + HEALTHY_WITHIN_S if fault.healthy is None else fault.healthy
    return request.began <= ended and request.ended >= fault.began


def _recoveries(faults: Iterable[Fault]) -> Iterator[Finding]:
    for fault in faults:
        if fault.healthy is None:
            yield Finding("unhealthy", f"not well {HEALTHY_WITHIN_S:.0f} s after: {fault.what}")
        most_s = WELL_WITHOUT_S.get(fault.kind, HEALTHY_WITHIN_S)
        if fault.well_meanwhile_s is not None and fault.well_meanwhile_s > most_s:
            detail = (
                f"not within {most_s:.0f} s but {fault.well_meanwhile_s:.1f} s without the node"
            )
            yield Finding("unhealthy", f"{detail}: {fault.what}")


def _growth(usage: Iterable[Usage]) -> Iterator[Finding]:
    """No process that lived through several faults holds ever more."""
    looks: dict[int, list[Usage]] = {}
    for each in usage:
        if each.age_s >= WARM_S:
            looks.setdefault(each.pid, []).append(each)
    for seen in looks.values():
        first, last = seen[0], seen[-1]
        new_threads = max(0, last.threads - first.threads)
        more_descriptors = MORE_DESCRIPTORS + DESCRIPTORS_A_THREAD * new_threads
        more_rss = MORE_RSS_OF_FETCHERS_KIB if first.program in FETCHERS else MORE_RSS_KIB
        for what, before, after, most in (
            ("descriptors", first.descriptors, last.descriptors, more_descriptors),
            ("threads", first.threads, last.threads, THREADS_MOST - first.threads),
            ("KiB", first.rss_kib, last.rss_kib, first.rss_kib * (MORE_RSS - 1) + more_rss),
        ):
            if len(seen) >= LOOKS and after > before + most:
                detail = f"{first.program} ({first.pid}): {before} {what}, then {after}"
                yield Finding("leak", f"{detail}, over {len(seen)} faults")


def _broker(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[Finding]:
    """The broker has neither more nor fewer connections, channels and queues than before."""
    for what in sorted(before.keys() | after.keys()):
        if before.get(what, 0) != after.get(what, 0):
            yield Finding("leak", f"{what}: {before.get(what, 0)}, then {after.get(what, 0)}")


def _named(request: Request) -> str:
    return f"{request.about} for {request.caller} ({request.way}) at {request.began:.1f} s"


def failed_clearly(requests: Iterable[Request]) -> Counter[str]:
    """Count how requests ended that were not answered."""
    return Counter(request.outcome for request in requests if request.outcome != OK)
