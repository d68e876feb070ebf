"""RPC by pika alone: no HTTP, no token, no signature, no confirm, no acknowledgement.

``raw_rpc answer`` answers with the page; ``raw_rpc ask --in-flight 64 --seconds 4`` keeps so many
requests under way and prints what it saw. ``--joined`` puts pika on our transport and with our
frames (``postroad.broker.amqp``), on uvloop; without it, its own adapter is on asyncio's loop.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pika
import uvloop
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from benchmarks.scaling.series import percentile
from benchmarks.usage import memory_by_group
from postroad.broker.amqp.connection import Amqp
from postroad.broker.amqp.transport import LoopServices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("answer", "ask"))
    parser.add_argument("--joined", action="store_true")
    parser.add_argument("--queue", default="raw")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    page = Path(os.environ["PEER_PAGE"]).read_bytes()
    life = answer(options, page) if options.role == "answer" else ask(options)
    loop_factory = uvloop.new_event_loop if options.joined else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(life)


async def answer(options: argparse.Namespace, page: bytes) -> None:
    channel = await open_channel(options.joined)

    def on_request(_channel: Any, _method: Any, properties: pika.BasicProperties, _: bytes) -> None:
        reply = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, page, reply)

    await asked(channel.queue_declare, queue=options.queue, auto_delete=True)
    await asked(
        channel.basic_consume, queue=options.queue, on_message_callback=on_request, auto_ack=True
    )
    await asyncio.Event().wait()


async def ask(options: argparse.Namespace) -> None:
    channel = await open_channel(options.joined)
    declared = await asked(channel.queue_declare, queue="", exclusive=True)
    address = declared.method.queue
    sent: dict[str, float] = {}
    took_ms: list[float] = []

    def send(number: int) -> None:
        name = str(number)
        sent[name] = perf_counter()
        properties = pika.BasicProperties(reply_to=address, correlation_id=name)
        channel.basic_publish("", options.queue, b'{"limit":30}', properties)

    def on_reply(_channel: Any, _method: Any, properties: pika.BasicProperties, _: bytes) -> None:
        took_ms.append((perf_counter() - sent.pop(properties.correlation_id)) * 1000)
        send(len(took_ms) + options.in_flight)

    await asked(channel.basic_consume, queue=address, on_message_callback=on_reply, auto_ack=True)
    await asked(channel.queue_declare, queue=options.queue, auto_delete=True)
    began_cpu_s = process_time()
    began = perf_counter()
    for number in range(options.in_flight):
        send(number)
    await asyncio.sleep(options.seconds)
    seconds = perf_counter() - began
    print(
        json.dumps(
            {"requests": len(took_ms), "seconds": seconds, "cpu_s": process_time() - began_cpu_s}
            | {"memory_mb": memory_by_group({"us": [os.getpid()]})["us"]}
            | {f"p{share}_ms": percentile(took_ms, share / 100) for share in (50, 95, 99)}
        )
    )


async def open_channel(is_joined: bool) -> Channel:
    opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    connection = (Amqp if is_joined else AsyncioConnection)(
        pika.URLParameters(os.environ["PEER_BROKER"]),
        on_open_callback=opened.set_result,
        on_open_error_callback=lambda _, error: opened.set_exception(error),
        custom_ioloop=LoopServices() if is_joined else asyncio.get_running_loop(),
    )
    await opened
    return await asked(lambda callback: connection.channel(on_open_callback=callback))


async def asked(method: Callable[..., Any], **arguments: Any) -> Any:
    """Call a method of pika's that answers by a callback, and wait for the answer."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    method(**arguments, callback=answered.set_result)
    return await answered


if __name__ == "__main__":
    main()
