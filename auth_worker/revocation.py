"""Ending sessions: no more tokens for them, and those that are out are void."""

from time import time
from typing import Literal

from sqlalchemy import ColumnElement

from auth_worker.tables import sessions
from postroad.contracts.events import SessionRevoked
from postroad.storage.database import Transaction
from postroad.storage.outbox import Messages

EndReason = Literal["signed_out", "token_reused", "disabled", "new_password", "replaced"]


def end_sessions(
    transaction: Transaction, which: ColumnElement[bool], reason: EndReason, *, events: Messages
) -> int:
    """End the sessions that have not ended, tell it, and say how many there were."""
    ended = transaction.connection.execute(
        sessions.update()
        .where(which, sessions.c.ended_at.is_(None))
        .values(ended_at=(now := time()), end_reason=reason)
        .returning(sessions.c.id, sessions.c.user_id, sessions.c.access_until)
    ).all()
    for row in ended:
        events.add(
            transaction,
            SessionRevoked(
                session_id=row.id,
                user_id=row.user_id,
                until=row.access_until,
                at=now,
                reason=reason,
            ),
        )
    return len(ended)
