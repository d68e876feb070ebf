"""The audit's table of contents."""

from functools import partial

from auth_worker.audit.handlers import note_end, note_failure, note_sign_in
from auth_worker.audit.trail import AuditTrail
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked
from postroad.messaging.background_worker import BackgroundHandlers
from postroad.storage.retrying import outlasting


def build_handlers(trail: AuditTrail) -> BackgroundHandlers:
    """Pair each event that the audit hears with what it does."""
    return {
        LoginSucceeded: outlasting(partial(note_sign_in, trail=trail), problem=trail.problem),
        LoginFailed: outlasting(partial(note_failure, trail=trail), problem=trail.problem),
        SessionRevoked: outlasting(partial(note_end, trail=trail), problem=trail.problem),
    }
