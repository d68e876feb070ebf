"""Start the audit of sign-ins: ``python -m auth_worker.audit``."""

from auth_worker.audit.wiring import STORE, build
from auth_worker.settings import AuditMessagingSettings
from postroad.runtime.serve import consume

if __name__ == "__main__":
    consume("audit", build, store=STORE, messaging=AuditMessagingSettings)
