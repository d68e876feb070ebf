"""Our own messages that may wait: ``ours give job --count 5000``, ``ours take``.

Signed with Ed25519, confirmed, in a quorum queue, checked, acknowledged, logged. What is done with
one is nothing, and no database is asked: a service's outbox and inbox come on top.
"""

import argparse
import asyncio
import json
from collections.abc import Iterator
from time import perf_counter, process_time, time

import uvloop

from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.base import Event, Job
from postroad.contracts.events import SyncRequested
from postroad.contracts.syncs import FetchPage
from postroad.ids import new_id
from postroad.messaging.background_worker import BackgroundHandlers
from postroad.messaging.publishing import Kind, MessagePublisher
from postroad.observability.logging import configure_logging
from postroad.runtime.serve import consume
from postroad.security.keyring import KeyRing
from postroad.settings import LogSettings, MessagingSettings, read_settings

QUEUE = "sync"
UNDER_WAY = 64  # messages that wait for their confirm at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("give", "take"))
    parser.add_argument("kind", nargs="?", choices=("job", "event"), default="job")
    parser.add_argument("--count", type=int, default=5000)
    options = parser.parse_args()
    settings = read_settings(MessagingSettings)
    keys = KeyRing.load(settings.identity_file, settings.trust_file)
    configure_logging(keys.service, read_settings(LogSettings))
    if options.role == "take":
        handlers: BackgroundHandlers = {FetchPage: do_nothing, SyncRequested: do_nothing}
        consume(QUEUE, handlers)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(give(options.kind, options.count, keys, settings))


async def do_nothing(_message: Event | Job) -> None:
    pass


async def give(kind: Kind, count: int, keys: KeyRing, settings: MessagingSettings) -> None:
    """Publish so many messages, and print how long it took until all were confirmed."""
    publisher = RabbitBroker(settings, keys.service).publisher()
    await publisher.start()
    await publisher.opened(settings.broker_connect_timeout_s)
    messages = MessagePublisher(publisher, keys)
    numbers = iter(range(count))
    began, began_at, began_cpu_s = perf_counter(), time(), process_time()
    await asyncio.gather(*(_give(kind, messages, numbers) for _ in range(UNDER_WAY)))
    seconds, cpu_s = perf_counter() - began, process_time() - began_cpu_s
    print(json.dumps({"began_at": began_at, "seconds": seconds, "cpu_s": cpu_s}))
    await publisher.close()


async def _give(kind: Kind, messages: MessagePublisher, numbers: Iterator[int]) -> None:
    for number in numbers:
        message: Event | Job = (
            FetchPage(sync_id="benchmark", skip=number, limit=100)
            if kind == "job"
            else SyncRequested(sync_id="benchmark")
        )
        body = message.model_dump_json().encode()
        message_id = new_id()
        await messages.publish(
            kind, message.name, body, message_id=message_id, correlation_id=message_id
        )


if __name__ == "__main__":
    main()
