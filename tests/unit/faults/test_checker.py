"""The checker of the fault campaign: it finds what is planted, and nothing else."""

from collections import Counter
from dataclasses import replace

from tests.faults.checker import GRACE_S, LOOKS, check
from tests.faults.expected import WELL_WITHOUT_S
from tests.faults.records import OK, Accepted, Fault, Records, Request, Stall, Sync, Usage
from tests.faults.system import PAGE_SIZE, PRODUCTS

SIGNED_IN = "auth.login.succeeded"
EXPECTED = {"product 7": "what product 7 is"}
ASKED = Request(
    *("reader", "http", "product 7"),
    began=10.0,
    ended=10.1,
    deadline_s=2.0,
    outcome=OK,
    answered="product 7",
    digest="what product 7 is",
)
SYNC = Sync(
    "sync",
    "done",
    pages=PRODUCTS // PAGE_SIZE,
    pages_done=PRODUCTS // PAGE_SIZE,
    products=PRODUCTS,
    added=PRODUCTS,
    removed=0,
)
FAULT = Fault("kill_worker", "kill -9 a worker", began=9.0, lifted=9.5, healthy=11.0)
WORKER = Usage("worker", pid=7, age_s=60.0, descriptors=20, rss_kib=60_000, threads=10)


def records() -> Records:
    """Give the records of a campaign in which all went well."""
    return Records(
        requests=[ASKED],
        accepted=[Accepted(SIGNED_IN, "session", 10.0)],
        syncs_accepted={"sync"},
        faults=[FAULT],
        usage=[WORKER] * LOOKS,
        effects=Counter({(SIGNED_IN, "session"): 1}),
        syncs=[SYNC],
        given_up={"work.catalog.sync": 0},
        broker_before=Counter({"connections of auth": 3}),
        broker_after=Counter({"connections of auth": 3}),
    )


def found(seen: Records) -> list[str]:
    return [finding.what for finding in check(seen, EXPECTED)]


def found_of(request: Request, *faults: Fault) -> list[str]:
    """Say what is found when there is one more request."""
    seen = records()
    seen.requests.append(request)
    seen.faults += faults
    return found(seen)


def test_nothing_is_found_where_all_went_well() -> None:
    assert found(records()) == []


def test_an_accepted_event_without_effect_is_lost() -> None:
    seen = records()
    seen.accepted.append(Accepted(SIGNED_IN, "another session", 10.0))

    assert found(seen) == ["lost"]


def test_an_event_with_two_effects_is_doubled() -> None:
    seen = records()
    seen.effects[SIGNED_IN, "session"] += 1

    assert found(seen) == ["doubled"]


def test_an_event_that_nobody_was_told_of_may_have_an_effect() -> None:
    seen = records()
    seen.effects[SIGNED_IN, "of a request without an answer"] += 1

    assert found(seen) == []


def test_an_accepted_sync_that_is_not_known_or_not_done_is_lost() -> None:
    unknown, undone = records(), records()
    unknown.syncs_accepted.add("another")
    undone.syncs.append(replace(SYNC, sync_id="another", status="running", pages_done=3, added=0))

    assert found(unknown) == found(undone) == ["lost"]


def test_a_page_that_was_counted_twice_is_doubled() -> None:
    seen = records()
    seen.syncs = [replace(SYNC, products=PRODUCTS + PAGE_SIZE)]

    assert found(seen) == ["doubled"]


def test_products_that_were_added_twice_or_removed_are_found() -> None:
    seen = records()
    seen.syncs.append(replace(SYNC, sync_id="another", added=1, removed=1))

    assert found(seen) == ["doubled", "wrong"]


def test_work_that_was_given_up_is_lost() -> None:
    seen = records()
    seen.given_up["work.catalog.sync"] = 1

    assert found(seen) == ["lost"]


def test_an_answer_to_another_caller_is_wrong() -> None:
    assert found_of(replace(ASKED, about="user reader", answered="user writer")) == ["wrong"]


def test_a_changed_answer_is_wrong() -> None:
    assert found_of(replace(ASKED, digest="something else")) == ["wrong"]


def test_a_session_that_was_given_twice_is_wrong() -> None:
    session = "session of reader"
    given = replace(ASKED, about=session, answered=session, digest="its id")
    seen = records()
    seen.requests += [given, given]

    assert found(seen) == ["wrong"]


