"""Sessions: refreshed, ended, revoked; and the same request delivered twice."""

from collections.abc import Callable
from contextlib import ExitStack
from time import time

import pytest

from auth_worker.cleaning import Cleaner
from auth_worker.refresh_tokens import Rotation, hash_token
from auth_worker.sessions import Lifetimes, Sessions
from auth_worker.tables import outbox, refresh_tokens, sessions, sign_in_failures
from auth_worker.tokens import TokenIssuer
from postroad.contracts.auth import GetOwnUser, ListRevocations, RefreshSession
from postroad.contracts.errors import InvalidCredentials, InvalidRefreshToken, NotAuthenticated
from postroad.contracts.events import SessionRevoked
from postroad.security.rotation import rotate
from postroad.security.sealing import CannotUnseal
from tests.support.auth import WRONG, AuthUnderTest, at_once, beside, kinds, rows


@pytest.fixture
def token(auth: AuthUnderTest) -> str:
    """The refresh token of a user who has just signed in."""
    auth.add_user("reader")
    return auth.refresh_token(auth.sign_in("reader"))


def revoked(auth: AuthUnderTest) -> list[SessionRevoked]:
    return [event for event in auth.events() if isinstance(event, SessionRevoked)]


def other_sessions(auth: AuthUnderTest, rotation: Rotation, *, lifetime_s: int = 900) -> Sessions:
    """Make sessions of the same database that are not quite as the service's own."""
    return Sessions(
        auth.database,
        auth.service.outbox,
        users=auth.service.users,
        issuer=TokenIssuer(auth.keys["auth"]),
        rotation=rotation,
        devices=auth.service.devices,
        lifetimes=Lifetimes(access_s=lifetime_s, refresh_s=86_400, session_s=86_400),
    )


