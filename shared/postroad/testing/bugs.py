"""What a handler raised, which its worker logs and keeps from the sender, raised in the test."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from unittest.mock import patch

from postroad.contracts.errors import ServiceError
from postroad.messaging.worker_core import WorkerCore
from postroad.topology.names import rpc_queue


@asynccontextmanager
async def raising_bugs() -> AsyncIterator[None]:
    """Raise the first error of a handler that no reply names.

    It takes the place of what the block raises because of it, such as ``InternalError``. From a
    handler of requests that is any error but a ``ServiceError``, from one of events and jobs each.
    """
    found: list[Exception] = []
    attempt = WorkerCore.attempt

    async def noting(
        core: WorkerCore, handling: Awaitable[object], **log_fields: str
    ) -> Exception | None:
        error = await attempt(core, handling, **log_fields)
        is_answered = core.queue.startswith(rpc_queue("")) and isinstance(error, ServiceError)
        if error is not None and not is_answered:
            found.append(error)
        return error

    # patched, since a worker in production has no use for a list of its errors
    with patch.object(WorkerCore, "attempt", noting):
        try:
            yield
        finally:
            if found:
                raise found[0] from None
