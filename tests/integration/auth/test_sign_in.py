"""Signing in: the session that begins, and what a failure says and costs."""

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest

from auth_worker.attempts import Attempt, Attempts
from auth_worker.tables import sessions, sign_in_failures, users
from postroad.contracts.auth import CreateSession, former_password_context, password_context
from postroad.contracts.errors import InvalidCredentials, InvalidRequest
from postroad.contracts.events import LoginFailed, LoginSucceeded
from postroad.storage.database import Transaction
from tests.integration.auth.counting import Counted, CountingPasswords
from tests.support.auth import PASSWORD, WRONG, AuthUnderTest, beside, make_settings, rows


def test_a_session_begins_with_both_tokens_and_is_told(auth: AuthUnderTest) -> None:
    user_id = auth.add_user("reader", roles=("operator",))

    session = auth.sign_in("reader")

    token = auth.access_token(session)
    assert (session.expires_in, session.refresh_expires_in) == (900, 30 * 86_400)
    assert (token.username, token.user_id) == ("reader", user_id)
    assert token.scopes == {"catalog:read", "catalog:sync", "operations:read"}
    assert auth.refresh_token(session)
    [told] = auth.events()
    assert isinstance(told, LoginSucceeded)
    assert (told.user_id, told.session_id) == (user_id, token.session_id)
    assert told.client_network == "192.0.2.0/24"


@pytest.mark.parametrize(
    ("username", "reason"), [("reader", "wrong_password"), ("nobody", "unknown_user")]
)
def test_a_failure_says_nothing_to_the_caller_and_its_reason_to_listeners(
    auth: AuthUnderTest, username: str, reason: str
) -> None:
    user_id = auth.add_user("reader")

    with pytest.raises(InvalidCredentials) as refusal:
        auth.sign_in(username, WRONG)

    [told] = auth.events()
    assert isinstance(told, LoginFailed)
    assert told.reason == reason
    assert told.user_id == (user_id if username == "reader" else None)
    assert str(refusal.value) == InvalidCredentials.title
    assert rows(auth.database, sessions) == []