def test_a_refresh_gives_new_tokens_for_the_same_session(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    first = auth.sign_in("reader")

    second = auth.refresh(auth.refresh_token(first))

    assert auth.refresh_token(second) != auth.refresh_token(first)
    assert second.access_token != first.access_token
    assert auth.access_token(second).session_id == auth.access_token(first).session_id
    assert revoked(auth) == []


def test_tokens_can_be_refreshed_again_and_again(auth: AuthUnderTest, token: str) -> None:
    for _ in range(4):
        token = auth.refresh_token(auth.refresh(token))

    assert len(rows(auth.database, refresh_tokens)) == 5


def test_a_token_used_twice_ends_the_session_and_its_newest_token(
    auth: AuthUnderTest, token: str
) -> None:
    newest = auth.refresh(token)

    with pytest.raises(InvalidRefreshToken):
        auth.refresh(token)

    with pytest.raises(InvalidRefreshToken):
        auth.refresh(auth.refresh_token(newest))
    access = auth.access_token(newest)
    [told] = revoked(auth)
    assert (told.session_id, told.user_id) == (access.session_id, access.user_id)
    assert told.until == access.expires_at


def test_reuse_leaves_the_users_other_sessions_alone(auth: AuthUnderTest, token: str) -> None:
    other = auth.refresh_token(auth.sign_in("reader"))
    auth.refresh(token)

    with pytest.raises(InvalidRefreshToken):
        auth.refresh(token)

    assert auth.refresh(other).access_token


def test_of_two_refreshes_at_once_one_wins_and_the_session_ends(
    auth: AuthUnderTest, token: str
) -> None:
    replica = AuthUnderTest(auth.database, auth.keys)

    outcomes = at_once(2, lambda number: (auth, replica)[number].refresh(token))

    assert kinds(outcomes) == {"Session": 1, "InvalidRefreshToken": 1}
    assert len(revoked(auth)) == 1


def test_a_request_delivered_again_gets_the_same_refresh_token(
    auth: AuthUnderTest, token: str
) -> None:
    first = auth.refresh(token, message_id="message-1")
    replica = AuthUnderTest(auth.database, auth.keys)

    second = replica.refresh(token, message_id="message-1")

    assert auth.refresh_token(second) == auth.refresh_token(first)
    assert revoked(auth) == []
    assert auth.refresh(auth.refresh_token(second)).access_token


def test_a_request_delivered_to_many_at_once_gets_one_refresh_token(
    auth: AuthUnderTest, token: str
) -> None:
    outcomes = at_once(6, lambda _: auth.refresh_token(auth.refresh(token, message_id="m")))

    assert len(set(outcomes)) == 1
    assert len(rows(auth.database, refresh_tokens)) == 2


def test_another_services_request_of_the_same_id_is_no_redelivery(
    auth: AuthUnderTest, token: str
) -> None:
    auth.refresh(token, message_id="message-1")

    with pytest.raises(InvalidRefreshToken):
        auth.refresh(token, message_id="message-1", caller="catalog")

    assert len(revoked(auth)) == 1


def test_a_redelivery_gets_the_same_token_while_keys_overlap(
    auth: AuthUnderTest, token: str
) -> None:
    first = auth.refresh(token, message_id="message-1")
    ring = auth.keys["auth"]
    rotated = rotate(ring.identity)
    in_use = tuple(key.model_copy(update={"active_from": 0.0}) for key in rotated.keys)
    ring.renew(rotated.model_copy(update={"keys": in_use}), ring.trust)

    second = auth.refresh(token, message_id="message-1")

    assert auth.refresh_token(second) == auth.refresh_token(first)


def test_a_redelivery_after_the_keys_have_gone_fails_and_ends_nothing(
    auth: AuthUnderTest, token: str
) -> None:
    newest = auth.refresh(token, message_id="message-1")
    sessions_ = other_sessions(auth, Rotation(auth.keys["catalog"]))  # with other keys
    [used] = [row for row in rows(auth.database, refresh_tokens) if row.used_at is not None]

    with pytest.raises(InvalidRefreshToken):
        sessions_.refresh(token, used.used_by)

    assert revoked(auth) == []
    assert auth.refresh(auth.refresh_token(newest)).access_token


def test_a_session_ended_during_refresh_is_revoked_with_its_newest_token(
    auth: AuthUnderTest,
) -> None:
    auth.add_user("reader")
    first = auth.sign_in("reader")
    session_id, stack = auth.access_token(first).session_id, ExitStack()

    class Meanwhile(Rotation):
        def next(self, token: str, use: str) -> str:
            sign_out = beside(lambda: auth.service.sessions.end(session_id))
            assert not stack.enter_context(sign_out)()  # it waits for us
            return super().next(token, use)

    with stack:
        newest = other_sessions(auth, Meanwhile(auth.keys["auth"]), lifetime_s=5000).refresh(
            auth.refresh_token(first), "use"
        )

    [told] = revoked(auth)
    assert told.until >= time() + newest.expires_in - 60


def test_a_refresh_token_is_sealed_to_the_service_that_asked(auth: AuthUnderTest) -> None:
    auth.add_user("reader")

    session = auth.sign_in("reader", caller="catalog")

    assert auth.refresh_token(session, caller="catalog")
    with pytest.raises(CannotUnseal):
        auth.refresh_token(session, caller="bridge")


def test_an_expired_refresh_token_is_refused(auth: AuthUnderTest, token: str) -> None:
    with auth.database.writing() as transaction:
        expired = refresh_tokens.update().values(expires_at=time() - 1)
        transaction.connection.execute(expired)

    with pytest.raises(InvalidRefreshToken):
        auth.refresh(token)


@pytest.mark.parametrize("foreign", ["", "x", "\0", "not-one-of-ours" * 9])
def test_what_is_no_token_of_ours_is_refused(auth: AuthUnderTest, foreign: str) -> None:
    with pytest.raises(InvalidRefreshToken):
        auth.refresh(foreign)


def test_a_token_that_is_not_sealed_is_refused(auth: AuthUnderTest, token: str) -> None:
    with pytest.raises(InvalidRefreshToken):
        auth.ask(RefreshSession(sealed_refresh_token=token))


def test_an_access_token_is_never_taken_for_a_refresh_token(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    session = auth.sign_in("reader")

    with pytest.raises(InvalidRefreshToken):
        auth.refresh(session.access_token)


def test_signing_out_by_access_token_ends_the_session(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    session = auth.sign_in("reader")
    user = auth.access_token(session)

    auth.sign_out(user=user)
    auth.sign_out(user=user)  # delivered again

    [told] = revoked(auth)
    assert (told.session_id, told.until) == (user.session_id, user.expires_at)
    with pytest.raises(InvalidRefreshToken):
        auth.refresh(auth.refresh_token(session))


def test_signing_out_by_refresh_token_ends_the_session(auth: AuthUnderTest, token: str) -> None:
    auth.sign_out(token=token)

    assert len(revoked(auth)) == 1
    with pytest.raises(InvalidRefreshToken):
        auth.refresh(token)
    assert len(revoked(auth)) == 1  # an ended session ends no second time


def test_signing_out_with_nothing_is_refused(auth: AuthUnderTest) -> None:
    with pytest.raises(NotAuthenticated):
        auth.sign_out()


def test_signing_out_with_a_foreign_refresh_token_is_refused(auth: AuthUnderTest) -> None:
    with pytest.raises(InvalidRefreshToken):
        auth.sign_out(token="not one of ours")


def test_a_user_sees_who_they_are(auth: AuthUnderTest) -> None:
    user_id = auth.add_user("reader", roles=("admin",))
    user = auth.access_token(auth.sign_in("reader"))

    profile = auth.ask(GetOwnUser(), user=user)

    assert (profile.user_id, profile.username, profile.roles) == (user_id, "reader", ["admin"])
    assert profile.scopes == ["catalog:read", "catalog:sync", "operations:read", "users:admin"]


def test_somebody_without_a_token_is_nobody(auth: AuthUnderTest) -> None:
    with pytest.raises(NotAuthenticated):
        auth.ask(GetOwnUser())


@pytest.mark.parametrize(
    "end",
    [
        lambda auth, user: auth.sign_out(user=user),
        lambda auth, _user: auth.service.users.set_disabled("reader", is_disabled=True),
    ],
)
def test_the_user_of_an_ended_session_is_nobody(
    auth: AuthUnderTest, end: Callable[..., object]
) -> None:
    auth.add_user("reader")
    user = auth.access_token(auth.sign_in("reader"))

    end(auth, user)

    with pytest.raises(NotAuthenticated):
        auth.ask(GetOwnUser(), user=user)


def test_revocations_are_listed_until_their_access_tokens_expire(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    gone, long_gone = (auth.access_token(auth.sign_in("reader")) for _ in range(2))
    auth.sign_in("reader")
    for user in (gone, long_gone):
        auth.sign_out(user=user)
    with auth.database.writing() as transaction:
        is_it = sessions.c.id == long_gone.session_id
        past = sessions.update().where(is_it).values(access_until=time() - 1)
        transaction.connection.execute(past)

    listed = auth.ask(ListRevocations()).data

    assert [(each.session_id, each.until) for each in listed] == [
        (gone.session_id, gone.expires_at)
    ]


def test_revocations_are_listed_page_by_page(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    gone = [auth.access_token(auth.sign_in("reader")) for _ in range(3)]
    for user in gone:
        auth.sign_out(user=user)

    first = [each.session_id for each in auth.ask(ListRevocations(limit=2)).data]
    second = [each.session_id for each in auth.ask(ListRevocations(limit=2, after=first[-1])).data]

    assert first + second == sorted(user.session_id for user in gone)
    assert len(first) == 2


def test_cleaning_deletes_what_has_expired_and_nothing_else(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    kept = auth.refresh_token(auth.sign_in("reader"))
    auth.sign_out(user=auth.access_token(auth.sign_in("reader")))
    with pytest.raises(InvalidCredentials):
        auth.sign_in("reader", WRONG)
    later = [0.0]
    cleaner = Cleaner(
        auth.database,
        interval_s=1,
        attempts_window_s=900,
        audit_days=365,
        clock=lambda: time() + later[0],
    )

    now = cleaner.clean()
    later[0] = 901.0
    after_a_quarter = cleaner.clean()

    assert now == 0
    assert after_a_quarter == 4  # the ended session, and a failure by each of its three counts
    assert [row.token_hash for row in rows(auth.database, refresh_tokens)] == [hash_token(kept)]
    assert rows(auth.database, sign_in_failures) == []
    later[0] = 31 * 86_400.0
    cleaner.clean()
    assert rows(auth.database, sessions) == rows(auth.database, refresh_tokens) == []
    assert rows(auth.database, outbox)  # what has not been told is never cleaned away
