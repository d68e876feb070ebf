"""What each role may do; a scope is what a contract asks of the user's token."""

from collections.abc import Iterable

_SCOPES = {
    "user": ("catalog:read",),
    "operator": ("catalog:read", "catalog:sync", "operations:read"),
    "admin": ("catalog:read", "catalog:sync", "operations:read", "users:admin"),
}

ROLES = tuple(_SCOPES)
DEFAULT_ROLE = "user"


class UnknownRole(Exception):
    """There is no such role; the message names those there are."""


def check_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """Give roles, each once, in the order of what they may do.

    Raises:
        UnknownRole: one of them is none, or there are none.
    """
    given = set(roles)
    if unknown := given - set(ROLES):
        raise UnknownRole(f"no role {min(unknown)!r}: there are {', '.join(ROLES)}")
    if not given:
        raise UnknownRole(f"a user has at least one role of {', '.join(ROLES)}")
    return tuple(role for role in ROLES if role in given)


def scopes_of(roles: Iterable[str]) -> tuple[str, ...]:
    """Give what roles may do, sorted; a role that is no more may do nothing."""
    return tuple(sorted({scope for role in roles for scope in _SCOPES.get(role, ())}))
