"""Users change their own password: by knowing the one that they have, and no way to guess it."""

from typing import Literal

import pytest

from auth_worker.tables import sign_in_failures
from postroad.contracts.auth import (
    ChangePassword,
    ListOwnSessions,
    PasswordChanged,
    new_password_context,
)
from postroad.contracts.errors import (
    InvalidCredentials,
    InvalidRefreshToken,
    InvalidRequest,
    NotAuthenticated,
    TooManyAttempts,
)
from postroad.contracts.events import LoginFailed, SessionRevoked
from postroad.ids import new_id
from postroad.security.access_tokens import AccessToken
from tests.support.auth import PASSWORD, WRONG, AuthUnderTest, at_once, rows

NEW = "staple battery horse correct"
DEADLINE = 4_000_000_000.0
Which = Literal["current", "new"]


@pytest.fixture(autouse=True)
def reader(auth: AuthUnderTest) -> None:
    auth.add_user("reader")


@pytest.fixture
def user(auth: AuthUnderTest) -> AccessToken:
    return auth.access_token(auth.sign_in())


def has_password(auth: AuthUnderTest, password: str) -> bool:
    return auth.service.passwords.matches(password, auth.user("reader").password_hash)


def test_a_new_password_is_the_only_one_from_then_on(
    auth: AuthUnderTest, user: AccessToken
) -> None:
    changed = auth.change_password(user, PASSWORD, NEW)

    assert changed.ended_sessions == 0
    assert auth.sign_in(password=NEW).access_token
    with pytest.raises(InvalidCredentials):
        auth.sign_in(password=PASSWORD)


def test_a_new_password_ends_all_other_sessions(auth: AuthUnderTest) -> None:
    own, others = auth.sign_in(), [auth.sign_in() for _ in range(2)]
    auth.add_user("writer")
    writer = auth.sign_in("writer")
    user = auth.access_token(own)

    changed = auth.change_password(user, PASSWORD, NEW)

    told = [each for each in auth.events() if isinstance(each, SessionRevoked)]
    assert changed.ended_sessions == len(others)
    assert {each.reason for each in told} == {"new_password"}
    assert {each.session_id for each in told} == {
        auth.access_token(each).session_id for each in others
    }
    for other in others:
        with pytest.raises(InvalidRefreshToken):
            auth.refresh(auth.refresh_token(other))
    assert auth.refresh(auth.refresh_token(own)).access_token
    assert auth.refresh(auth.refresh_token(writer)).access_token
    assert len(auth.ask(ListOwnSessions(), user=user).data) == 1


def test_nobody_changes_a_password_without_the_current_one(
    auth: AuthUnderTest, user: AccessToken
) -> None:
    other = auth.sign_in()

    with pytest.raises(InvalidCredentials):
        auth.change_password(user, WRONG, NEW)

    assert has_password(auth, PASSWORD)
    assert auth.refresh(auth.refresh_token(other)).access_token


def test_nobody_changes_a_password_without_a_session(
    auth: AuthUnderTest, user: AccessToken
) -> None:
    auth.sign_out(user=user)

    for nobody in (user, None):
        with pytest.raises(NotAuthenticated):
            auth.change_password(nobody, PASSWORD, NEW)

    assert has_password(auth, PASSWORD)


def test_a_change_of_password_is_no_way_to_guess_it(auth: AuthUnderTest, user: AccessToken) -> None:
    most = auth.settings.attempts_per_user

    for _ in range(most):
        with pytest.raises(InvalidCredentials):
            auth.change_password(user, WRONG, NEW)

    with pytest.raises(TooManyAttempts):
        auth.change_password(user, PASSWORD, NEW)
    reasons = [each.reason for each in auth.events() if isinstance(each, LoginFailed)]
    assert reasons == [*["wrong_password"] * most, "locked_out"]


