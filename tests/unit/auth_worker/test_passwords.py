"""Password hashes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from auth_worker.passwords import Passwords
from tests.support.auth import make_settings

passwords = Passwords(make_settings())


@settings(deadline=None, max_examples=20)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_a_password_matches_its_own_hash(password: str) -> None:
    assert passwords.matches(password, passwords.hash(password))


def test_another_password_does_not_match() -> None:
    assert not passwords.matches("wrong", passwords.hash("right"))


def test_nobodys_password_never_matches() -> None:
    assert not passwords.matches("", None)


def test_what_is_no_hash_never_matches() -> None:
    assert not passwords.matches("", "nonsense")


def test_hashes_are_argon2id_with_the_parameters_of_the_settings() -> None:
    costly = Passwords(make_settings(argon2_time_cost=2, argon2_memory_kib=128))

    assert costly.hash("x").startswith("$argon2id$v=19$m=128,t=2,p=1$")


def test_nobodys_hash_costs_what_a_new_users_does() -> None:
    costly = Passwords(make_settings(argon2_time_cost=2, argon2_memory_kib=128))

    nobody, somebody = costly._hash_of_nobody, costly.hash("x")

    assert nobody.split("$")[:4] == somebody.split("$")[:4]


def test_only_a_hash_with_other_parameters_is_renewed() -> None:
    newer = Passwords(make_settings(argon2_time_cost=2))
    old, new = passwords.hash("x"), newer.hash("x")

    renewed = newer.renewed("x", old)

    assert renewed is not None
    assert newer.matches("x", renewed)
    assert newer.renewed("x", renewed) is None
    assert newer.renewed("x", new) is None
