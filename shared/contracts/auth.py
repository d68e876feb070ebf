"""What the auth service answers."""

from pydantic import Field

from shared.contracts.base import Message, Request


class Session(Message):
    """A signed-in user.

    ``access_token`` is a JWT (RFC 9068) signed with EdDSA; ``expires_in`` is in seconds.
    """

    access_token: str
    expires_in: int
    user_id: int


class CreateSession(Request[Session], method="auth.sessions.create"):
    """Sign a user in.

    The password is sealed to the auth service's key for ``password_context(username)`` (see
    ``shared.messaging.sealing``), so that nobody reads it in a queue, nor moves it to another
    name. A second delivery makes a second token, which is harmless.

    Raises:
        InvalidCredentials: no such user, or not the password.
        InvalidRequest: the password was sealed to a key the service does not hold.
    """

    username: str = Field(min_length=1, max_length=200)
    sealed_password: str = Field(min_length=1, max_length=4096)


def password_context(username: str) -> str:
    """Give the context to which a user's password is sealed."""
    return f"{CreateSession.method} {username}"
