"""What the auth service answers."""

from typing import Literal

from pydantic import Field

from postroad.contracts.base import Message, Request
from postroad.contracts.errors import (
    InvalidCredentials,
    InvalidRefreshToken,
    NotAuthenticated,
    SessionNotFound,
    TooManyAttempts,
)

ADDRESS_MAX = 64  # an address is at most 45 characters (RFC 4291 section 2.2), and has a zone
SEALED_MAX = 4096  # characters of base64url
SECRET_MAX_BYTES = 3000  # sealing adds 48 bytes, and base64url a third
DEVICE_TOKEN_MAX = 200  # characters
SESSIONS_LISTED = 100
REVOCATIONS_LISTED = 10_000  # at most 900 KB

_BASE64URL = "^[A-Za-z0-9_-]+$"


class Session(Message):
    """A signed-in user.

    ``access_token`` is a JWT (RFC 9068) signed with EdDSA, good for ``expires_in`` seconds. The
    refresh token, good for ``refresh_expires_in`` seconds and for one use, is sealed to the
    calling service for ``REFRESH_CONTEXT``. ``device_token`` is for the user's next sign-in from
    the same client; it opens nothing.
    """

    access_token: str
    expires_in: int
    sealed_refresh_token: str
    refresh_expires_in: int
    user_id: int
    device_token: str | None = None  # null from a service older than it


class CreateSession(
    Request[Session],
    method="auth.sessions.create",
    errors=(InvalidCredentials, TooManyAttempts),
):
    """Sign a user in.

    The password is sealed to the auth service's key for ``password_context`` (see
    ``postroad.security.sealing``), so that nobody reads it in a queue, nor moves it to another
    name or request. One that is sealed to a key which the service does not hold, or for another
    request, is an invalid request.
    ``client_address`` is where the user's own request came from, and ``device_token`` the one of
    that client's last session: with it, others who fail in the user's name keep nobody out. The
    session of ``sealed_refresh_token`` ends, if the new one begins: the client gives it up. A
    second delivery makes a second session, which is harmless.
    """

    username: str = Field(min_length=1, max_length=200)
    sealed_password: str = Field(min_length=1, max_length=SEALED_MAX)
    client_address: str | None = Field(default=None, max_length=ADDRESS_MAX)
    device_token: str | None = Field(default=None, max_length=DEVICE_TOKEN_MAX)
    sealed_refresh_token: str | None = Field(default=None, max_length=512)


class RefreshSession(
    Request[Session], method="auth.sessions.refresh", errors=(InvalidRefreshToken,)
):
    """Trade a refresh token, sealed for ``REFRESH_CONTEXT``, for a new session's tokens.

    A token used a second time ends the whole session: one of the two users stole it. A second
    delivery of the same request is no second use, and gets the same new refresh token.
    """

    sealed_refresh_token: str = Field(min_length=1, max_length=SEALED_MAX)


class Ended(Message):
    """The session is over."""


class EndSession(
    Request[Ended], method="auth.sessions.end", errors=(NotAuthenticated, InvalidRefreshToken)
):
    """Sign out: by the user's access token, or by a refresh token sealed for ``REFRESH_CONTEXT``.

    One of the two must be given.
    """

    sealed_refresh_token: str | None = Field(default=None, max_length=SEALED_MAX)


class OwnSession(Message):
    """A session of the user's that has not ended; times are seconds since 1970.

    ``refreshed_at`` is when its tokens were last handed out. ``client_network`` is where its
    sign-in came from, cut to its network, as the audit has it: null before it has, and after.
    """

    session_id: str
    created_at: float
    refreshed_at: float
    client_network: str | None
    is_current: bool  # that of the request's own access token


class OwnSessionList(Message):
    """The user's sessions, the last refreshed first, at most 100."""

    data: list[OwnSession]


class ListOwnSessions(
    Request[OwnSessionList],
    method="auth.sessions.list",
    needs_user=True,
    errors=(NotAuthenticated,),
):
    """The sessions of the user whose access token the request carries."""


class EndOwnSession(
    Request[Ended],
    method="auth.sessions.revoke",
    needs_user=True,
    errors=(NotAuthenticated, SessionNotFound),
):
    """End a session of the user whose access token the request carries.

    One that has ended stays so, and is found for as long as it is known.
    """

    session_id: str = Field(max_length=36, pattern=r"^[0-9a-f-]{36}$")


class PasswordChanged(Message):
    """The user has a new password; ``device_token`` replaces their former ones, which are void."""

    device_token: str
    ended_sessions: int


class ChangePassword(
    Request[PasswordChanged],
    method="auth.passwords.change",
    needs_user=True,
    idempotent=False,
    errors=(NotAuthenticated, InvalidCredentials, TooManyAttempts),
):
    """Change the password of the user whose access token the request carries; who knows it may.

    All other sessions of theirs end. Both passwords are sealed to the auth service's key, each
    for its ``new_password_context``. A new one that is too short or too common is an invalid
    request. A wrong current one counts as a sign-in that failed, and ``client_address`` and
    ``device_token`` are those of ``CreateSession``. A second delivery changes nothing, but is
    refused: the current password is another by then.
    """

    sealed_password: str = Field(pattern=_BASE64URL, max_length=SEALED_MAX)
    sealed_new_password: str = Field(pattern=_BASE64URL, max_length=SEALED_MAX)
    client_address: str | None = Field(default=None, max_length=ADDRESS_MAX)
    device_token: str | None = Field(default=None, max_length=DEVICE_TOKEN_MAX)


class UserProfile(Message):
    """Who a user is, and what they may do."""

    user_id: int
    username: str
    roles: list[str]
    scopes: list[str]


class GetOwnUser(
    Request[UserProfile], method="auth.profiles.get", needs_user=True, errors=(NotAuthenticated,)
):
    """The user whose access token the request carries."""


class Revocation(Message):
    """A session whose access tokens are void, though they say otherwise until ``until``."""

    session_id: str
    until: float  # seconds since 1970


class RevocationList(Message):
    """Revocations that still matter, by session id."""

    data: list[Revocation]


class ListRevocations(Request[RevocationList], method="auth.revocations.list"):
    """What a service has to catch up with, when it has not heard ``auth.session.revoked``.

    Without ``limit``, all of it, which a reply may be too small for. With it, as many at most, of
    session ids that follow ``after``: the last of one reply is the ``after`` of the next request,
    until a reply has not as many.
    """

    after: str = Field(default="", max_length=36)
    limit: int | None = Field(default=None, ge=1, le=REVOCATIONS_LISTED)


REFRESH_CONTEXT = "auth refresh token"


def password_context(username: str, *, caller: str, message_id: str, deadline: float) -> str:
    """Return the context to which a user's password is sealed: of one request, and of no other."""
    return f"{CreateSession.method} {caller} {message_id} {deadline:.3f} {username}"


def new_password_context(
    which: Literal["current", "new"], *, caller: str, message_id: str, deadline: float
) -> str:
    """Return the context to which a password is sealed that is changed, or that replaces it."""
    return f"{ChangePassword.method} {which} {caller} {message_id} {deadline:.3f}"


def former_password_context(username: str) -> str:
    """Return the context to which callers before 0.2 seal a password."""
    return f"{CreateSession.method} {username}"
