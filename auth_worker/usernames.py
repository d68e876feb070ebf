"""What a user may be called."""

import unicodedata

from auth_worker.tables import USERNAME_MAX

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # Unicode categories


class BadUsername(Exception):
    """Nobody can be called that; the message says why."""


def check_username(text: str) -> str:
    """Give a user name as it is kept: composed (Unicode NFC), so that it is found as typed.

    Raises:
        BadUsername: it is too long, or holds what cannot be seen.
    """
    name = unicodedata.normalize("NFC", text)
    if not 1 <= len(name) <= USERNAME_MAX:
        raise BadUsername(f"a user name has 1 to {USERNAME_MAX} characters")
    if name != name.strip() or any(unicodedata.category(each) in _INVISIBLE for each in name):
        raise BadUsername("a user name has no invisible characters, nor spaces at its ends")
    return name
