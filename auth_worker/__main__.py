"""Start the auth service: ``python -m auth_worker``."""

from auth_worker.settings import AuthMessagingSettings, AuthSettings
from auth_worker.wiring import STORE, build
from postroad.runtime.serve import serve

if __name__ == "__main__":
    serve(
        build,
        settings=AuthSettings,
        store=STORE,
        messaging=AuthMessagingSettings,
        follows_revocations=False,  # it looks into the database, where they are
    )
