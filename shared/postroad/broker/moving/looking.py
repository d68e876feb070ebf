"""Looking at a broker once, as one of its users: are we let in, and what do its queues hold?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from postroad.broker.connection import ConnectionLost, Login, describe
from postroad.broker.interfaces import QueueCount

_LIMIT_REACHED = "user connection limit"  # RabbitMQ's words


class NotLetIn(Exception):
    """The broker does not answer, or refuses; the message says why."""

    @property
    def is_limit(self) -> bool:
        """Return whether the user has as many connections as its limit allows, which may be 0."""
        return _LIMIT_REACHED in str(self)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen; a queue that is not there has no count."""

    version: str
    queues: Mapping[str, QueueCount | None] = field(default_factory=dict)


def look(login: Login, queues: Iterable[str] = ()) -> Look:
    """Connect to the first broker that answers, count what is in some queues, and leave.

    Raises:
        NotLetIn: none does, or the user may not come in.
    """
    urls = login.settings.broker_urls
    try:
        parameters = [login.parameters(url, "look") for url in urls]
        with pika.BlockingConnection(parameters) as connection:
            properties = connection._impl.server_properties  # noqa: SLF001  # has no public name
            version = str(properties.get("version", ""))
            return Look(version, {queue: _count(connection, queue) for queue in queues})
    except (AMQPError, ConnectionLost, OSError) as error:
        raise NotLetIn(describe(error)) from error


def _count(connection: pika.BlockingConnection, queue: str) -> QueueCount | None:
    channel = connection.channel()  # one each: that a queue is missing closes it
    try:
        found = channel.queue_declare(queue, passive=True).method
    except ChannelClosedByBroker as error:
        if error.reply_code != _NOT_FOUND:
            raise
        return None
    channel.close()
    return QueueCount(found.message_count, found.consumer_count)


_NOT_FOUND = 404  # AMQP 0-9-1 section 1.2
