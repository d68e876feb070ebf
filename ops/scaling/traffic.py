"""What comes into queues, what leaves them, and who consumes: RabbitMQ's Prometheus endpoint.

Counts are of a channel and a queue, as 3.10 has no others. Those of a channel end with it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic

import requests

from ops.scaling.management_api import DepthUnknown
from postroad.topology.names import VHOST

_TIMEOUT_S = 3.0
_PUBLISHED = "rabbitmq_detailed_queue_messages_published_total"
_DELIVERED = (  # to consumers, or fetched; to be acknowledged, or not
    "rabbitmq_detailed_channel_messages_delivered_ack_total",
    "rabbitmq_detailed_channel_messages_delivered_total",
    "rabbitmq_detailed_channel_get_ack_total",
    "rabbitmq_detailed_channel_get_total",
)
_CONSUMERS = "rabbitmq_detailed_queue_consumers"
_FAMILIES = ("channel_queue_exchange_metrics", "channel_queue_metrics", "queue_consumer_count")
_SERIES = re.compile(r"^(\w+)\{(.*)\} (\d+)$", re.MULTILINE)  # the exposition format's
_VHOST = re.compile(r'(?:^|,)(?:queue_)?vhost="([^"]*)"')
_QUEUE = re.compile(r'(?:^|,)queue="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Series:
    """A count of one channel and queue, or of one queue."""

    metric: str
    labels: str
    queue: str


@dataclass(frozen=True, slots=True)
class Rates:
    """Messages a second."""

    into: float
    out: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What the broker had counted at one moment."""

    at_s: float  # on a clock that only goes forward
    counts: Mapping[Series, int]

    def consumers(self) -> Mapping[str, int]:
        """Return how many consumers each queue has."""
        found = self.counts.items()
        return {series.queue: count for series, count in found if series.metric == _CONSUMERS}

    def rates(self, before: "Reading") -> Mapping[str, Rates]:
        """Return how fast messages came and went since an earlier reading, by queue."""
        into: Counter[str] = Counter()
        out: Counter[str] = Counter()
        for series, count in self.counts.items():
            known = before.counts.get(series, 0)
            more = count - known if count >= known else count  # a broker that began again
            if series.metric == _PUBLISHED:
                into[series.queue] += more
            elif series.metric in _DELIVERED:
                out[series.queue] += more
        elapsed_s = self.at_s - before.at_s
        return {
            queue: Rates(into[queue] / elapsed_s, out[queue] / elapsed_s)
            for queue in into.keys() | out.keys()
        }


class Traffic:
    """The endpoint of one broker, for the virtual host that is ours."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/metrics/detailed"

    def read(self) -> Reading:
        """Read all counts.

        Raises:
            DepthUnknown: they cannot be had.
        """
        try:
            with requests.Session() as session:
                session.trust_env = False
                asked = {"vhost": VHOST, "family": _FAMILIES}
                response = session.get(self._url, params=asked, timeout=_TIMEOUT_S)
                response.raise_for_status()
        except requests.RequestException as error:
            raise DepthUnknown(f"{self._url}: {type(error).__name__}") from error
        return Reading(monotonic(), dict(_series(response.text)))


def _series(text: str) -> Iterator[tuple[Series, int]]:
    for metric, labels, count in _SERIES.findall(text):
        vhost, queue = _VHOST.search(labels), _QUEUE.search(labels)
        if queue and vhost and vhost[1] == VHOST:  # 3.10 filters no counts of channels
            yield Series(metric, labels, queue[1]), int(count)
