"""Following which sessions have been ended, in a process that checks tokens."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from postroad.broker.interfaces import Broker
from postroad.contracts.auth import REVOCATIONS_LISTED, ListRevocations, Revocation
from postroad.contracts.errors import ServiceError
from postroad.contracts.events import SessionRevoked
from postroad.logger import get_logger
from postroad.messaging.client import Client
from postroad.messaging.event_listener import EventListener, ReceivedEvent
from postroad.security.keyring import KeyRing
from postroad.security.keys import UnknownKey
from postroad.security.token_verifier import Revocations

log = get_logger(__name__)

RETRY_S = 1.0
INTERVAL_S = 60.0
LOOK_S = 1.0
KNOWN_FOR_S = 60.0  # as long as an end that nobody noticed was missed may stay unknown


class RevocationFeed:
    """Keeps ``revocations`` up to date by ``auth.session.revoked``.

    It asks the auth service for what it has missed: each time it begins to listen, after each
    event that it had to refuse, when the keys were renewed, and every minute in any case.
    """

    def __init__(
        self,
        revocations: Revocations,
        *,
        broker: Broker,
        keys: KeyRing,
        client: Client,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._revocations = revocations
        self._client = client
        self._listener = EventListener(
            {SessionRevoked: self._on_revoked},
            broker=broker,
            keys=keys,
            on_open=self._on_open,
            on_refused=self._on_refused,
        )
        self._wanted = asyncio.Event()
        self._keys = keys
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._clock = clock
        revocations.known_until = clock() + KNOWN_FOR_S
        self._is_known = False
        self._has_missed = True

    @property
    def is_current(self) -> bool:
        """Whether it is known which sessions have ended."""
        return self._is_known and self._listener.is_open

    async def start(self) -> None:
        """Begin to connect; does not wait for the broker."""
        self._keys.on_renewal.append(self._wanted.set)
        await self._listener.start()
        self._tasks = (asyncio.create_task(self._follow()), asyncio.create_task(self._look()))

    async def close(self) -> None:
        """Follow no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            self._keys.on_renewal.remove(self._wanted.set)
        await self._listener.close()

    def _on_revoked(self, received: ReceivedEvent[SessionRevoked]) -> None:
        self._revocations.add(received.event.session_id, received.event.until)

    def _on_open(self) -> None:
        self._is_known = False
        self._on_refused()

    def _on_refused(self) -> None:
        """Ask; only once that fails is it not known, or else a forged event could do as much."""
        self._has_missed = True
        self._wanted.set()

    async def _follow(self) -> None:
        await self._wanted.wait()
        while True:
            self._wanted.clear()
            try:
                missed = await self._list()
            except (ServiceError, UnknownKey) as error:
                log.debug("revocations not known yet", reason=str(error))
                self._is_known = self._is_known and not self._has_missed
                self._wanted.set()
            else:
                self._catch_up(missed)
            await asyncio.sleep(RETRY_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S):
                    await self._wanted.wait()

    async def _list(self) -> list[Revocation]:
        """Ask for all, page by page; an auth service before 0.2 gives them all at once."""
        missed: list[Revocation] = []
        after = ""
        while True:
            asked = ListRevocations(after=after, limit=REVOCATIONS_LISTED)
            page = (await self._client.call(asked)).data
            missed += page
            if len(page) != REVOCATIONS_LISTED or page[-1].session_id == after:
                return missed
            after = page[-1].session_id

    async def _look(self) -> None:
        while True:
            if self.is_current:
                self._revocations.known_until = self._clock() + KNOWN_FOR_S
            await asyncio.sleep(LOOK_S)

    def _catch_up(self, missed: list[Revocation]) -> None:
        for revocation in missed:
            self._revocations.add(revocation.session_id, revocation.until)
        if self._wanted.is_set():  # while it was asked, more was missed
            return
        if not self._is_known:
            log.info("revocations known", sessions=len(missed))
        self._is_known, self._has_missed = True, False
