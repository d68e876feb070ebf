"""The audit: one entry for each sign-in, failure and end of a session, for as long as is asked."""

from collections.abc import Callable

import pytest

from auth_worker.audit import handlers
from auth_worker.audit.trail import AuditTrail, Entry
from auth_worker.cleaning import Cleaner
from auth_worker.tables import audit
from postroad.context import RequestContext, current_context
from postroad.contracts.base import Event
from postroad.contracts.errors import InvalidCredentials
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked
from postroad.storage.database import Database
from postroad.storage.outbox import OutboxReader
from tests.integration.auth.outboxes import reader
from tests.support.auth import EVENTS, WRONG, AuthUnderTest, at_once, rows

SIGNED_IN = LoginSucceeded(user_id=1, session_id="s", at=1000.5, client_network="192.0.2.0/24")
HANDLERS: dict[type[Event], Callable[..., None]] = {
    LoginSucceeded: handlers.note_sign_in,
    LoginFailed: handlers.note_failure,
    SessionRevoked: handlers.note_end,
}


@pytest.fixture
def trail(database: Database) -> AuditTrail:
    return AuditTrail(database)


def hear(trail: AuditTrail, event: Event, *, message_id: str = "m-1") -> None:
    """Hand an event on, as the background worker does."""
    token = current_context.set(RequestContext("auth", message_id, "request-1", 0.0))
    try:
        HANDLERS[type(event)](event, trail=trail)
    finally:
        current_context.reset(token)


def hear_all(trail: AuditTrail, outbox: OutboxReader) -> None:
    for message in outbox.claim(100):
        event = EVENTS[message.name].model_validate_json(message.body)
        hear(trail, event, message_id=message.message_id)


def test_it_says_who_signed_in_from_where_what_failed_and_what_was_ended(
    auth: AuthUnderTest, trail: AuditTrail
) -> None:
    auth.add_user("reader")
    auth.sign_in("reader")
    with pytest.raises(InvalidCredentials):
        auth.sign_in("nobody", WRONG)
    auth.service.users.set_disabled("reader", is_disabled=True)

    hear_all(trail, reader(auth.database))

    told = [
        (entry.what, name, entry.reason, entry.client_network)
        for entry, name in reversed(trail.newest(10))
    ]
    assert told == [
        ("auth.login.succeeded", "reader", None, "192.0.2.0/24"),
        ("auth.login.failed", None, "unknown_user", "192.0.2.0/24"),
        ("auth.session.revoked", "reader", "disabled", None),
    ]


def test_an_event_that_comes_twice_has_one_entry(database: Database, trail: AuditTrail) -> None:
    hear(trail, SIGNED_IN)
    hear(trail, SIGNED_IN)
    hear(trail, SIGNED_IN, message_id="m-2")

    assert [row.event_id for row in rows(database, audit)] == ["m-1", "m-2"]


def test_an_event_that_comes_to_several_at_once_has_one_entry(
    database: Database, trail: AuditTrail
) -> None:
    outcomes = at_once(8, lambda _: hear(trail, SIGNED_IN))

    assert outcomes == [None] * 8
    assert len(rows(database, audit)) == 1


def test_an_end_that_does_not_say_when_is_noted_all_the_same(trail: AuditTrail) -> None:
    hear(trail, SessionRevoked(session_id="s", user_id=1, until=2.5))

    [(entry, name)] = trail.newest(10)
    assert (entry.what, entry.reason, name) == ("auth.session.revoked", None, None)
    assert entry.at > SIGNED_IN.at


def test_the_newest_come_first_of_all_or_of_one_user(trail: AuditTrail) -> None:
    for number in range(6):
        entry = Entry(at=float(number), what="auth.login.succeeded", user_id=number % 2)
        trail.add(f"m-{number}", entry)

    assert [entry.at for entry, _ in trail.newest(2)] == [5.0, 4.0]
    assert [entry.at for entry, _ in trail.newest(10, user_id=0)] == [4.0, 2.0, 0.0]


def test_entries_are_kept_for_as_many_days_as_is_asked(
    database: Database, trail: AuditTrail
) -> None:
    trail.add("old", Entry(at=1000.0, what="auth.login.succeeded"))
    trail.add("new", Entry(at=1001.0, what="auth.login.succeeded"))
    cleaner = Cleaner(
        database,
        interval_s=1,
        attempts_window_s=900,
        audit_days=7,
        clock=lambda: 1000.0 + 7 * 86_400,
    )

    deleted = cleaner.clean()

    assert deleted == 1
    assert [row.event_id for row in rows(database, audit)] == ["new"]
