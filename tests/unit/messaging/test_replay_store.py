from time import time

import pytest

from postroad.messaging import admission
from postroad.messaging.admission import ReplayStore

LEEWAY_S = 5.0


@pytest.fixture
def store() -> ReplayStore:
    return ReplayStore(max_entries=3, leeway_s=LEEWAY_S)


def test_a_message_is_new_once(store: ReplayStore) -> None:
    assert store.is_new("bridge", "m1", time() + 5)
    assert not store.is_new("bridge", "m1", time() + 5)


def test_ids_of_different_issuers_are_different(store: ReplayStore) -> None:
    assert store.is_new("bridge", "m1", time() + 5)
    assert store.is_new("auth", "m1", time() + 5)


def test_a_message_is_remembered_for_as_long_as_it_would_be_accepted(
    store: ReplayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time()
    store.is_new("bridge", "m1", now + 5)

    monkeypatch.setattr(admission, "time", lambda: now + 5 + LEEWAY_S - 0.1)

    assert not store.is_new("bridge", "m1", now + 5)


def test_a_message_is_forgotten_when_its_deadline_refuses_it(
    store: ReplayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time()
    store.is_new("bridge", "m1", now + 5)

    monkeypatch.setattr(admission, "time", lambda: now + 5 + LEEWAY_S + 0.1)
    store.is_new("bridge", "m2", now + 60)

    assert len(store) == 1


def test_the_oldest_go_when_there_are_too_many(store: ReplayStore) -> None:
    for number in range(5):
        store.is_new("bridge", f"m{number}", time() + 5)

    assert len(store) == 3
    assert not store.is_new("bridge", "m4", time() + 5)
    assert not store.is_new("bridge", "m3", time() + 5)
