"""Password hashes."""

from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth_worker.passwords import BadPassword, Passwords, _kind, prepare
from tests.support.auth import make_settings

passwords = Passwords(make_settings())


COMPOSED, DECOMPOSED = "caf\u00e9 \u1e69", "cafe\u0301 s\u0323\u0307"
KEPT = "correct horse battery staple"
TYPED_BEFORE = (DECOMPOSED, KEPT.replace(" ", "\u3000"), "tab\there", "soft\u00adhyphen", "\0")


class Counting(Passwords):
    """Counts the checks of a hash, each of which takes long, and notes with which parameters."""

    hashed = 0
    kinds: ClassVar[list[str]] = []

    def _is_hash_of(self, password: str, password_hash: str) -> bool:
        self.hashed += 1
        self.kinds.append(_kind(password_hash))
        return super()._is_hash_of(password, password_hash)


def hash_as_typed(password: str) -> str:
    """Hash a password as it was done before passwords were prepared."""
    return passwords._hasher.hash(password)


@settings(deadline=None, max_examples=20)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_a_password_matches_its_own_hash(password: str) -> None:
    try:
        password_hash = passwords.hash(password)
    except BadPassword:
        password_hash = hash_as_typed(password)

    assert passwords.matches(password, password_hash)


# the same password, typed in other ways


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (COMPOSED, DECOMPOSED),
        ("\u212b", "\u00c5"),  # the sign of an angstrom, the letter
        ("\uac00", "\u1100\u1161"),  # a syllable of Hangul, its letters
        *((KEPT, KEPT.replace(" ", space)) for space in "\u00a0\u1680\u2003\u202f\u3000"),
    ],
)
def test_a_password_is_the_same_however_it_is_typed(one: str, other: str) -> None:
    assert passwords.matches(one, passwords.hash(other))
    assert passwords.matches(other, passwords.hash(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (KEPT, KEPT.title()),
        (KEPT, KEPT.replace(" ", "")),
        (KEPT, f" {KEPT}"),
        ("wide", "\uff57ide"),
        ("\ufb01", "fi"),
        ("\u03c0\u00df\u00e5", "\u03c0ss\u00e5"),
    ],
)
def test_passwords_that_only_look_alike_differ(one: str, other: str) -> None:
    assert not passwords.matches(other, passwords.hash(one))


@pytest.mark.parametrize(
    "password",
    [
        "my cat is a \tby",  # RFC 8265 section 4.3
        "",
        "a\0",
        "a\x7f",
        "a\u0085",
        "a\u200b",  # a space of no width
        "a\ufeff",
        "a\u202e",
        "a\u2028",
        "a\ue000",
        "a\uffff",
        "a\udcff",  # a byte that was no UTF-8
    ],
)
def test_a_password_that_cannot_be_typed_again_is_refused(password: str) -> None:
    with pytest.raises(BadPassword, match="no control characters"):
        passwords.hash(password)


def test_a_password_that_nobody_could_sign_in_with_is_refused() -> None:
    with pytest.raises(BadPassword, match="at most 3000 bytes"):
        passwords.hash("\N{POT OF FOOD}" * 751)


@pytest.mark.parametrize(
    "password",
    ["Jack of \u2666s", "\u2764\ufe0f", "\U0001f468\u200d\U0001f469", "\u0646\u200c\u0647"],
)
def test_signs_emoji_and_joined_letters_make_a_password(password: str) -> None:
    assert passwords.matches(password, passwords.hash(password))


@given(st.text())
def test_preparing_a_password_twice_changes_nothing_more(text: str) -> None:
    try:
        prepared = prepare(text)
    except BadPassword:
        return

    assert prepare(prepared) == prepared


# users from before passwords were prepared


@pytest.mark.parametrize("password", TYPED_BEFORE)
def test_a_password_hashed_as_typed_still_matches(password: str) -> None:
    assert passwords.matches(password, hash_as_typed(password))
    assert not passwords.matches(f"{password}x", hash_as_typed(password))


def test_the_hash_of_a_password_as_typed_is_renewed_where_it_can_be() -> None:
    renewed = passwords.renewed(DECOMPOSED, hash_as_typed(DECOMPOSED))

    assert renewed is not None
    assert passwords.matches(COMPOSED, renewed)
    assert passwords.renewed(DECOMPOSED, renewed) is None
    assert passwords.renewed("\0", hash_as_typed("\0")) is None


@pytest.mark.parametrize(("password", "hashes"), [(KEPT, 1), (COMPOSED, 1), (DECOMPOSED, 2)])
def test_a_check_takes_as_long_for_everybody(password: str, hashes: int) -> None:
    counting = Counting(make_settings())
    known = (None, hash_as_typed(password), passwords.hash(password), passwords.hash("x"))

    for password_hash in known:
        counting.hashed = 0
        counting.matches(password, password_hash)
        assert counting.hashed == hashes


@pytest.mark.parametrize("password", [KEPT, DECOMPOSED])
def test_a_check_takes_as_long_for_who_has_an_older_hash(password: str) -> None:
    costly = Counting(make_settings(argon2_time_cost=2))
    old, new = passwords.hash(password), costly.hash(password)
    costly.expect([old])

    done = []
    for password_hash in (None, old, new, passwords.hash("x"), costly.hash("x"), "nonsense"):
        costly.kinds.clear()
        costly.matches(password, password_hash)
        done.append(sorted(kind for kind in costly.kinds if kind != "nonsense"))

    assert all(each == done[0] for each in done)
    assert set(done[0]) == {_kind(old), _kind(new)}
    assert costly.matches(password, old)
    assert costly.matches(password, new)
    assert not costly.matches("", new)
    assert not costly.matches("", old)


def test_parameters_that_nobody_has_any_more_cost_nothing() -> None:
    costly = Counting(make_settings(argon2_time_cost=2))
    costly.matches(KEPT, passwords.hash(KEPT))  # it was not expected, and is from now on
    assert len(costly._decoys) == 2

    costly.expect([])

    assert len(costly._decoys) == 1


def test_a_usual_sign_in_makes_one_hash() -> None:
    counting = Counting(make_settings())
    password_hash = passwords.hash(COMPOSED)

    assert counting.matches(COMPOSED, password_hash)
    assert counting.renewed(COMPOSED, password_hash) is None

    assert counting.hashed == 1


# whose password it is not


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