def test_an_answer_after_the_deadline_is_late_whatever_it_is() -> None:
    ended = ASKED.began + ASKED.deadline_s + GRACE_S

    assert found_of(replace(ASKED, ended=ended)) == []
    assert found_of(replace(ASKED, ended=ended + 0.1)) == ["late"]
    assert found_of(replace(ASKED, ended=ended + 0.1, outcome="unavailable")) == ["late"]


def test_a_caller_that_was_held_up_itself_makes_no_answer_late() -> None:
    seen = records()
    seen.requests.append(replace(ASKED, ended=ASKED.began + ASKED.deadline_s + GRACE_S + 0.5))
    assert found(seen) == ["late"]

    seen.stalls.append(Stall(ASKED.began + 1.0, ASKED.began + 1.6))

    assert found(seen) == []


def test_a_failure_must_be_one_that_a_caller_knows_what_to_do_about() -> None:
    assert found_of(replace(ASKED, outcome="unavailable")) == []
    assert found_of(replace(ASKED, outcome="internal")) == ["unclear"]
    assert found_of(replace(ASKED, outcome="status 500")) == ["unclear"]
    assert found_of(replace(ASKED, outcome="cut")) == ["unclear"]


def test_only_a_stopped_bridge_may_leave_a_request_unanswered() -> None:
    hidden = replace(FAULT, hides_bridge=True)
    silent = replace(ASKED, outcome="silent", ended=ASKED.began + 6.0)

    assert found_of(silent) == ["late", "unclear"]
    assert found_of(silent, hidden) == []
    assert found_of(replace(silent, outcome="internal"), hidden) == ["late", "unclear"]
    assert found_of(replace(silent, way="direct"), hidden) == ["late", "unclear"]
    assert found_of(replace(silent, began=20.0, ended=26.0), hidden) == ["late", "unclear"]


def test_a_token_may_be_refused_only_while_a_clock_is_wrong() -> None:
    refused = replace(ASKED, outcome="not_authenticated")

    assert found_of(refused) == ["unclear"]
    assert found_of(refused, replace(FAULT, moves_clock=True)) == []


def test_a_system_that_is_not_well_in_time_is_unhealthy() -> None:
    seen = records()
    seen.faults.append(replace(FAULT, healthy=None))

    assert found(seen) == ["unhealthy"]


def test_a_process_that_holds_ever_more_leaks() -> None:
    for larger in (
        replace(WORKER, descriptors=30),
        replace(WORKER, threads=100),
        replace(WORKER, rss_kib=200_000),
    ):
        seen = records()
        seen.usage.append(larger)

        assert found(seen) == ["leak"], larger


def test_only_fetchers_may_keep_the_memory_of_their_longest_answers() -> None:
    for program, findings in (("catalog_worker", []), ("http_bridge", ["leak"])):
        seen = records()
        small = replace(WORKER, program=program, pid=8)
        seen.usage += [small] * LOOKS + [replace(small, rss_kib=WORKER.rss_kib + 56_000)]

        assert found(seen) == findings


def test_a_process_that_has_just_started_may_grow() -> None:
    seen = records()
    seen.usage += [replace(WORKER, pid=8, descriptors=5, age_s=age_s) for age_s in (1, 5, 9)]
    seen.usage += [replace(WORKER, pid=8, descriptors=50, age_s=20.0 + n) for n in range(LOOKS)]

    assert found(seen) == []


def test_what_is_in_the_broker_must_be_what_was_there() -> None:
    seen = records()
    seen.broker_after["queues reply"] = 1

    assert found(seen) == ["leak"]


def test_a_process_that_outlives_the_system_is_a_leak() -> None:
    seen = records()
    seen.left_over.append("4711 python -m http_bridge")

    assert found(seen) == ["leak"]


def test_copies_of_a_request_that_were_answered_are_doubled() -> None:
    seen = records()
    seen.answered_copies.append("copies of a request")

    assert found(seen) == ["doubled"]


def test_a_fault_that_could_not_be_done_proves_nothing() -> None:
    seen = records()
    seen.not_done.append("kill_broker")

    assert found(seen) == ["unhealthy"]


def test_a_cluster_that_is_not_well_without_a_node_in_time_is_unhealthy() -> None:
    seen = records()
    most_s = WELL_WITHOUT_S["kill_leader"]
    fault = replace(FAULT, kind="kill_leader")
    seen.faults.append(replace(fault, well_meanwhile_s=most_s))
    assert found(seen) == []

    seen.faults.append(replace(fault, well_meanwhile_s=most_s + 0.1))

    assert found(seen) == ["unhealthy"]
