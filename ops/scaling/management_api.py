"""RabbitMQ's management API, asked as KEDA asks it: how deep queues are."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any
from urllib.parse import quote

import requests

from postroad.topology.names import SCALER, VHOST

# The broker asks the queues themselves, and not its statistics, which RabbitMQ gives up.
_WITHOUT_STATISTICS = {"disable_stats": "true", "enable_queue_totals": "true"}

_TIMEOUT_S = 3.0  # KEDA's
_HALF_A_SECOND = 0.5  # what a date in whole seconds leaves out, on average


class DepthUnknown(Exception):
    """The broker did not say how deep its queues are; the message says why."""


@dataclass(frozen=True, slots=True)
class Depth:
    """What a queue holds: messages that wait, and those that consumers have and did not settle."""

    ready: int
    unacked: int

    @property
    def messages(self) -> int:
        return self.ready + self.unacked


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
        found = await asyncio.to_thread(self.depths)
        if queue not in found:
            raise DepthUnknown(f"no queue {queue}, or it is down")
        return found[queue].messages

    def depths(self) -> dict[str, Depth]:
        """Return the depths of all queues that are not down, by name.

        Raises:
            DepthUnknown: they cannot be had.
        """
        response = self._get(_WITHOUT_STATISTICS)
        if response.status_code != HTTPStatus.OK:
            raise DepthUnknown(f"{self._url} answers {response.status_code}")
        return {queue["name"]: _depth(queue) for queue in response.json() if "messages" in queue}

    def clock_ahead_s(self) -> float:
        """Say how far the broker's clock is ahead of ours, to about a second (RFC 9110 `Date`).

        Raises:
            DepthUnknown: it does not answer, or does not say.
        """
        try:
            date = self._get({}).headers["Date"]
            return parsedate_to_datetime(date).timestamp() - time() + _HALF_A_SECOND
        except (KeyError, ValueError) as error:
            raise DepthUnknown(f"{self._url}: {type(error).__name__}") from error

    def _get(self, parameters: Mapping[str, str]) -> requests.Response:
        try:
            with requests.Session() as session:  # of this thread alone
                session.trust_env = False  # a proxy does not know our loopback
                session.auth = (SCALER, self._password)
                return session.get(self._url, params=parameters, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise DepthUnknown(f"{self._url}: {type(error).__name__}") from error


def _depth(queue: dict[str, Any]) -> Depth:
    return Depth(ready=queue["messages_ready"], unacked=queue["messages_unacknowledged"])
