"""When a session ends though nobody signs out: by its age, or by a new one in its place."""

from time import time

import pytest
from sqlalchemy import update

from auth_worker.tables import refresh_tokens, sessions
from postroad.contracts.errors import InvalidCredentials, InvalidRefreshToken
from postroad.contracts.events import SessionRevoked
from postroad.security.keyring import KeyRing
from postroad.storage.database import Database
from tests.support.auth import PASSWORD, WRONG, AuthUnderTest, make_settings, rows

DAY_S = 86_400


@pytest.fixture(autouse=True)
def reader(auth: AuthUnderTest) -> None:
    auth.add_user("reader")


def age(database: Database, days: float) -> None:
    """Let the sessions have begun so long ago."""
    with database.writing() as transaction:
        began = time() - days * DAY_S
        transaction.connection.execute(update(sessions).values(created_at=began))


def test_a_session_that_is_refreshed_for_ever_ends(auth: AuthUnderTest) -> None:
    session = auth.refresh(auth.refresh_token(auth.sign_in()))
    age(auth.database, days=91)

    with pytest.raises(InvalidRefreshToken):
        auth.refresh(auth.refresh_token(session))


def test_no_token_outlives_its_session(auth: AuthUnderTest, database: Database) -> None:
    session = auth.sign_in()
    age(database, days=90 - 600 / DAY_S)

    last = auth.refresh(auth.refresh_token(session))

    left_s = auth.access_token(last).expires_at - time()
    assert 590 < left_s <= 600
    assert 590 < last.expires_in <= 600
    assert 590 < last.refresh_expires_in <= 600
    ends_at = [row.created_at + 90 * DAY_S for row in rows(database, sessions)]
    assert max(row.expires_at for row in rows(database, refresh_tokens)) > time() + 20 * DAY_S
    assert [row.refresh_until for row in rows(database, sessions)] == pytest.approx(ends_at)


def test_a_session_is_no_longer_than_set(database: Database, keys: dict[str, KeyRing]) -> None:
    short = AuthUnderTest(database, keys, make_settings(session_lifetime_s=60))

    session = short.sign_in()

    assert 58 <= session.expires_in <= 60
    assert 58 <= session.refresh_expires_in <= 60


def test_a_new_sign_in_on_top_ends_the_old_session(auth: AuthUnderTest) -> None:
    old = auth.sign_in()

    new = auth.sign_in(replaces=auth.refresh_token(old))

    [told] = [event for event in auth.events() if isinstance(event, SessionRevoked)]
    assert (told.session_id, told.reason) == (auth.access_token(old).session_id, "replaced")
    with pytest.raises(InvalidRefreshToken):
        auth.refresh(auth.refresh_token(old))
    assert auth.refresh(auth.refresh_token(new)).access_token


def test_a_user_has_so_many_sessions_and_no_more(
    monkeypatch: pytest.MonkeyPatch, auth: AuthUnderTest, database: Database
) -> None:
    monkeypatch.setattr("auth_worker.sessions.SESSIONS_MAX", 3)
    auth.add_user("writer")
    others = auth.sign_in("writer")
    first, second, third = (auth.access_token(auth.sign_in()).session_id for _ in range(3))
    with database.writing() as transaction:  # as if that one was refreshed last
        later = update(sessions).where(sessions.c.id == first)
        transaction.connection.execute(later.values(access_until=time() + 2000))
        sooner = update(sessions).where(sessions.c.id == second)
        transaction.connection.execute(sooner.values(access_until=time() + 100))

    fourth = auth.access_token(auth.sign_in()).session_id

    told = [event for event in auth.events() if isinstance(event, SessionRevoked)]
    assert [(event.session_id, event.reason) for event in told] == [(second, "replaced")]
    open_ones = {row.id for row in rows(database, sessions) if row.ended_at is None}
    assert open_ones == {first, third, fourth, auth.access_token(others).session_id}


def test_a_sign_in_that_fails_ends_no_session(auth: AuthUnderTest) -> None:
    old = auth.sign_in()

    with pytest.raises(InvalidCredentials):
        auth.sign_in("reader", WRONG, replaces=auth.refresh_token(old))

    assert auth.refresh(auth.refresh_token(old)).access_token


def test_a_token_that_is_none_of_ours_does_not_hinder_a_sign_in(auth: AuthUnderTest) -> None:
    assert auth.sign_in("reader", PASSWORD, replaces="none of ours").access_token
