"""The audit's table of contents."""

from functools import partial

from auth_worker.audit.handlers import note_end, note_failure, note_sign_in
from auth_worker.audit.trail import AuditTrail
from auth_worker.settings import AuthSettings
from auth_worker.tables import SCHEMA
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked
from postroad.messaging.background_worker import BackgroundHandlers
from postroad.runtime.resources import Resources
from postroad.runtime.serve import NoSettings
from postroad.storage.opening import Store

STORE = Store(AuthSettings, SCHEMA)


def build(resources: Resources[NoSettings]) -> BackgroundHandlers:
    """Build what writes the audit."""
    return build_handlers(AuditTrail(resources.database))


def build_handlers(trail: AuditTrail) -> BackgroundHandlers:
    """Pair each event that the audit hears with what it does."""
    return {
        LoginSucceeded: partial(note_sign_in, trail=trail),
        LoginFailed: partial(note_failure, trail=trail),
        SessionRevoked: partial(note_end, trail=trail),
    }
