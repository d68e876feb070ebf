"""Failures that others make in a user's name: what they cost the user."""

import pytest

from auth_worker.tables import sign_in_failures
from postroad.contracts.errors import InvalidCredentials, TooManyAttempts
from postroad.contracts.events import LoginFailed
from postroad.storage.database import Database
from tests.support.auth import PASSWORD, WRONG, AuthUnderTest, at_once, kinds, rows

HOME = "192.0.2.77"
ELSEWHERE = "198.51.100.9"


@pytest.fixture(autouse=True)
def reader(auth: AuthUnderTest) -> None:
    auth.add_user("reader")


def fail(
    auth: AuthUnderTest, times: int, *, address: str | None, device: str | None = None
) -> None:
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            auth.sign_in("reader", WRONG, address=address, device=device)


def test_who_fails_elsewhere_in_a_users_name_does_not_keep_them_out(auth: AuthUnderTest) -> None:
    fail(auth, 5, address=ELSEWHERE)
    with pytest.raises(TooManyAttempts):
        auth.sign_in("reader", PASSWORD, address=ELSEWHERE)

    assert auth.sign_in("reader", PASSWORD, address=HOME).access_token


def test_from_all_networks_together_ten_times_as_many_may_fail(auth: AuthUnderTest) -> None:
    for network in range(10):
        fail(auth, 5, address=f"198.51.{network}.1")

    with pytest.raises(TooManyAttempts):
        auth.sign_in("reader", PASSWORD, address=HOME)


def test_a_user_is_let_in_from_a_client_they_have_signed_in_from(auth: AuthUnderTest) -> None:
    device = auth.sign_in("reader", PASSWORD, address=HOME).device_token
    for network in range(10):
        fail(auth, 5, address=f"198.51.{network}.1")
    fail(auth, 5, address=HOME, device=device)
    with pytest.raises(TooManyAttempts):
        auth.sign_in("reader", PASSWORD, address=HOME, device=device)

    other = auth.service.devices.issue(auth.user("reader"))

    assert auth.sign_in("reader", PASSWORD, address=ELSEWHERE, device=other).access_token


def test_a_session_that_is_refreshed_renews_the_device_token(auth: AuthUnderTest) -> None:
    session = auth.sign_in("reader", PASSWORD, address=HOME)

    device = auth.refresh(auth.refresh_token(session)).device_token

    assert device != session.device_token
    fail(auth, 5, address=HOME)
    assert auth.sign_in("reader", PASSWORD, address=HOME, device=device).access_token


def test_a_device_token_of_another_user_or_password_is_none(auth: AuthUnderTest) -> None:
    auth.add_user("writer")
    device = auth.sign_in("reader", PASSWORD, address=HOME).device_token
    of_other = auth.sign_in("writer", PASSWORD, address=HOME).device_token
    auth.service.users.set_password("reader", auth.service.passwords.hash(PASSWORD))
    fail(auth, 5, address=HOME)

    for token in (device, of_other, "1.x.y", "", "..", "\xff", None):
        with pytest.raises(TooManyAttempts):
            auth.sign_in("reader", PASSWORD, address=HOME, device=token)


def test_a_success_forgets_the_failures_of_its_own_client_alone(
    auth: AuthUnderTest, database: Database
) -> None:
    fail(auth, 4, address=ELSEWHERE)
    fail(auth, 4, address=HOME)
    before = len(rows(database, sign_in_failures))

    auth.sign_in("reader", PASSWORD, address=HOME)

    assert len(rows(database, sign_in_failures)) == before - 4
    fail(auth, 1, address=ELSEWHERE)
    with pytest.raises(TooManyAttempts):
        auth.sign_in("reader", PASSWORD, address=ELSEWHERE)


def test_what_is_refused_is_written_nowhere(auth: AuthUnderTest, database: Database) -> None:
    fail(auth, 5, address=HOME)
    before = (len(auth.events()), len(rows(database, sign_in_failures)))

    for password in (WRONG, PASSWORD) * 5:
        with pytest.raises(TooManyAttempts):
            auth.sign_in("reader", password, address=HOME)

    assert (len(auth.events()), len(rows(database, sign_in_failures))) == before


def test_the_failure_that_locks_out_is_told_once_with_the_count(auth: AuthUnderTest) -> None:
    outcomes = at_once(20, lambda _: auth.sign_in("reader", WRONG, address=HOME))

    assert kinds(outcomes) == {"InvalidCredentials": 5, "TooManyAttempts": 15}
    told = [event for event in auth.events() if isinstance(event, LoginFailed)]
    assert [each.reason for each in told].count("wrong_password") == 5
    assert [each.attempts for each in told if each.reason == "locked_out"] == [5]
