"""How much an outbox holds, as metrics."""

from time import time

from postroad.observability.metrics import Metric, Values, number
from postroad.storage.database import Database
from postroad.storage.outbox import Outbox


def outbox_metrics(outbox: Outbox, database: Database) -> list[Metric]:
    """Messages that wait for the broker; every replica of a service tells of the same ones."""

    def oldest_age_s() -> Values:
        oldest = outbox.backlog(database).oldest_at
        return {(): max(0.0, time() - oldest) if oldest is not None else 0.0}

    return [
        Metric(
            "gauge",
            "postroad_outbox_messages",
            "Messages in the outbox, which the broker does not have yet",
            number(lambda: outbox.backlog(database).messages),
        ),
        Metric(
            "gauge",
            "postroad_outbox_oldest_age_seconds",
            "Age of the oldest message in the outbox; 0 when it is empty",
            oldest_age_s,
        ),
    ]
