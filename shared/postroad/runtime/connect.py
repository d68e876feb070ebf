"""Calling and listening with settings alone, for services that are not one of ours, and scripts.

    async with connect() as client:
        page = await client.call(ListProducts(limit=5))

    async with listen(LoginSucceeded, LoginFailed) as events:
        async for event in events:
            print(event)

``postroad.runtime.blocking`` calls without ``async``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import structlog

from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.base import Event
from postroad.contracts.errors import NotAuthorised
from postroad.messaging.client import Client
from postroad.messaging.event_listener import EventListener
from postroad.security.keyring import KeyRing, watch_key_files
from postroad.settings import MessagingSettings, settings_from_environment

log = structlog.get_logger()

BACKLOG = 1000  # events that one who listens may be behind

EventT = TypeVar("EventT", bound=Event)


@asynccontextmanager
async def connect(settings: MessagingSettings | None = None) -> AsyncIterator[Client]:
    """Give a connected client, by default with the settings that the environment says.

    While the broker is away its calls raise ``Unavailable``; it comes back by itself. New keys
    are taken up as they appear in their files.

    Raises:
        SettingsError: variables are missing or wrong.
        KeyFileError: a key file is.
        OSError: the password file is.
    """
    settings = settings or settings_from_environment(MessagingSettings)
    async with _renewed_keys(settings) as keys:
        client = Client(RabbitBroker(settings, keys.service), keys)
        try:
            await client.start()
            await client.opened(settings.broker_connect_timeout_s)
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def listen(
    *events: type[EventT],
    settings: MessagingSettings | None = None,
    on_open: Callable[[], None] = lambda: None,
) -> AsyncIterator[AsyncIterator[EventT]]:
    """Give events as they happen, verified and typed, for as long as the context lasts.

    What happens while nobody listens is missed, and so is what happens while the connection is
    lost; it comes back by itself. ``on_open`` is called each time it begins to hear: the moment to
    ask for what was missed. An event may come twice. Who is ``BACKLOG`` events behind misses the
    next ones, and the log says so.

    Raises:
        NotAuthorised: the trust bundle does not let us hear one of them.
        SettingsError, KeyFileError, OSError: as ``connect`` does.
    """
    settings = settings or settings_from_environment(MessagingSettings)
    async with _renewed_keys(settings) as keys:
        _check_rights(keys, events)
        heard = _Heard[EventT]()
        opened = asyncio.Event()

        def begin() -> None:
            opened.set()
            on_open()

        listener = EventListener(
            dict.fromkeys(events, heard.put),
            broker=RabbitBroker(settings, keys.service),
            keys=keys,
            on_open=begin,
        )
        try:
            await listener.start()
            with suppress(TimeoutError):
                await asyncio.wait_for(opened.wait(), settings.broker_connect_timeout_s)
            yield heard
        finally:
            await listener.close()


class _Heard(AsyncIterator[EventT]):
    """Events that have come and not been taken yet."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[EventT] = asyncio.Queue(BACKLOG)

    def put(self, event: EventT) -> None:
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("event missed", name=event.name, reason=f"{BACKLOG} others wait")

    async def __anext__(self) -> EventT:
        return await self._waiting.get()


def _check_rights(keys: KeyRing, events: tuple[type[Event], ...]) -> None:
    """Refuse what the broker would, which says so by closing the channel again and again."""
    own = keys.trust.services.get(keys.service)
    for event in events:
        if own is None or not own.may_hear(event.name):
            raise NotAuthorised(f"{keys.service} may not listen to {event.name}")


@asynccontextmanager
async def _renewed_keys(settings: MessagingSettings) -> AsyncIterator[KeyRing]:
    """Give a service's keys, and renew them as their files change."""
    keys = KeyRing.load(settings.identity_file, settings.trust_file)
    watch = asyncio.create_task(watch_key_files(keys, settings.identity_file, settings.trust_file))
    try:
        yield keys
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
