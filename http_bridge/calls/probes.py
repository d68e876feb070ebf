"""Whether the services can change anything now, asked when somebody wants to know."""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import structlog

from postroad.contracts.base import Request
from postroad.contracts.errors import ServiceError
from postroad.contracts.probes import Readiness
from postroad.contracts.registry import CONTRACTS
from postroad.messaging.client import Client

log = structlog.get_logger()

FRESH_S = 1.0
TIMEOUT_S = 4.0  # a service says within it that its database does not answer


class ServiceProbes:
    """Asks each service that has a database; however many want to know, each second at most.

    Those services are the ones with a contract whose reply is ``Readiness``.
    """

    def __init__(
        self,
        client: Client,
        *,
        contracts: Iterable[type[Request[Any]]] = CONTRACTS.values(),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._client = client
        self._probes = [contract() for contract in contracts if contract.reply is Readiness]
        self._clock = clock
        self._asked_at = 0.0
        self._asking: asyncio.Task[list[str]] | None = None

    async def problems(self) -> list[str]:
        """Return what keeps services from changing anything.

        Nothing is known of a service that does not answer, be it too busy or too old for it.
        """
        now = self._clock()
        is_stale = now - self._asked_at >= FRESH_S
        if self._asking is None or (is_stale and self._asking.done()):
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> list[str]:
        found = await asyncio.gather(*map(self._problem, self._probes))
        return [problem for problem in found if problem is not None]

    async def _problem(self, probe: Request[Readiness]) -> str | None:
        try:
            readiness = await self._client.call(probe, timeout_s=TIMEOUT_S)
        except ServiceError as error:
            log.debug("probe unanswered", service=probe.service, reason=str(error))
            return None
        return readiness.problem and f"{probe.service}: {readiness.problem}"
