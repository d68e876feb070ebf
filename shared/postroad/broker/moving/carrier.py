"""Carrying messages from the queues of one broker to those of another: none is lost.

A message is acked where it was once the other broker has confirmed it. Who is killed in between
has it in both places, and it is carried twice.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from pika.channel import Channel

from postroad.broker.connection import Connection, ConnectionLost, Login
from postroad.broker.deliveries import ChannelSettlement, Delivery, hand_to
from postroad.broker.interfaces import BasicProperties, NotOpen, Outcome, Publisher, TooLarge
from postroad.logger import get_logger

log = get_logger(__name__)

PREFETCH = 256  # of each queue: up to 1 GiB in hand, if all were as long as they may be
_PAUSE_S = 0.5
_DEFAULT_EXCHANGE = ""  # its routing keys are the names of queues

Pack = Callable[[str, Delivery], tuple[str, BasicProperties]]


class Carrier:
    """Takes whatever comes into some queues, and publishes it to queues of another broker.

    ``pack`` says for a queue and a delivery to which queue it goes there, with which properties.
    ``publisher`` is the caller's to start and close.
    """

    def __init__(
        self, login: Login, queues: Iterable[str], *, publisher: Publisher, pack: Pack
    ) -> None:
        self._connection = Connection(login, "carrier", set_up=self._set_up, on_lost=self._on_lost)
        self._queues = list(queues)
        self._publisher = publisher
        self._pack = pack
        self.carried: Counter[str] = Counter()  # by the queue they were in
        self.refused: Counter[str] = Counter()  # how often the other broker did not take one
        self.in_hand = 0

    async def start(self) -> None:
        """Begin to connect; does not wait for the broker."""
        await self._connection.start()

    async def close(self) -> None:
        """Let go of what is in hand; it stays where it was."""
        await asyncio.sleep(0)  # acks of this loop turn are sent at its end
        await self._connection.close()

    async def waiting(self, queues: Iterable[str]) -> Mapping[str, int] | None:
        """Count what waits in some queues; none while the connection is away."""
        try:
            channel = await self._connection.open_channel()
            declare = partial(self._connection.ask, channel.queue_declare, passive=True)
            counts = {queue: (await declare(queue=queue)).method.message_count for queue in queues}
            channel.close()
        except ConnectionLost:
            return None
        return counts

    async def _set_up(self, connection: Connection, channel: Channel) -> None:
        settlement = ChannelSettlement(channel)
        self.in_hand = 0
        for queue in self._queues:
            await connection.ask(channel.basic_qos, prefetch_count=PREFETCH)  # of the next consumer
            take = partial(self._on_delivery, channel, queue)
            await connection.ask(
                channel.basic_consume, queue=queue, on_message_callback=hand_to(take, settlement)
            )

    def _on_delivery(self, channel: Channel, queue: str, delivery: Delivery) -> None:
        self.in_hand += 1
        self._carry(channel, queue, delivery)

    def _carry(self, channel: Channel, queue: str, delivery: Delivery) -> None:
        if not channel.is_open:
            return  # the broker has it back, and delivers it anew
        target, properties = self._pack(queue, delivery)
        settle = partial(self._on_outcome, channel, queue, delivery)
        try:
            self._publisher.publish(_DEFAULT_EXCHANGE, target, delivery.body, properties, settle)
        except (NotOpen, TooLarge) as error:
            self._try_later(channel, queue, delivery, str(error))

    def _on_outcome(
        self, channel: Channel, queue: str, delivery: Delivery, outcome: Outcome
    ) -> None:
        if outcome is not Outcome.CONFIRMED:
            self._try_later(channel, queue, delivery, outcome)
            return
        self.carried[queue] += 1
        if channel.is_open:
            self.in_hand -= 1
            delivery.ack()

    def _try_later(self, channel: Channel, queue: str, delivery: Delivery, reason: str) -> None:
        """Keep it in hand meanwhile: given back too often, it would become a dead letter."""
        self.refused[queue] += 1
        log.debug("not carried yet", queue=queue, reason=reason)
        loop = asyncio.get_running_loop()
        loop.call_later(_PAUSE_S, self._carry, channel, queue, delivery)

    def _on_lost(self) -> None:
        self.in_hand = 0
