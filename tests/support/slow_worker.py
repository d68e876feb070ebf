"""A worker process for tests, which says so when it holds a request, and takes its time over it."""

import asyncio
import sys

from postroad.contracts.auth import CreateSession, Session
from postroad.runtime.serve import serve
from postroad.security.keyring import KeyRing
from postroad.settings import MessagingSettings, read_settings
from tests.support.services import SESSION

HOLDS = b"holds a request\n"


async def answer(request: CreateSession) -> Session:
    sys.stdout.buffer.write(HOLDS)
    sys.stdout.buffer.flush()
    await asyncio.sleep(float(sys.argv[1]))
    return SESSION


if __name__ == "__main__":
    settings = read_settings(MessagingSettings)
    keys = KeyRing.load(settings.identity_file, settings.trust_file)
    serve({CreateSession: answer}, keys=keys, settings=settings, follows_revocations=False)
