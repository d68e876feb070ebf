"""Passwords are kept as Argon2id hashes (RFC 9106), made of what RFC 8265 makes of their text."""

import unicodedata
from collections.abc import Iterable
from contextlib import suppress

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from auth_worker.settings import AuthSettings
from postroad.contracts.auth import SECRET_MAX_BYTES

_JOINERS = "\u200c\u200d"  # in words of some languages, and in emoji
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # Unicode categories


class BadPassword(Exception):
    """It cannot be a password; the message says why."""


def prepare(text: str) -> str:
    """Return a password as it is hashed, the same however it is typed (RFC 8265, OpaqueString).

    It is composed (Unicode NFC), and every kind of space is the plain one. Unlike there, a
    password may hold emoji that are made of several characters.

    Raises:
        BadPassword: it is empty, or holds what might not be typed a second time.
    """
    spaced = "".join(" " if unicodedata.category(each) == "Zs" else each for each in text)
    prepared = unicodedata.normalize("NFC", spaced)
    if not prepared or any(
        unicodedata.category(each) in _REFUSED for each in prepared if each not in _JOINERS
    ):
        raise BadPassword(
            "a password is not empty, and has no control characters nor invisible ones"
        )
    return prepared


def check(text: str) -> str:
    """Return a password prepared, if it can be one with which its user can sign in.

    Raises:
        BadPassword: it cannot; or it is too long.
    """
    prepared = prepare(text)
    if len(text.encode()) > SECRET_MAX_BYTES:
        raise BadPassword(f"a password has at most {SECRET_MAX_BYTES} bytes in UTF-8")
    return prepared


def _forms(text: str) -> list[str]:
    """Return the forms in which a password may have been hashed: prepared, or else as typed."""
    try:
        prepared = prepare(text)
    except BadPassword:
        return [text]
    return [prepared] if prepared == text else [prepared, text]


class Passwords:
    """Hashes and checks passwords; a check takes the same time for a user there is not.

    Users from before passwords were prepared have hashes of what they typed. So a password that
    preparing changes is checked in both forms, always: the time does not depend on the user. Nor
    does it where some users' hashes have older parameters (``expect``): each check is made with
    all parameters in use.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._hash_of_nobody = self._hasher.hash("")
        # hashes of nobody, by their parameters
        self._decoys = {_kind(self._hash_of_nobody): self._hash_of_nobody}

    def hash(self, password: str) -> str:
        """Hash a password, with its salt and parameters, as text.

        Raises:
            BadPassword: it cannot be one, or nobody could sign in with it: it is too long.
        """
        return self._hasher.hash(check(password))

    def expect(self, hashes: Iterable[str]) -> None:
        """Make each check cost as much as with any of some hashes, and with a new one."""
        of_each_kind = {_kind(each): each for each in (self._hash_of_nobody, *hashes)}
        made = {
            kind: self._decoys.get(kind) or _hash_of_nobody(like=each)
            for kind, each in of_each_kind.items()
        }
        self._decoys = {kind: decoy for kind, decoy in made.items() if decoy is not None}

    def matches(self, password: str, password_hash: str | None) -> bool:
        """Check a password against a user's hash; none stands for a user there is not."""
        known = password_hash or self._hash_of_nobody
        if _kind(known) not in self._decoys:  # of another worker, with other settings
            self.expect([*self._decoys.values(), known])
        others = [decoy for kind, decoy in self._decoys.items() if kind != _kind(known)]
        found = [
            self._is_hash_of(form, each) and each is known
            for form in _forms(password)
            for each in (known, *others)
        ]
        return any(found) and password_hash is not None

    def renewed(self, password: str, password_hash: str) -> str | None:
        """Hash a password that matches anew, if its hash has other parameters or another form."""
        form, *others = _forms(password)
        is_as_typed = bool(others) and not self._is_hash_of(form, password_hash)
        if is_as_typed or self._hasher.check_needs_rehash(password_hash):
            return self._hasher.hash(form)
        return None

    def _is_hash_of(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def _kind(password_hash: str) -> str:
    """Return the parameters of a hash: all but its salt and its digest."""
    return password_hash.rsplit("$", 2)[0]


def _hash_of_nobody(like: str) -> str | None:
    """Make a hash with the parameters of another; none if that is not a hash."""
    with suppress(InvalidHashError):
        return PasswordHasher.from_parameters(extract_parameters(like)).hash("")
    return None
