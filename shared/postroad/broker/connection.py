"""One connection to RabbitMQ, with one channel, that comes back when it is lost."""

import asyncio
import itertools
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pydantic import SecretStr

from postroad.broker.amqp.connection import Amqp
from postroad.broker.amqp.transport import LoopServices
from postroad.broker.interfaces import ConnectionState
from postroad.broker.stats import Traffic
from postroad.logger import get_logger
from postroad.settings import MessagingSettings
from postroad.urls import read_broker_url

log = get_logger(__name__)

T = TypeVar("T")

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
SETTLED_S = 5.0  # a connection that held this long starts the delays afresh


class ConnectionLost(Exception):
    """The connection, or its channel, went; the message says why."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where a service connects, and as whom."""

    settings: MessagingSettings
    user: str
    password: SecretStr
    traffic: Traffic = field(default_factory=Traffic)

    def parameters(self, url: str, role: str) -> pika.ConnectionParameters:
        """Translate for pika; ``role`` names the connection in the management page.

        Raises:
            ConnectionLost: the certificates cannot be used; perhaps they are being renewed.
        """
        broker = read_broker_url(url)
        return pika.ConnectionParameters(
            host=broker.host,
            port=broker.port,
            ssl_options=self._ssl_options(broker.host) if broker.is_encrypted else None,
            virtual_host=broker.virtual_host,
            credentials=pika.PlainCredentials(self.user, self.password.get_secret_value()),
            heartbeat=self.settings.broker_heartbeat_s,
            blocked_connection_timeout=self.settings.broker_blocked_timeout_s,
            socket_timeout=self.settings.broker_connect_timeout_s,
            stack_timeout=self.settings.broker_connect_timeout_s + 5,
            client_properties={"connection_name": f"{self.user} {role}"},
            # what is sent and not acknowledged must not outlast the heartbeat (tcp(7))
            tcp_options={"TCP_USER_TIMEOUT": 2000 * self.settings.broker_heartbeat_s},
        )

    def _ssl_options(self, host: str) -> pika.SSLOptions:
        try:
            return pika.SSLOptions(self.settings.broker_tls(), host)
        except OSError as error:
            raise ConnectionLost(f"certificates: {error}") from error


