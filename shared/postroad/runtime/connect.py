"""Calling and listening with settings alone, for services that are not one of ours, and scripts.

    async with connect() as client:
        page = await client.call(ListProducts(limit=5))

    async with listen(LoginSucceeded, LoginFailed) as events:
        async for received in events:
            print(received.event, received.correlation_id)

``postroad.runtime.blocking`` calls without ``async``.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar, overload

from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.base import Event
from postroad.contracts.errors import NotAuthorised
from postroad.contracts.registry import EVENTS
from postroad.logger import get_logger
from postroad.messaging.client import Client
from postroad.messaging.event_listener import EventListener, ReceivedEvent
from postroad.security.key_watch import watch_key_files
from postroad.security.keyring import KeyRing
from postroad.security.keys import is_covered
from postroad.settings import MessagingSettings, settings_from_environment

log = get_logger(__name__)

BACKLOG = 1000  # events that one who listens may be behind

EventT = TypeVar("EventT", bound=Event)


@asynccontextmanager
async def connect(settings: MessagingSettings | None = None) -> AsyncIterator[Client]:
    """Connect a client, by default with the settings in the environment.

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


@overload
def listen(
    *events: type[EventT],
    settings: MessagingSettings | None = None,
    on_open: Callable[[], None] = ...,
) -> AbstractAsyncContextManager[AsyncIterator[ReceivedEvent[EventT]]]: ...
@overload
def listen(
    *events: str,
    settings: MessagingSettings | None = None,
    on_open: Callable[[], None] = ...,
) -> AbstractAsyncContextManager[AsyncIterator[ReceivedEvent[Event]]]: ...
@asynccontextmanager
async def listen(
    *events: type[Event] | str,
    settings: MessagingSettings | None = None,
    on_open: Callable[[], None] = lambda: None,
) -> AsyncIterator[AsyncIterator[ReceivedEvent[Any]]]:
    """Yield events as they happen, verified and typed, for as long as the context lasts.

    They are named by their contracts, or as rights are: ``auth.*`` is all events of that prefix.

    What happens while nobody listens is missed, and so is what happens while the connection is
    lost; it comes back by itself. ``on_open`` is called each time it begins to hear: the moment to
    ask for what was missed. An event may come twice. Who is ``BACKLOG`` events behind misses the
    next ones, and the log says so.

    Raises:
        ValueError: no event has the name, or the prefix.
        NotAuthorised: the trust bundle does not let us hear one of them.
        SettingsError, KeyFileError, OSError: as ``connect`` does.
    """
    settings = settings or settings_from_environment(MessagingSettings)
    contracts = [contract for event in events for contract in _named(event)]
    async with _renewed_keys(settings) as keys:
        _check_rights(keys, contracts)
        heard = _Heard()
        opened = asyncio.Event()

        def begin() -> None:
            opened.set()
            on_open()

        listener = EventListener(
            dict.fromkeys(contracts, heard.put),
            broker=RabbitBroker(settings, keys.service),
            keys=keys,
            on_open=begin,
            log_level=logging.DEBUG,
        )
        try:
            await listener.start()
            with suppress(TimeoutError):
                await asyncio.wait_for(opened.wait(), settings.broker_connect_timeout_s)
            yield heard
        finally:
            await listener.close()


class _Heard(AsyncIterator[ReceivedEvent[Event]]):
    """Events that have come and not been taken yet."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[ReceivedEvent[Event]] = asyncio.Queue(BACKLOG)

    def put(self, received: ReceivedEvent[Event]) -> None:
        try:
            self._waiting.put_nowait(received)
        except asyncio.QueueFull:
            log.warning("event missed", name=received.event.name, reason=f"{BACKLOG} others wait")

    async def __anext__(self) -> ReceivedEvent[Event]:
        return await self._waiting.get()


def _named(event: type[Event] | str) -> list[type[Event]]:
    """Return the contracts that a name or a prefix ``name.*`` covers; a contract is its own."""
    if not isinstance(event, str):
        return [event]
    named = [contract for name, contract in EVENTS.items() if is_covered(name, (event,))]
    if not named:
        raise ValueError(f"no event is named {event}; there are {', '.join(EVENTS)}")
    return named


def _check_rights(keys: KeyRing, events: Iterable[type[Event]]) -> None:
    """Refuse what the broker would, which says so by closing the channel again and again."""
    own = keys.trust.services.get(keys.service)
    for event in events:
        if own is None or not own.may_hear(event.name):
            raise NotAuthorised(f"{keys.service} may not listen to {event.name}")


@asynccontextmanager
async def _renewed_keys(settings: MessagingSettings) -> AsyncIterator[KeyRing]:
    """Load a service's keys, and renew them as their files change."""
    keys = KeyRing.load(settings.identity_file, settings.trust_file)
    watch = asyncio.create_task(watch_key_files(keys, settings.identity_file, settings.trust_file))
    try:
        yield keys
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
