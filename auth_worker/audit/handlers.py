"""What the audit does with each event. A second delivery finds the entry of the first."""

from time import time

from auth_worker.audit.trail import AuditTrail, Entry
from auth_worker.tables import REASON_MAX
from postroad.context import current_context
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked


def note_sign_in(event: LoginSucceeded, *, trail: AuditTrail) -> None:
    entry = Entry(
        at=event.at,
        what=event.name,
        user_id=event.user_id,
        session_id=event.session_id,
        client_network=event.client_network,
    )
    trail.add(current_context.get().message_id, entry)


def note_failure(event: LoginFailed, *, trail: AuditTrail) -> None:
    entry = Entry(
        at=event.at,
        what=event.name,
        user_id=event.user_id,
        reason=event.reason,
        client_network=event.client_network,
    )
    trail.add(current_context.get().message_id, entry)


def note_end(event: SessionRevoked, *, trail: AuditTrail) -> None:
    entry = Entry(
        at=time() if event.at is None else event.at,
        what=event.name,
        user_id=event.user_id,
        session_id=event.session_id,
        reason=event.reason and event.reason[:REASON_MAX],
    )
    trail.add(current_context.get().message_id, entry)
