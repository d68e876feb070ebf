"""Following which sessions have been ended, in a process that checks tokens."""

import asyncio

from postroad.broker.interfaces import Broker
from postroad.contracts.auth import ListRevocations
from postroad.contracts.errors import ServiceError
from postroad.contracts.events import SessionRevoked
from postroad.logger import get_logger
from postroad.messaging.client import Client
from postroad.messaging.event_listener import EventListener, ReceivedEvent
from postroad.security.keyring import KeyRing
from postroad.security.token_verifier import Revocations

log = get_logger(__name__)

RETRY_S = 1.0


class RevocationFeed:
    """Keeps ``revocations`` up to date by ``auth.session.revoked``.

    Each time the process begins to listen, it asks the auth service for what it has missed.
    """

    def __init__(
        self, revocations: Revocations, *, broker: Broker, keys: KeyRing, client: Client
    ) -> None:
        self._revocations = revocations
        self._client = client
        self._listener = EventListener(
            {SessionRevoked: self._on_revoked},
            broker=broker,
            keys=keys,
            on_open=self._begin_to_catch_up,
        )
        self._catching_up: asyncio.Task[None] | None = None
        self.is_current = False

    async def start(self) -> None:
        """Begin to connect; does not wait for the broker."""
        await self._listener.start()

    async def close(self) -> None:
        """Follow no more."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)
        await self._listener.close()

    def _on_revoked(self, received: ReceivedEvent[SessionRevoked]) -> None:
        self._revocations.add(received.event.session_id, received.event.until)

    def _begin_to_catch_up(self) -> None:
        if self._catching_up is not None:
            self._catching_up.cancel()
        self._catching_up = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        self.is_current = False
        while not self.is_current:
            try:
                missed = await self._client.call(ListRevocations())
            except ServiceError as error:
                log.debug("revocations not known yet", reason=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                for revocation in missed.data:
                    self._revocations.add(revocation.session_id, revocation.until)
                self.is_current = True
                log.info("revocations known", sessions=len(missed.data))