def test_a_disabled_user_is_refused_like_anybody_else(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    auth.service.users.set_disabled("reader", is_disabled=True)

    with pytest.raises(InvalidCredentials) as refusal:
        auth.sign_in("reader", PASSWORD)

    assert str(refusal.value) == InvalidCredentials.title
    [told] = auth.events()
    assert isinstance(told, LoginFailed)
    assert told.reason == "disabled"


def test_a_disabled_users_right_password_costs_what_a_wrong_one_does(counted: Counted) -> None:
    counted.auth.service.users.set_disabled("reader", is_disabled=True)
    costly = CountingPasswords(make_settings(argon2_time_cost=2))
    checks = []
    with patch.object(costly, "_hasher", wraps=costly._hasher) as hasher:
        counted.passwords = costly
        for password in (PASSWORD, WRONG):
            hasher.reset_mock()
            counted.fail(1, password=password)
            checks.append(hasher.mock_calls)

    assert [len(each) for each in checks] == [2, 2]  # of the hash, and of a new one's cost


@pytest.mark.parametrize("username", ["a\0b", "reader\0", "\x1b[31m", "\u202ealice", " "])
def test_a_name_that_no_database_takes_is_refused_after_the_same_work(
    counted: Counted, username: str
) -> None:
    with pytest.raises(InvalidCredentials):
        counted.sign_in(PASSWORD, username=username)

    assert counted.passwords.looked_at == 1
    assert len(rows(counted.auth.database, sign_in_failures)) == 3


def test_a_password_sealed_to_another_name_is_no_valid_request(auth: AuthUnderTest) -> None:
    auth.add_user("reader")

    with pytest.raises(InvalidRequest):
        auth.ask(CreateSession(username="reader", sealed_password=auth.seal(PASSWORD)))

    assert rows(auth.database, sign_in_failures) == []


@pytest.mark.parametrize(
    "changes", [{"caller": "catalog"}, {"message_id": "m-2"}, {"deadline": 9_000_000_001.0}]
)
def test_a_password_sealed_for_one_request_opens_in_no_other(
    auth: AuthUnderTest, changes: dict[str, Any]
) -> None:
    auth.add_user("reader")
    asked: dict[str, Any] = {"caller": "bridge", "message_id": "m-1", "deadline": 9_000_000_000.0}
    sealed = auth.seal(PASSWORD, password_context("reader", **asked))
    request = CreateSession(username="reader", sealed_password=sealed)

    assert auth.ask(request, **asked)
    with pytest.raises(InvalidRequest, match="sealed_password"):
        auth.ask(request, **(asked | changes))


def test_a_password_sealed_by_a_caller_of_the_version_before_is_taken(
    auth: AuthUnderTest,
) -> None:
    auth.add_user("reader")
    sealed = auth.seal(PASSWORD, former_password_context("reader"))

    assert auth.ask(CreateSession(username="reader", sealed_password=sealed))


def test_a_hash_with_older_parameters_is_renewed_at_the_next_sign_in(
    auth: AuthUnderTest,
) -> None:
    auth.add_user("reader")
    [before] = rows(auth.database, users)
    newer = AuthUnderTest(auth.database, auth.keys, make_settings(argon2_time_cost=2))

    with pytest.raises(InvalidCredentials):
        newer.sign_in("reader", WRONG)
    [after_failure] = rows(auth.database, users)
    newer.sign_in("reader")
    [after_success] = rows(auth.database, users)
    newer.sign_in("reader")
    [at_last] = rows(auth.database, users)

    assert "t=1" in before.password_hash
    assert after_failure.password_hash == before.password_hash
    assert "t=2" in after_success.password_hash
    assert at_last.password_hash == after_success.password_hash


def test_one_hash_is_found_for_each_set_of_parameters(auth: AuthUnderTest) -> None:
    newer = AuthUnderTest(auth.database, auth.keys, make_settings(argon2_time_cost=2))
    for number in range(3):
        auth.add_user(f"reader-{number}")
        newer.add_user(f"writer-{number}")

    newer.service.expect_hashes()

    assert ["t=1" in each for each in sorted(auth.service.users.hashes_of_each_kind())] == [
        *(True, False)
    ]
    assert len(newer.service.passwords._decoys) == 2


def test_a_user_from_before_passwords_were_prepared_signs_in_as_they_type(
    auth: AuthUnderTest,
) -> None:
    composed, typed = "caf\u00e9", "cafe\u0301"
    auth.service.users.add("reader", auth.service.passwords._hasher.hash(typed))

    with pytest.raises(InvalidCredentials):
        auth.sign_in("reader", composed)
    auth.sign_in("reader", typed)

    assert auth.sign_in("reader", composed).access_token
    assert auth.sign_in("reader", typed).access_token


def test_a_user_disabled_while_their_session_begins_is_signed_out_of_it(
    counted: Counted,
) -> None:
    users_, stack = counted.auth.service.users, ExitStack()

    class Meanwhile(Attempts):
        def succeed(self, transaction: Transaction, attempt: Attempt) -> None:
            disable = beside(lambda: users_.set_disabled("reader", is_disabled=True))
            assert not stack.enter_context(disable)()  # it waits for us
            super().succeed(transaction, attempt)

    counted.attempts = Meanwhile(counted.auth.database, counted.auth.settings)

    with stack:
        counted.sign_in(PASSWORD)

    assert [row.end_reason for row in rows(counted.auth.database, sessions)] == ["disabled"]


def test_a_password_replaced_while_it_is_checked_opens_nothing(counted: Counted) -> None:
    users_, hash_ = counted.auth.service.users, counted.passwords.hash

    class Slow(CountingPasswords):
        def matches(self, password: str, password_hash: str | None) -> bool:
            is_match = super().matches(password, password_hash)
            users_.set_password("reader", hash_("another"))
            return is_match

    counted.passwords = Slow(counted.auth.settings)

    with pytest.raises(InvalidCredentials):
        counted.sign_in(PASSWORD)
    assert rows(counted.auth.database, sessions) == []
