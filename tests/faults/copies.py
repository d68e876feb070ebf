"""Messages that come twice: taken down as they go by, and published again by their sender."""

import asyncio
import json
from collections import Counter

import pika

from postroad.testing import eventually
from postroad.topology.names import EVENTS_EXCHANGE, RPC_EXCHANGE, WORK_EXCHANGE
from tests.e2e.spy import Spy, spying
from tests.faults.records import Records
from tests.faults.system import PROGRAM_REPLICAS, System
from tests.support.brokers import Seen

_COPIED = 5
_WAIT_S = 30.0
_JOB_MS = 1_000
_REFUSED = ("replayed", "expired")  # the second, when we were slow
_TRIES = 3  # of a copy: more than there are replicas of any worker


async def copy_requests(system: System, records: Records) -> str:
    """Publish requests again that have just been answered; each worker knows those that it had.

    A store of what was seen belongs to a process (docs/decisions/0004-replay-store.md): of the
    copies of a request each replica but the one that answered it may take one.
    """
    async with spying(system, RPC_EXCHANGE) as spy:
        await eventually(lambda: _has_seen(spy, _COPIED), timeout_s=_WAIT_S)
        seen = spy.seen[:_COPIED]
    begins_at = system.log.stat().st_size
    await asyncio.to_thread(_publish, system, RPC_EXCHANGE, seen * _TRIES)
    ids = {str(each.properties.message_id): str(each.properties.type) for each in seen}

    def refusals() -> Counter[str]:
        with system.log.open("rb") as log:
            log.seek(begins_at)
            lines = (json.loads(line) for line in log if _is_whole(line))
            return Counter(
                line["message_id"]
                for line in lines
                if line.get("event") == "request refused" and line["reason"] in _REFUSED
            )

    def all_refused() -> bool:
        refused = refusals()
        return all(refused[each] >= _least(method) for each, method in ids.items())

    try:
        await eventually(all_refused, timeout_s=_WAIT_S)
    except AssertionError:
        records.answered_copies.append(
            f"copies of {ids} were refused {dict(refusals())} times only"
        )
    return f"{len(seen)} requests published again, {_TRIES} times each"


def _is_whole(line: bytes) -> bool:
    return line.startswith(b"{") and line.endswith(b"\n")  # the last one may be half written


def _least(method: str) -> int:
    replicas = PROGRAM_REPLICAS.get(f"{method.partition('.')[0]}_worker", 1)
    return _TRIES - (replicas - 1)


async def copy_work(system: System) -> str:
    """Publish events and jobs again that have just been sent; nothing may come of it.

    Upstream takes its time meanwhile: the copy of a job whose sync is over would prove nothing.
    """
    await system.make_upstream(delay_ms=_JOB_MS)
    try:
        async with spying(system, EVENTS_EXCHANGE) as events, spying(system, WORK_EXCHANGE) as jobs:
            await eventually(lambda: _has_seen(events, _COPIED), timeout_s=_WAIT_S)
            before = len(await jobs.look())
            await eventually(lambda: _has_seen(jobs, before + 1), timeout_s=_WAIT_S)
            copied = {WORK_EXCHANGE: jobs.seen[before:], EVENTS_EXCHANGE: events.seen[:]}
            for exchange, messages in copied.items():
                await asyncio.to_thread(_publish, system, exchange, messages)
    finally:
        await system.make_upstream()
    events_sent, jobs_sent = len(copied[EVENTS_EXCHANGE]), len(copied[WORK_EXCHANGE])
    return f"{events_sent} events and {jobs_sent} jobs published again"


async def _has_seen(spy: Spy, count: int) -> bool:
    return len(await spy.look()) >= count


def _publish(system: System, exchange: str, messages: list[Seen]) -> None:
    """Publish messages as they were, each as the service that had sent it."""
    senders = {str(each.properties.user_id) for each in messages}
    for sender in sorted(senders):
        with system.connect(sender) as connection:
            channel: pika.channel.Channel = connection.channel()
            channel.confirm_delivery()
            for each in messages:
                if each.properties.user_id == sender:
                    key = str(each.properties.type)
                    channel.basic_publish(exchange, key, each.body, each.properties)
