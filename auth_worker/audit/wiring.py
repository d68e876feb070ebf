"""The audit's table of contents."""

from functools import partial

from auth_worker.audit.handlers import note_end, note_failure, note_sign_in
from auth_worker.audit.trail import AuditTrail
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked
from postroad.messaging.background_worker import BackgroundHandlers
from postroad.storage.retrying import held_during_outage


def build_handlers(trail: AuditTrail) -> BackgroundHandlers:
    """Pair each event that the audit hears with what it does."""
    return {
        LoginSucceeded: held_during_outage(
            partial(note_sign_in, trail=trail), outage=trail.problem
        ),
        LoginFailed: held_during_outage(partial(note_failure, trail=trail), outage=trail.problem),
        SessionRevoked: held_during_outage(partial(note_end, trail=trail), outage=trail.problem),
    }
