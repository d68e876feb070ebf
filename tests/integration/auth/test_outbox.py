"""Events: told if, and only if, what they tell of is so; each claimed by one reader at a time."""

from collections.abc import Iterable

import pytest

from auth_worker.tables import outbox, refresh_tokens, sessions, sign_in_failures, users
from auth_worker.users import UserStore
from postroad.broker.interfaces import TooLarge
from postroad.context import RequestContext, current_context
from postroad.contracts.base import Event, Job
from postroad.contracts.errors import InvalidCredentials
from postroad.observability.trace_context import TraceContext
from postroad.storage.database import Database, Transaction
from postroad.storage.outbox import Outbox
from tests.integration.auth.outboxes import reader, write
from tests.support.auth import WRONG, AuthUnderTest, Clock, at_once, rows
from tests.support.tracing import PLACE, within


class Broken(Exception):
    """The process dies here."""


class BrokenOutbox(Outbox):
    """Dies right after the event has been written."""

    def add_all(self, transaction: Transaction, messages: Iterable[Event | Job]) -> None:
        super().add_all(transaction, messages)
        raise Broken


def test_a_sign_in_that_dies_before_its_commit_is_neither_done_nor_told(
    auth: AuthUnderTest,
) -> None:
    auth.add_user("reader")
    sign_in = auth.service.sign_in
    sign_in._events = BrokenOutbox(outbox)

    with pytest.raises(Broken):
        auth.sign_in("reader")

    assert rows(auth.database, outbox) == []
    assert rows(auth.database, sessions) == rows(auth.database, refresh_tokens) == []


def test_a_failure_that_dies_before_its_commit_is_not_told_but_counts(
    auth: AuthUnderTest,
) -> None:
    auth.service.sign_in._events = BrokenOutbox(outbox)

    with pytest.raises(Broken):
        auth.sign_in("reader", WRONG)

    assert rows(auth.database, outbox) == []
    assert [row.is_settled for row in rows(auth.database, sign_in_failures)] == [False] * 3


def test_a_user_whose_disabling_dies_before_its_commit_stays_signed_in(
    auth: AuthUnderTest,
) -> None:
    auth.add_user("reader")
    token = auth.refresh_token(auth.sign_in("reader"))
    told = auth.events()

    with pytest.raises(Broken):
        UserStore(auth.database, BrokenOutbox(outbox)).set_disabled("reader", is_disabled=True)

    assert auth.events() == told
    assert not rows(auth.database, users)[0].is_disabled
    assert auth.refresh(token).access_token


def test_each_fact_is_told_once(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    auth.sign_in("reader")
    with pytest.raises(InvalidCredentials):
        auth.sign_in("reader", WRONG)
    auth.service.users.set_disabled("reader", is_disabled=True)

    assert [event.name for event in auth.events()] == [
        "auth.login.succeeded",
        "auth.login.failed",
        "auth.session.revoked",
    ]


def test_an_event_carries_the_id_of_the_request_that_caused_it(auth: AuthUnderTest) -> None:
    auth.add_user("reader")

    auth.sign_in("reader")

    assert [row.correlation_id for row in rows(auth.database, outbox)] == ["request-1"]


def test_a_message_that_no_broker_would_take_is_not_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroad.storage.outbox.MESSAGE_MAX_BYTES", 10)

    with pytest.raises(TooLarge, match="at most"):
        write(database, 1)

    assert rows(database, outbox) == []


def test_a_request_id_that_is_no_text_for_a_database_does_no_harm(database: Database) -> None:
    token = current_context.set(RequestContext("bridge", "m", "a\0b\n" + "c" * 500, 0.0))
    try:
        write(database, 1)
    finally:
        current_context.reset(token)

    assert [row.correlation_id for row in rows(database, outbox)] == ["ab" + "c" * 198]


def test_what_a_dead_reader_had_claimed_is_handed_out_after_its_lease(
    database: Database,
) -> None:
    ids, clock = write(database, 2), Clock()
    dead, alive = reader(database, clock), reader(database, clock)
    dead.claim(10)

    at_first = alive.claim(10)
    clock.now += 30
    after_the_lease = alive.claim(10)

    assert at_first == []
    assert [event.message_id for event in after_the_lease] == ids


def test_readers_at_once_claim_different_events(database: Database) -> None:
    ids = write(database, 40)

    claims = at_once(4, lambda _: reader(database).claim(10))

    claimed = [event.message_id for claim in claims if isinstance(claim, list) for event in claim]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) <= set(ids)
    assert claimed


def test_a_late_reader_deletes_no_event_that_took_the_place_of_its_own(
    database: Database,
) -> None:
    [old] = write(database, 1)
    slow = reader(database)
    slow.claim(1)
    reader(database).settle([old])  # its lease had ended, and another sent it
    [new] = write(database, 1)

    slow.settle([old])

    assert [row.message_id for row in rows(database, outbox)] == [new]


@pytest.mark.parametrize("place", [None, PLACE])
def test_a_message_is_sent_with_the_trace_in_which_it_was_written(
    database: Database, place: TraceContext | None
) -> None:
    with within(place):
        write(database, 1)

    (message,) = reader(database).claim(10)

    assert message.trace == (place and TraceContext(place.traceparent))  # its state is not kept
