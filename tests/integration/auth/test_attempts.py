"""How often one may fail to sign in."""

import pytest

from auth_worker.tables import sessions, sign_in_failures
from postroad.contracts.errors import TooManyAttempts
from postroad.contracts.events import LoginFailed
from postroad.security.keyring import KeyRing
from postroad.storage.database import Database
from tests.integration.auth.counting import FOREVER, Counted
from tests.support.auth import (
    ADDRESS,
    PASSWORD,
    WRONG,
    AuthUnderTest,
    at_once,
    kinds,
    make_settings,
    rows,
)


def test_after_five_failures_even_the_right_password_is_not_checked(
    counted: Counted,
) -> None:
    counted.fail(5)
    looked_at = counted.passwords.looked_at

    refusals = []
    for password in (PASSWORD, WRONG):
        with pytest.raises(TooManyAttempts) as refusal:
            counted.sign_in(password)
        refusals.append((str(refusal.value), refusal.value.retry_after_s))

    assert counted.passwords.looked_at == looked_at == 5
    assert refusals[0] == refusals[1] == (TooManyAttempts.title, 900)
    assert rows(counted.auth.database, sessions) == []
    told = counted.auth.events()[-1]
    assert isinstance(told, LoginFailed)
    assert told.reason == "locked_out"


def test_the_wait_is_as_long_as_the_error_says(counted: Counted) -> None:
    counted.fail(1)
    counted.clock.now += 100
    counted.fail(4)
    with pytest.raises(TooManyAttempts) as refusal:
        counted.sign_in()
    wait_s = refusal.value.retry_after_s or 0

    counted.clock.now += wait_s - 1
    with pytest.raises(TooManyAttempts):
        counted.sign_in(PASSWORD)
    counted.clock.now += 1

    assert wait_s == 800
    assert counted.sign_in(PASSWORD).access_token


def test_names_that_look_the_same_are_counted_together(counted: Counted) -> None:
    for username in ("reader", "READER", " reader ", "\uff52eader", "Reader"):
        counted.fail(1, username=username)

    with pytest.raises(TooManyAttempts):
        counted.sign_in(username="rEaDeR")


def test_a_name_nobody_has_is_locked_out_just_as_one_somebody_has(counted: Counted) -> None:
    counted.fail(5, username="nobody")

    with pytest.raises(TooManyAttempts):
        counted.sign_in(username="nobody")


def test_a_success_clears_the_users_count(counted: Counted) -> None:
    counted.fail(4)
    counted.sign_in(PASSWORD)

    counted.fail(5)

    with pytest.raises(TooManyAttempts):
        counted.sign_in(PASSWORD)


def test_a_success_does_not_clear_the_addresss_count_nor_add_to_it(
    database: Database, keys: dict[str, KeyRing]
) -> None:
    counted = Counted(AuthUnderTest(database, keys, make_settings(attempts_per_address=3)))
    counted.auth.add_user("reader")
    counted.fail(2, username="writer")
    for _ in range(5):
        counted.sign_in(PASSWORD)

    counted.fail(1, username="carol")

    with pytest.raises(TooManyAttempts):
        counted.sign_in(PASSWORD)
    assert counted.sign_in(PASSWORD, address="198.51.100.1").access_token


@pytest.mark.parametrize(
    ("addresses", "other"),
    [
        (("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"), "192.0.2.2"),
        (("2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::1"), "2001:db8:0:1::1"),
    ],
)
def test_one_clients_addresses_are_counted_together(
    database: Database, keys: dict[str, KeyRing], addresses: tuple[str, ...], other: str
) -> None:
    counted = Counted(AuthUnderTest(database, keys, make_settings(attempts_per_address=3)))
    for number, address in enumerate(addresses):
        counted.fail(1, username=f"user{number}", address=address)

    with pytest.raises(TooManyAttempts):
        counted.sign_in(username="another", address=addresses[0])
    counted.fail(1, username="another", address=other)


@pytest.mark.parametrize("address", [None, "unknown", ""])
def test_without_an_address_only_the_name_is_counted(counted: Counted, address: str | None) -> None:
    counted.fail(5, address=address)

    with pytest.raises(TooManyAttempts):
        counted.sign_in(address=address)
    counted.fail(1, username="writer", address=address)


def test_twenty_wrong_passwords_at_once_are_five_tries(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    replica = AuthUnderTest(auth.database, auth.keys)

    outcomes = at_once(20, lambda number: (auth, replica)[number % 2].sign_in("reader", WRONG))

    assert kinds(outcomes) == {"InvalidCredentials": 5, "TooManyAttempts": 15}
    with pytest.raises(TooManyAttempts):
        auth.sign_in("reader", PASSWORD)


def test_twenty_right_passwords_at_once_are_twenty_sessions(
    auth: AuthUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auth_worker.attempts._WAIT_AT_MOST_S", 30.0)  # on a busy machine
    auth.add_user("reader")

    outcomes = at_once(20, lambda _: auth.sign_in("reader"))

    assert kinds(outcomes) == {"Session": 20}
    assert rows(auth.database, sign_in_failures) == []


def test_an_attempt_whose_worker_died_counts_as_failed(counted: Counted) -> None:
    for _ in range(5):
        counted.attempts.begin("reader", ADDRESS, deadline=FOREVER)

    with pytest.raises(TooManyAttempts) as soon:
        counted.sign_in(PASSWORD)
    counted.clock.now += 60
    with pytest.raises(TooManyAttempts) as later:
        counted.sign_in(PASSWORD)

    assert soon.value.retry_after_s == 1  # they may be under way
    assert 800 < (later.value.retry_after_s or 0) < 900
    assert counted.passwords.looked_at == 0
