"""The inbox: what comes twice has its effect once."""

from contextlib import suppress
from threading import Event

import pytest

from catalog_worker.tables import inbox, syncs
from postroad.security.lasting_signatures import EVENT_LIFETIME_S
from postroad.storage.database import Database
from postroad.storage.inbox import Inbox
from tests.support.auth import Clock, at_once, beside, rows


def take(database: Database, message_id: str = "m-1") -> bool:
    with database.writing() as transaction:
        return Inbox(inbox).first_time(transaction, message_id)


def test_a_message_is_new_once(database: Database) -> None:
    assert [take(database), take(database), take(database, "m-2")] == [True, False, True]


def test_a_message_whose_effect_was_rolled_back_is_new_again(database: Database) -> None:
    def fail() -> None:
        with database.writing() as transaction:
            assert Inbox(inbox).first_time(transaction, "m-1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert take(database)


def test_of_many_at_once_one_is_the_first(database: Database) -> None:
    outcomes = at_once(8, lambda _: take(database))

    assert sorted(map(bool, outcomes)) == [False] * 7 + [True]
    assert all(isinstance(outcome, bool) for outcome in outcomes)


@pytest.mark.parametrize("commits", [True, False])
def test_the_second_waits_for_what_becomes_of_the_first(database: Database, commits: bool) -> None:
    answers: list[bool] = []
    has_begun = Event()

    def second() -> None:
        has_begun.wait(10)
        answers.append(take(database))

    with beside(second) as is_done, suppress(ZeroDivisionError), database.writing() as first:
        first.connection.execute(inbox.insert().values(message_id="m-1", at=1.5))
        has_begun.set()
        assert not is_done()
        if not commits:
            raise ZeroDivisionError

    assert answers == [not commits]


def test_messages_are_forgotten_once_they_cannot_come_any_more(database: Database) -> None:
    clock = Clock()
    remembering = Inbox(inbox, clock=clock)
    with database.writing() as transaction:
        remembering.first_time(transaction, "old")
        clock.now += EVENT_LIFETIME_S
        remembering.first_time(transaction, "new")

        while_it_may_come = remembering.clean(transaction)
        clock.now += 8 * 86_400
        afterwards = remembering.clean(transaction)

    assert (while_it_may_come, afterwards) == (0, 1)
    assert [row.message_id for row in rows(database, inbox)] == ["new"]
    assert rows(database, syncs) == []
