"""RabbitMQ as one service user sees it."""

from collections.abc import Callable, Iterable

from postroad.broker.connection import Login
from postroad.broker.consumer import RabbitConsumer
from postroad.broker.exclusive_queue import ExclusiveQueue, ExclusiveQueueConsumer
from postroad.broker.interfaces import OnDelivery
from postroad.broker.publisher import RabbitPublisher
from postroad.broker.queue_browser import QueueBrowser
from postroad.settings import MessagingSettings


class RabbitBroker:
    """Makes connections for one service; see ``postroad.broker.interfaces.Broker``.

    Each role has its own connection: a memory alarm stops the publishers' ones, and acks must
    still flow.
    """

    def __init__(self, settings: MessagingSettings, user: str) -> None:
        self._login = Login(settings, user, settings.read_broker_password())
        self.traffic = self._login.traffic

    def publisher(self) -> RabbitPublisher:
        return RabbitPublisher(self._login)

    def consumer(self, queue: str, *, prefetch: int, on_delivery: OnDelivery) -> RabbitConsumer:
        return RabbitConsumer(self._login, queue, prefetch=prefetch, on_delivery=on_delivery)

    def reply_consumer(
        self, service: str, *, on_delivery: OnDelivery, on_lost: Callable[[], None]
    ) -> ExclusiveQueueConsumer:
        return ExclusiveQueueConsumer(
            self._login,
            ExclusiveQueue.of_replies(service),
            on_delivery=on_delivery,
            on_lost=on_lost,
        )

    def event_consumer(
        self,
        events: Iterable[str],
        *,
        on_delivery: OnDelivery,
        on_open: Callable[[], None],
    ) -> ExclusiveQueueConsumer:
        return ExclusiveQueueConsumer(
            self._login,
            ExclusiveQueue.of_events(events),
            on_delivery=on_delivery,
            on_open=on_open,
        )

    def browser(self, queues: Iterable[str]) -> QueueBrowser:
        """Make a holder of what waits in some queues, for a person to look at."""
        return QueueBrowser(self._login, queues)
