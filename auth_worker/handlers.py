"""What the auth service does."""

from typing import Protocol

from auth_worker.passwords import Passwords
from auth_worker.tokens import TokenIssuer
from auth_worker.users import User
from shared.contracts.auth import CreateSession, Session, password_context
from shared.contracts.errors import InvalidCredentials, InvalidRequest
from shared.messaging.keys import Identity
from shared.messaging.sealing import CannotUnseal, unseal


class Users(Protocol):
    """Where users are kept."""

    def find(self, username: str) -> User | None:
        """Find a user by name."""


def create_session(
    request: CreateSession,
    *,
    users: Users,
    passwords: Passwords,
    tokens: TokenIssuer,
    identity: Identity,
) -> Session:
    """Sign a user in; runs in a thread, for a password check takes tens of milliseconds."""
    try:
        password = unseal(
            request.sealed_password, context=password_context(request.username), identity=identity
        )
    except CannotUnseal as error:
        raise InvalidRequest(f"sealed_password: {error}") from error
    user = users.find(request.username)
    known_hash = user.password_hash if user else None
    if not passwords.matches(password, known_hash) or user is None:
        raise InvalidCredentials
    return Session(access_token=tokens.issue(user), expires_in=tokens.lifetime_s, user_id=user.id)
