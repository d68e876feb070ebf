"""Jobs at the old broker, and looks at dead letters of either."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel

from ops.dead_letters.letter import DeadLetter, read_letter
from ops.dead_letters.readers import Readers
from ops.moving.survey import login_at
from ops.services.operator import OPERATOR
from postroad.broker.queue_browser import QueueBrowser
from postroad.contracts.syncs import FetchPage
from postroad.messaging.background_worker import ATTEMPT
from postroad.security.lasting_signatures import LastingSigner
from postroad.topology.names import WAIT_EXCHANGE, WORK_EXCHANGE, wait_key
from tests.integration.dead_letters.running import DEAD_SYNC, JOB, SYNC
from tests.integration.moving.brokers import Moving


def signature(moving: Moving, message_id: str) -> str:
    return LastingSigner(moving.old.keys("catalog")).job(
        audience="catalog",
        name=FetchPage.name,
        body=JOB,
        message_id=message_id,
        correlation_id="c",
    )


def give_out(moving: Moving, *ids: str) -> dict[str, str]:
    """Publish jobs; give their signatures."""
    signed = {message_id: signature(moving, message_id) for message_id in ids}
    with _publishing(moving) as channel:
        for message_id, made in signed.items():
            properties = _properties(message_id, {"signature": made})
            channel.basic_publish(WORK_EXCHANGE, FetchPage.name, JOB, properties, mandatory=True)
    return signed


def put_aside(moving: Moving, message_id: str, *, attempt: int) -> None:
    """Have a job wait for its next attempt, as its worker does."""
    headers = {"signature": signature(moving, message_id), ATTEMPT: attempt}
    key = wait_key(attempt - 1, SYNC)
    with _publishing(moving) as channel:
        properties = _properties(message_id, headers)
        channel.basic_publish(WAIT_EXCHANGE, key, JOB, properties, mandatory=True)


@contextmanager
def _publishing(moving: Moving) -> Iterator[BlockingChannel]:
    with moving.old.connect("catalog") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def _properties(message_id: str, headers: dict[str, object]) -> BasicProperties:
    return BasicProperties(
        headers=headers,
        message_id=message_id,
        type=FetchPage.name,
        user_id="catalog",
        delivery_mode=2,
    )


def letters(moving: Moving, url: str) -> list[DeadLetter]:
    """Look at the dead letters of the catalogue's work at one of the brokers."""

    async def browse() -> list[DeadLetter]:
        browser = QueueBrowser(login_at(moving.old.state, url, OPERATOR), [DEAD_SYNC])
        try:
            readers = Readers(moving.old.state)
            return [read_letter(held, readers) for held in await browser.browse(10)]
        finally:
            await browser.close()

    return asyncio.run(browse())
