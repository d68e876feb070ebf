"""RabbitMQ's management API, asked as KEDA asks it: how deep queues are."""

import asyncio
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any
from urllib.parse import quote

import requests

from postroad.topology.names import SCALER, VHOST

# Queues tell how deep they are every second, and the API looks at that every second: by default
# either is 5 s, and a depth up to 10 s old (docs/decisions/0009-scaling.md). Who sets one of the
# three sections must set all; a minute of history is enough.
FRESH_DEPTHS = {
    "collect_statistics_interval": "1000",  # ms
    "management.sample_retention_policies.basic.minute": "1",
    "management.sample_retention_policies.detailed.10": "5",
    "management.sample_retention_policies.global.minute": "5",
}

_TIMEOUT_S = 3.0  # KEDA's
_HALF_A_SECOND = 0.5  # what a date in whole seconds leaves out, on average


class DepthUnknown(Exception):
    """The management API did not say; the message says why."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What a queue holds: messages that wait, and those that consumers have and did not settle."""

    name: str
    ready: int
    unacked: int
    in_per_s: float
    out_per_s: float
    consumers: int


class Management:
    """The API of one broker, for the virtual host that is ours."""

    def __init__(self, url: str, password: str) -> None:
        self._url = f"{url}/api/queues/{quote(VHOST, safe='')}"
        self._password = password

    async def depth(self, queue: str) -> int:
        """Count what waits in a queue and what its consumers hold.

        Raises:
            DepthUnknown: it cannot be had.
        """
        found: dict[str, Any] = await asyncio.to_thread(self._get, f"/{quote(queue, safe='')}")
        return int(found.get("messages", 0))  # none in a queue's first second

    def queues(self) -> list[Queue]:
        """List all queues.

        Raises:
            DepthUnknown: they cannot be had.
        """
        return [_queue(found) for found in self._get("")]

    def clock_ahead_s(self) -> float:
        """Say how far the broker's clock is ahead of ours, to about a second (RFC 9110 `Date`).

        Raises:
            DepthUnknown: it does not answer, or does not say.
        """
        try:
            with requests.Session() as session:
                session.trust_env = False
                session.auth = (SCALER, self._password)
                date = session.get(self._url, timeout=_TIMEOUT_S).headers["Date"]
            return parsedate_to_datetime(date).timestamp() - time() + _HALF_A_SECOND
        except (requests.RequestException, KeyError, ValueError) as error:
            raise DepthUnknown(f"{self._url}: {type(error).__name__}") from error

    def _get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        try:
            with requests.Session() as session:  # of this thread alone
                session.trust_env = False  # a proxy does not know our loopback
                session.auth = (SCALER, self._password)
                response = session.get(f"{self._url}{path}", timeout=_TIMEOUT_S)
            if response.status_code != HTTPStatus.OK:
                raise DepthUnknown(f"{self._url}{path} answers {response.status_code}")
            return response.json()
        except requests.RequestException as error:
            raise DepthUnknown(f"{self._url}{path}: {type(error).__name__}") from error


def _queue(found: dict[str, Any]) -> Queue:
    stats = found.get("message_stats", {})
    return Queue(
        found["name"],
        ready=found.get("messages_ready", 0),
        unacked=found.get("messages_unacknowledged", 0),
        in_per_s=_rate(stats, "publish_details"),
        out_per_s=_rate(stats, "deliver_get_details"),
        consumers=found.get("consumers", 0),
    )


def _rate(stats: dict[str, Any], details: str) -> float:
    return float(stats.get(details, {}).get("rate", 0.0))
