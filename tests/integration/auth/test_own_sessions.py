"""What a user sees of their own sessions, and how they end one: theirs, and nobody else's."""

from time import time

import pytest

from auth_worker.audit.trail import AuditTrail, Entry
from auth_worker.tables import sessions
from postroad.contracts.auth import SESSIONS_LISTED, EndOwnSession, ListOwnSessions, OwnSession
from postroad.contracts.errors import InvalidRefreshToken, NotAuthenticated, SessionNotFound
from postroad.contracts.events import LoginSucceeded, SessionRevoked
from postroad.ids import new_id
from postroad.security.access_tokens import AccessToken
from tests.support.auth import AuthUnderTest, rows


@pytest.fixture(autouse=True)
def users(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    auth.add_user("writer")


def signed_in(auth: AuthUnderTest, username: str = "reader") -> AccessToken:
    return auth.access_token(auth.sign_in(username))


def listed(auth: AuthUnderTest, user: AccessToken) -> list[OwnSession]:
    found: list[OwnSession] = auth.ask(ListOwnSessions(), user=user).data
    return found


def change(auth: AuthUnderTest, session_id: str, **values: float) -> None:
    with auth.database.writing() as transaction:
        is_it = sessions.c.id == session_id
        transaction.connection.execute(sessions.update().where(is_it).values(values))


def ended(auth: AuthUnderTest) -> list[str]:
    return [each.session_id for each in auth.events() if isinstance(each, SessionRevoked)]


def test_a_user_sees_their_own_sessions_and_nobody_elses(auth: AuthUnderTest) -> None:
    signed_in(auth, "writer")
    one, other = signed_in(auth), signed_in(auth)

    found = listed(auth, one)

    told = {each.session_id: each.is_current for each in found}
    assert told == {one.session_id: True, other.session_id: False}
    assert all(time() - 60 < each.created_at <= each.refreshed_at <= time() for each in found)


def test_a_user_sees_where_each_session_began_once_the_audit_has_it(auth: AuthUnderTest) -> None:
    user = signed_in(auth)
    before = listed(auth, user)
    for what in (LoginSucceeded.name, SessionRevoked.name):
        entry = Entry(time(), what, user.user_id, user.session_id, None, "192.0.2.0/24")
        AuditTrail(auth.database).add(new_id(), entry)

    after = listed(auth, user)

    assert [each.client_network for each in before] == [None]
    assert [each.client_network for each in after] == ["192.0.2.0/24"]


def test_a_user_sees_when_tokens_were_last_handed_out(auth: AuthUnderTest) -> None:
    session = auth.sign_in()
    user = auth.access_token(session)
    change(auth, user.session_id, created_at=time() - 5000, access_until=time() - 3000)

    before = listed(auth, user)
    auth.refresh(auth.refresh_token(session))
    after = listed(auth, user)

    assert before[0].refreshed_at == pytest.approx(time() - 3900, abs=10)
    assert after[0].refreshed_at == pytest.approx(time(), abs=10)
    assert after[0].created_at == pytest.approx(time() - 5000, abs=10)


def test_sessions_that_are_over_are_not_listed(auth: AuthUnderTest) -> None:
    user, gone, idle, old = (signed_in(auth) for _ in range(4))
    auth.sign_out(user=gone)
    change(auth, idle.session_id, access_until=time() - 1, refresh_until=time() - 1)
    change(auth, old.session_id, created_at=time() - 91 * 86_400)

    assert [each.session_id for each in listed(auth, user)] == [user.session_id]


def test_of_many_sessions_the_last_refreshed_are_listed(auth: AuthUnderTest) -> None:
    forgotten, user = signed_in(auth), signed_in(auth)
    change(auth, forgotten.session_id, access_until=time() - 3000)
    kept = rows(auth.database, sessions)[-1]
    with auth.database.writing() as transaction:
        more = [dict(kept._mapping) | {"id": new_id()} for _ in range(SESSIONS_LISTED - 1)]
        transaction.connection.execute(sessions.insert(), more)

    found = [each.session_id for each in listed(auth, user)]

    assert len(found) == SESSIONS_LISTED
    assert forgotten.session_id not in found


def test_a_user_ends_another_session_of_theirs(auth: AuthUnderTest) -> None:
    other = auth.sign_in()
    user, gone = signed_in(auth), auth.access_token(other)

    auth.ask(EndOwnSession(session_id=gone.session_id), user=user)
    auth.ask(EndOwnSession(session_id=gone.session_id), user=user)  # as a second delivery does

    assert ended(auth) == [gone.session_id]
    with pytest.raises(InvalidRefreshToken):
        auth.refresh(auth.refresh_token(other))
    with pytest.raises(NotAuthenticated):
        listed(auth, gone)
    assert [each.session_id for each in listed(auth, user)] == [user.session_id]


def test_nobody_ends_another_users_session(auth: AuthUnderTest) -> None:
    theirs, user = signed_in(auth, "writer"), signed_in(auth)

    with pytest.raises(SessionNotFound) as refused:
        auth.ask(EndOwnSession(session_id=theirs.session_id), user=user)
    with pytest.raises(SessionNotFound) as unknown:
        auth.ask(EndOwnSession(session_id=(made_up := new_id())), user=user)

    assert ended(auth) == []
    assert listed(auth, theirs)
    said = str(refused.value).replace(theirs.session_id, made_up)
    assert said == str(unknown.value)  # nobody learns which ids there are


def test_a_session_that_has_ended_ends_no_other(auth: AuthUnderTest) -> None:
    user, other = signed_in(auth), signed_in(auth)
    auth.sign_out(user=user)

    with pytest.raises(NotAuthenticated):
        auth.ask(EndOwnSession(session_id=other.session_id), user=user)

    assert ended(auth) == [user.session_id]
