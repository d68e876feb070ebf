"""What a new password has to be."""

import pytest

from auth_worker.password_policy import _common, hash_new
from auth_worker.passwords import BadPassword, Passwords
from tests.support.auth import PASSWORD, make_settings

passwords = Passwords(make_settings())


@pytest.mark.parametrize("password", ["a", "1234567", "sev\u00e9n!!", "\U0001f600" * 7])
def test_a_password_of_less_than_eight_characters_is_refused(password: str) -> None:
    with pytest.raises(BadPassword, match="at least 8 characters"):
        hash_new(passwords, password)


@pytest.mark.parametrize(
    "password", ["password", "PassWord", "12345678", "baseball", "1q2w3e4r", "qwertyuiop"]
)
def test_a_password_that_everybody_tries_first_is_refused(password: str) -> None:
    with pytest.raises(BadPassword, match="most common"):
        hash_new(passwords, password)


@pytest.mark.parametrize("password", ["postroad", "Postroad-2026!", "1rabbitmq1", "admin12345"])
def test_a_word_of_this_system_with_figures_is_refused(password: str) -> None:
    with pytest.raises(BadPassword, match="with figures and signs"):
        hash_new(passwords, password)


@pytest.mark.parametrize(
    "password", [PASSWORD, "\u00e9" * 8, "\U0001f600" * 8, "x7#kq0Lm", "long enough " * 83]
)
def test_any_other_password_is_taken(password: str) -> None:
    assert passwords.matches(password, hash_new(passwords, password))


def test_what_cannot_be_typed_again_is_refused_for_that() -> None:
    with pytest.raises(BadPassword, match="no control characters"):
        hash_new(passwords, "a\tb")


def test_the_list_holds_passwords_alone() -> None:
    assert len(_common()) == 3395
    assert all(len(each) >= 8 and each == each.casefold() for each in _common())
