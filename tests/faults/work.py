"""Work for the background: syncs of the catalogue, and events of a service of another team."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import httpx

from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.events import LoginSucceeded
from postroad.ids import new_id
from postroad.messaging.publishing import MessagePublisher, NotPublished
from postroad.security.key_watch import watch_key_files
from tests.faults.records import Accepted, Records
from tests.faults.system import System

SYNC_PAUSE_S = 0.5
_REPORT_PAUSE_S = 0.2
_OTHER_DOOR = 1_000_000  # a user id that none of our users has


class Operator:
    """Renews the catalogue again and again."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        records: Records,
        *,
        credentials: Mapping[str, str],
        pause_s: float,
    ) -> None:
        self._http = http
        self._credentials = dict(credentials)
        self._records = records
        self._pause_s = pause_s
        self._headers: dict[str, str] = {}

    async def run(self) -> None:
        while True:
            with suppress(httpx.TransportError):  # what was not answered was not promised
                await self._start_one()
            await asyncio.sleep(self._pause_s)

    async def _start_one(self) -> None:
        response = await self._http.post("/products/sync", headers=self._headers)
        if response.status_code == 202:
            self._records.syncs_accepted.add(response.json()["data"]["sync_id"])
        elif response.status_code == 401:
            signed_in = await self._http.post("/auth", json=self._credentials)
            if signed_in.status_code == 200:
                token = signed_in.json()["access_token"]
                self._headers = {"Authorization": f"Bearer {token}"}


class Door:
    """Tells of sign-ins somewhere else, each until the broker has confirmed it."""

    def __init__(self, system: System, records: Records) -> None:
        self._settings = system.settings_of("gate")
        self._keys = system.keys("gate")
        self._records = records

    async def run(self) -> None:
        publisher = RabbitBroker(self._settings, "gate").publisher()
        await publisher.start()
        watch = asyncio.create_task(
            watch_key_files(self._keys, self._settings.identity_file, self._settings.trust_file)
        )
        try:
            while True:
                await self._tell(MessagePublisher(publisher, self._keys))
                await asyncio.sleep(_REPORT_PAUSE_S)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await publisher.close()

    async def _tell(self, messages: MessagePublisher) -> None:
        session, event_id = new_id(), new_id()
        event = LoginSucceeded(
            user_id=_OTHER_DOOR, session_id=session, at=time.time(), client_network=None
        )
        while True:
            try:
                await messages.publish(
                    "event",
                    event.name,
                    event.model_dump_json().encode(),
                    message_id=event_id,
                    correlation_id=event_id,
                )
            except NotPublished:
                await asyncio.sleep(_REPORT_PAUSE_S)
            else:
                self._records.accepted.append(Accepted(event.name, session, time.monotonic()))
                return
