"""What a new password has to be: long enough, and not what those who guess try first.

A length and a list, and no rules on kinds of characters (NIST SP 800-63B section 3.1.1.2).
Passwords from before are left as they are, and so is the development sign-in.
"""

from functools import cache
from pathlib import Path

from auth_worker.passwords import BadPassword, Passwords, check

LENGTH_MIN = 8

_COMMON = Path(__file__).with_name("common_passwords.txt")


def hash_new(passwords: Passwords, text: str) -> str:
    """Hash a password that somebody has chosen.

    Raises:
        BadPassword: it cannot be one, is too short, or is one of the most common.
    """
    check_new(text)
    return passwords.hash(text)


def check_new(text: str) -> None:
    """Refuse what may not be chosen for a password.

    Raises:
        BadPassword: it cannot be one, is too short, or is one of the most common.
    """
    prepared = check(text)
    if len(prepared) < LENGTH_MIN:
        raise BadPassword(f"a password has at least {LENGTH_MIN} characters")
    if prepared.casefold() in _common():
        raise BadPassword("this password is one of the 10,000 most common: choose another")


@cache
def _common() -> frozenset[str]:
    lines = _COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))
