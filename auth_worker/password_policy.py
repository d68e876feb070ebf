"""What a new password has to be: long enough, and not what those who guess try first.

A length and two lists, and no rules on kinds of characters (NIST SP 800-63B section 3.1.1.2).
Passwords from before are left as they are, and so is the development sign-in.
"""

from functools import cache
from pathlib import Path

from auth_worker.passwords import BadPassword, Passwords, check

LENGTH_MIN = 8
WORDS = {  # known of this system: with figures and signs alone they are no password
    "admin", "administrator", "broker", "catalog", "catalogue", "operator", "password",
    "postgres", "postgresql", "postroad", "rabbitmq", "reader", "writer",
}  # fmt: skip

_COMMON = Path(__file__).with_name("common_passwords.txt")


def hash_new(passwords: Passwords, text: str) -> str:
    """Hash a password that somebody has chosen.

    Raises:
        BadPassword: it cannot be one, is too short, one of the most common, or one of ``WORDS``.
    """
    check_new(text)
    return passwords.hash(text)


def check_new(text: str) -> None:
    """Refuse what may not be chosen for a password.

    Raises:
        BadPassword: it cannot be one, is too short, one of the most common, or one of ``WORDS``.
    """
    prepared = check(text)
    if len(prepared) < LENGTH_MIN:
        raise BadPassword(f"a password has at least {LENGTH_MIN} characters")
    if prepared.casefold() in _common():
        raise BadPassword("this password is one of the 10,000 most common: choose another")
    word = "".join(filter(str.isalpha, prepared.casefold()))
    if word in WORDS:
        raise BadPassword(f"a password is more than {word} with figures and signs: choose another")


@cache
def _common() -> frozenset[str]:
    lines = _COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))