class Connection:
    """Keeps a channel open: connects, sets it up, and begins again when either goes.

    ``set_up`` readies each new channel. ``on_lost`` hears that the channel, and all that was under
    way on it, is gone. Brokers are tried in turn, with growing, jittered pauses.
    """

    def __init__(
        self,
        login: Login,
        role: str,
        *,
        set_up: Callable[["Connection", Channel], Awaitable[None]],
        on_lost: Callable[[], None],
    ) -> None:
        self._login = login
        self._role = role
        self._set_up = set_up
        self._on_lost = on_lost
        self._amqp: AsyncioConnection | None = None
        self._lost: asyncio.Future[str] | None = None
        self._keeper: asyncio.Task[None] | None = None
        # each channel's end, for those who wait for an answer on it
        self._closed: WeakKeyDictionary[Channel, asyncio.Future[BaseException]] = (
            WeakKeyDictionary()
        )
        self._opened = asyncio.Event()
        self.state = ConnectionState.CLOSED

    async def start(self) -> None:
        """Begin to connect, and keep at it until ``close``."""
        self.state = ConnectionState.CONNECTING
        self._login.traffic.states[self._role] = lambda: self.state
        self._keeper = asyncio.create_task(self._keep_open())

    async def opened(self, timeout_s: float) -> bool:
        """Wait until the channel is ready for use."""
        try:
            await asyncio.wait_for(self._opened.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Close for good."""
        self.state = ConnectionState.DRAINING
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._opened.clear()
        self.state = ConnectionState.CLOSED

    async def open_channel(self) -> Channel:
        """Open a further channel, for what might close it.

        Raises:
            ConnectionLost: there is no connection.
        """
        if self._amqp is None or not self._amqp.is_open:
            raise ConnectionLost("not connected")
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._amqp.channel(on_open_callback=opened.set_result)
        channel = cast(Channel, await self._or_lost(opened))
        closed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        channel.add_on_close_callback(lambda _, error: _resolve(closed, error))
        self._closed[channel] = closed
        return channel

    async def ask(self, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a channel method that answers through ``callback``, and await its answer.

        Raises:
            ConnectionLost: the channel was closed, as the broker does to refuse.
        """
        closed = self._closed[getattr(method, "__self__")]  # noqa: B009  # its channel
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        method(**arguments, callback=lambda frame: _resolve(answered, frame))
        await asyncio.wait({answered, closed}, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise ConnectionLost(describe(closed.result()))
        return answered.result()

    def fail(self, reason: str) -> None:
        """Give the connection up, as if it had been lost, and connect anew."""
        if self._lost is not None:
            _resolve(self._lost, reason)

    async def _keep_open(self) -> None:
        loop = asyncio.get_running_loop()
        delay_s = FIRST_DELAY_S
        for url in itertools.cycle(self._login.settings.broker_urls):
            began = loop.time()
            # whatever it ends by: without this loop the process would be cut off for good
            [end] = await asyncio.gather(self._hold(url), return_exceptions=True)
            if loop.time() - began > SETTLED_S:
                delay_s = FIRST_DELAY_S
            self.state = ConnectionState.RECOVERING
            self._login.traffic.lost[self._role] += 1
            pause_s = delay_s * random.uniform(0.5, 1.0)  # noqa: S311  # spreads, hides nothing
            log.warning(
                "broker connection lost",
                role=self._role,
                broker=url,
                reason=str(end) or type(end).__name__,
                retry_in_s=round(pause_s, 2),
                **_traceback(end),
            )
            await asyncio.sleep(pause_s)
            delay_s = min(delay_s * 2, LONGEST_DELAY_S)

    async def _hold(self, url: str) -> str:
        """Connect to one broker and stay until the connection goes; give the reason."""
        self._lost = lost = asyncio.get_running_loop().create_future()
        try:
            await self._connect(url, lost)
            async with asyncio.timeout(self._login.settings.broker_connect_timeout_s + 5):
                channel = await self.open_channel()
                channel.add_on_close_callback(lambda _, error: _resolve(lost, describe(error)))
                await self._or_lost(self._set_up(self, channel))
            self.state = ConnectionState.OPEN
            self._opened.set()
            self._login.traffic.opened[self._role] += 1
            log.info("broker connected", role=self._role, broker=url)
            return str(await lost)
        finally:
            self._opened.clear()
            self._on_lost()
            await self._disconnect()

    async def _connect(self, url: str, lost: asyncio.Future[str]) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def failed(_: object, error: BaseException) -> None:
            if not opened.done():
                opened.set_exception(ConnectionLost(describe(error)))

        self._amqp = amqp = Amqp(
            self._login.parameters(url, self._role),
            on_open_callback=lambda _: _resolve(opened, None),
            on_open_error_callback=failed,
            # of this connection, not of one that follows it
            on_close_callback=lambda _, error: _resolve(lost, describe(error)),
            custom_ioloop=LoopServices(),
        )
        amqp.add_on_connection_blocked_callback(lambda *_: self._blocked(True))
        amqp.add_on_connection_unblocked_callback(lambda *_: self._blocked(False))
        await opened

    def _blocked(self, blocked: bool) -> None:
        if self.state in (ConnectionState.OPEN, ConnectionState.BLOCKED):
            self.state = ConnectionState.BLOCKED if blocked else ConnectionState.OPEN
            log.warning("broker blocks publishing" if blocked else "broker accepts publishing")

    async def _disconnect(self) -> None:
        """Close what is left of the AMQP connection, and give the broker a second to agree."""
        amqp, self._amqp = self._amqp, None
        if amqp is None or amqp.is_closed:
            return
        closed = asyncio.Event()
        amqp.add_on_close_callback(lambda *_: closed.set())
        if not amqp.is_closing:
            amqp.close()
        try:
            await asyncio.wait_for(closed.wait(), 1)
        except TimeoutError:
            log.debug("broker did not answer the close", role=self._role)

    async def _or_lost(self, awaitable: Awaitable[Any]) -> Any:
        """Await something, unless the connection goes first."""
        if self._lost is None:
            raise ConnectionLost("not connected")
        wanted = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait({wanted, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            if not wanted.done():
                raise ConnectionLost(self._lost.result())
            return wanted.result()
        finally:
            wanted.cancel()


def _traceback(end: str | BaseException) -> dict[str, BaseException]:
    """Return what the log needs to show where a connection ended, if that is a bug's doing."""
    expected = (str, ConnectionLost, pika.exceptions.AMQPError, OSError)
    return {} if isinstance(end, expected) else {"exc_info": end}


def _resolve(future: asyncio.Future[T], value: T) -> None:
    """Give a future its value, unless it has one or nobody waits any more."""
    if not future.done():
        future.set_result(value)


def describe(error: BaseException) -> str:
    """Say in one line why pika failed: it wraps the cause in layers of exceptions."""
    inner: Any = error
    while True:
        cause = getattr(inner, "exception", None)
        causes = [cause] if cause else getattr(inner, "exceptions", None) or inner.args
        if isinstance(inner, OSError) or not causes or not isinstance(causes[-1], BaseException):
            break
        inner = causes[-1]
    if isinstance(inner, socket.gaierror):
        return f"host not found: {inner.strerror}"
    return str(inner) or type(inner).__name__
