"""What a walk proves: what is planted is found and counted."""

from dataclasses import replace
from pathlib import Path

from tests.faults.records import Records
from tests.unit.faults.test_checker import ASKED, EXPECTED, records
from tests.upgrades.plan import AFTER, BEFORE
from tests.upgrades.releases import of_folder
from tests.upgrades.report import findings_of, report
from tests.upgrades.walk import Leg, Walk

BUSY = replace(ASKED, outcome="unavailable", answered="", digest="")


def walk(seen: Records | None = None) -> Walk:
    seen = seen or records()
    seen.faults.clear()
    return Walk(seen, [Leg("bridge first", began=9.0, ended=12.0, replaced=5)])


def found(seen: Walk) -> list[str]:
    return [f"{each.what}: {each.detail}" for each in findings_of(seen, EXPECTED)]


def test_nothing_is_found_where_all_went_well() -> None:
    assert found(walk()) == []


def test_a_request_may_not_fail_even_clearly() -> None:
    seen = walk()
    seen.records.requests.append(BUSY)

    assert found(seen) == ["unclear: unavailable: product 7 for reader (http)"]


def test_a_wrong_answer_and_a_lost_event_are_found_as_in_a_campaign() -> None:
    seen = walk()
    seen.records.requests.append(replace(ASKED, digest="another"))
    seen.records.effects.clear()

    assert [each.partition(":")[0] for each in found(seen)] == ["lost", "wrong"]


def test_dead_letters_crashes_and_a_walk_that_could_not_go_on_are_found() -> None:
    seen = walk()
    seen.dead, seen.crashes, seen.stopped_by = {"dead.work": 2}, {"auth_worker": 1}, "the bridge"

    assert found(seen) == [
        "lost: 2 in dead.work",
        "unhealthy: auth_worker ended by itself, 1 times",
        "unhealthy: could not go on at the bridge",
    ]


def test_the_table_counts_requests_and_what_was_left_by_stage() -> None:
    seen = walk()
    seen.records.requests += [BUSY, replace(BUSY, ended=99.0)]
    seen.legs[0].left.update(outbox=3, waiting=2)
    before = of_folder(BEFORE, "the older", Path())
    after = of_folder(AFTER, "the newer", Path())

    text = report(seen, findings_of(seen, EXPECTED), before, after, on="RabbitMQ", took_s=90)

    assert "# From the older to the newer" in text
    assert "| bridge first | 5 | 3 | 2 | 1 `unavailable` | 3 | 0 | 2 | 0 |" in text
    assert "| of them failed | 2 |" in text
    assert text.endswith("product 7 for reader (http) (2 times)\n")
