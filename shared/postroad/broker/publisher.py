"""Publishing with confirms: what became of each message is always known."""

import asyncio
from functools import partial
from itertools import takewhile

from pika import BasicProperties
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic

from postroad.broker.connection import Connection, Login
from postroad.broker.interfaces import ConnectionState, NotOpen, OnOutcome, Outcome, TooLarge
from postroad.limits import MESSAGE_MAX_BYTES
from postroad.logger import get_logger

log = get_logger(__name__)

CONFIRM_TIMEOUT_S = 4.0  # of a broker that takes messages at all; it needs some milliseconds
CONFIRM_CHECK_S = 0.5


class RabbitPublisher:
    """Publishes on a connection of its own; see ``postroad.broker.interfaces.Publisher``."""

    def __init__(self, login: Login) -> None:
        self._connection = Connection(
            login, "publisher", set_up=self._set_up, on_lost=self._on_lost
        )
        self._traffic = login.traffic
        self._traffic.unconfirmed.append(lambda: len(self._unconfirmed))
        self._channel: Channel | None = None
        self._last_tag = 0
        # delivery tag -> message id, who waits for its fate, and since when; in that order
        self._unconfirmed: dict[int, tuple[str | None, OnOutcome, float]] = {}
        self._returned: set[str | None] = set()
        self._watch: asyncio.TimerHandle | None = None

    @property
    def state(self) -> ConnectionState:
        return self._connection.state

    async def start(self) -> None:
        await self._connection.start()

    async def opened(self, timeout_s: float) -> bool:
        return await self._connection.opened(timeout_s)

    async def close(self) -> None:
        await self._connection.close()

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties,
        on_outcome: OnOutcome,
    ) -> None:
        if self._channel is None or not self._channel.is_open:
            raise NotOpen(self.state)
        if len(body) > MESSAGE_MAX_BYTES:
            raise TooLarge(body)
        self._channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
        self._last_tag += 1
        now = asyncio.get_running_loop().time()
        self._unconfirmed[self._last_tag] = (properties.message_id, on_outcome, now)
        if self._watch is None:
            self._watch_confirms()

    def _watch_confirms(self) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(CONFIRM_CHECK_S, self._expect_confirms)

    def _expect_confirms(self) -> None:
        """Give up a channel that has not told of a message for too long.

        One that was opened while a cluster chose a queue's next leader may go on sending to the
        one that died, without an error (docs/decisions/0013-cluster.md).
        """
        self._watch = None
        if not self._unconfirmed:
            return
        _, _, published = next(iter(self._unconfirmed.values()))
        is_late = asyncio.get_running_loop().time() - published > CONFIRM_TIMEOUT_S
        if is_late and self.state is ConnectionState.OPEN:
            self._connection.fail(f"no confirm within {CONFIRM_TIMEOUT_S:.0f} s")
        else:
            self._watch_confirms()

    async def _set_up(self, connection: Connection, channel: Channel) -> None:
        channel.add_on_return_callback(self._on_return)
        await connection.ask(
            channel.confirm_delivery, ack_nack_callback=partial(self._on_confirm, channel)
        )
        self._last_tag = 0  # confirms count from 1 on each channel
        self._channel = channel

    def _on_return(
        self, _channel: Channel, _method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        self._returned.add(properties.message_id)  # its confirm follows at once

    def _on_confirm(self, channel: Channel, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        if channel is not self._channel:
            return  # it is being closed, and its messages have been given up
        confirm = frame.method
        is_ack = isinstance(confirm, Basic.Ack)
        tags = [confirm.delivery_tag]
        if confirm.multiple:
            tags = list(takewhile(confirm.delivery_tag.__ge__, self._unconfirmed))
        for tag in tags:
            message_id, on_outcome, _ = self._unconfirmed.pop(tag)
            if self._returned and message_id in self._returned:
                self._returned.remove(message_id)
                outcome = Outcome.RETURNED
            else:
                outcome = Outcome.CONFIRMED if is_ack else Outcome.REFUSED
            self._traffic.published[outcome.value] += 1
            on_outcome(outcome)

    def _on_lost(self) -> None:
        self._channel = None
        self._returned.clear()
        lost, self._unconfirmed = self._unconfirmed, {}
        self._traffic.published[Outcome.LOST.value] += len(lost)
        for _, on_outcome, _ in lost.values():
            on_outcome(Outcome.LOST)