def test_failed_changes_and_failed_sign_ins_are_counted_together(
    auth: AuthUnderTest, user: AccessToken
) -> None:
    for _ in range(auth.settings.attempts_per_user - 1):
        with pytest.raises(InvalidCredentials):
            auth.sign_in(password=WRONG)
    with pytest.raises(InvalidCredentials):
        auth.change_password(user, WRONG, NEW)

    with pytest.raises(TooManyAttempts):
        auth.sign_in()
    with pytest.raises(TooManyAttempts):
        auth.change_password(user, PASSWORD, NEW)


def test_others_who_fail_keep_nobody_from_a_new_password(auth: AuthUnderTest) -> None:
    session = auth.sign_in()
    for _ in range(auth.settings.attempts_per_user):
        with pytest.raises(InvalidCredentials):
            auth.sign_in(password=WRONG)

    changed = auth.change_password(
        auth.access_token(session), PASSWORD, NEW, device=session.device_token
    )

    assert changed.device_token


def test_a_client_is_known_by_its_new_token_after_a_new_password(auth: AuthUnderTest) -> None:
    session = auth.sign_in()
    changed = auth.change_password(auth.access_token(session), PASSWORD, NEW)
    devices, user = auth.service.devices, auth.user("reader")

    assert devices.read(changed.device_token, user)
    assert session.device_token
    assert devices.read(session.device_token, user) is None


@pytest.mark.parametrize(
    "new", ["short", "", "password1", "PASSWORD1", "a\0bcdefghi", "a\nbcdefghi"]
)
def test_a_new_password_that_may_not_be_chosen_is_refused(
    auth: AuthUnderTest, user: AccessToken, new: str
) -> None:
    with pytest.raises(InvalidRequest, match="the new password: "):
        auth.change_password(user, PASSWORD, new)

    assert has_password(auth, PASSWORD)
    assert rows(auth.database, sign_in_failures) == []


def test_who_is_disabled_changes_no_password(auth: AuthUnderTest, user: AccessToken) -> None:
    auth.service.users.set_disabled("reader", is_disabled=True)

    with pytest.raises(NotAuthenticated):
        auth.change_password(user, PASSWORD, NEW)


def test_of_two_changes_at_once_one_is_made(auth: AuthUnderTest) -> None:
    users = [auth.access_token(auth.sign_in()) for _ in range(2)]

    def change(number: int) -> PasswordChanged:
        return auth.change_password(users[number], PASSWORD, f"{NEW} {number}")

    outcomes = at_once(2, change)

    done = [number for number, each in enumerate(outcomes) if isinstance(each, PasswordChanged)]
    assert len(done) == 1
    assert has_password(auth, f"{NEW} {done[0]}")


def test_a_second_delivery_changes_nothing(auth: AuthUnderTest, user: AccessToken) -> None:
    message_id = new_id()
    auth.change_password(user, PASSWORD, NEW, message_id=message_id)

    with pytest.raises(InvalidCredentials):
        auth.change_password(user, PASSWORD, NEW, message_id=message_id)

    assert has_password(auth, NEW)


def test_sealed_passwords_open_in_no_other_request_nor_place(
    auth: AuthUnderTest, user: AccessToken
) -> None:
    def sealed(
        password: str, which: Which, *, message_id: str = "m-1", caller: str = "bridge"
    ) -> str:
        context = new_password_context(
            which, caller=caller, message_id=message_id, deadline=DEADLINE
        )
        return auth.seal(password, context)

    old, new = sealed(PASSWORD, "current"), sealed(NEW, "new")
    for current, chosen in (
        (new, old),
        (old, old),
        (sealed(PASSWORD, "current", message_id="m-0"), new),
        (old, sealed(NEW, "new", caller="catalog")),
    ):
        request = ChangePassword(sealed_password=current, sealed_new_password=chosen)
        with pytest.raises(InvalidRequest, match="not sealed to a key of ours"):
            auth.ask(request, message_id="m-1", deadline=DEADLINE, user=user)

    request = ChangePassword(sealed_password=old, sealed_new_password=new)
    assert auth.ask(request, message_id="m-1", deadline=DEADLINE, user=user)
