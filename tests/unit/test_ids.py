import time
from uuid import RFC_4122, UUID

import pytest

from postroad.ids import is_plain_id, new_id


def test_an_id_is_a_uuid_of_version_7() -> None:
    parsed = UUID(new_id())

    assert (parsed.version, parsed.variant) == (7, RFC_4122)


def test_an_id_tells_when_it_was_made() -> None:
    before_ms = time.time_ns() // 1_000_000
    made_ms = UUID(new_id()).int >> 80

    assert before_ms <= made_ms <= time.time_ns() // 1_000_000


def test_ids_are_unique_and_sorted_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for millisecond in range(1000):
        monkeypatch.setattr(time, "time_ns", lambda ms=millisecond: ms * 1_000_000)
        made.append(new_id())

    assert made == sorted(made)
    assert len(set(made)) == 1000


def test_ids_made_at_the_same_time_differ() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000


def test_an_id_may_stand_in_a_claim() -> None:
    assert is_plain_id(new_id())
