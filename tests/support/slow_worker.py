"""A worker process for tests, which says so when it holds a request, and takes its time over it."""

import asyncio
import sys

from postroad.contracts.auth import CreateSession, Session
from postroad.runtime.serve import serve
from tests.support.services import SESSION

HOLDS = b"holds a request\n"


async def answer(request: CreateSession) -> Session:
    sys.stdout.buffer.write(HOLDS)
    sys.stdout.buffer.flush()
    await asyncio.sleep(float(sys.argv[1]))
    return SESSION


if __name__ == "__main__":
    serve({CreateSession: answer}, follows_revocations=False)
