"""The auth service's table of contents."""

from functools import partial

from auth_worker.handlers import Users, create_session
from auth_worker.passwords import Passwords
from auth_worker.tokens import TokenIssuer
from shared.contracts.auth import CreateSession
from shared.messaging.keys import Identity
from shared.messaging.worker import Handlers


def build_handlers(
    *, users: Users, passwords: Passwords, tokens: TokenIssuer, identity: Identity
) -> Handlers:
    """Pair each contract with what answers it."""
    return {
        CreateSession: partial(
            create_session, users=users, passwords=passwords, tokens=tokens, identity=identity
        ),
    }
