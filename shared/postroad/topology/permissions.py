"""What a service's broker user may do: as much as its role needs, by exchange, queue and key."""

import re
from typing import Any

from postroad.topology.names import (
    EVENTS_EXCHANGE,
    EVENTS_TO_WORK_EXCHANGE,
    QUARANTINE,
    REFUSED_EXCHANGE,
    REPLIES_EXCHANGE,
    RETRY_EXCHANGE,
    RPC_EXCHANGE,
    VHOST,
    WAIT_EXCHANGE,
    WORK_EXCHANGE,
    rpc_queue,
    work_queue,
)
from postroad.topology.services import Service, key_pattern

NOTHING = "^$"
# Named by the broker. Nobody can choose such a name, for a queue or for an exchange, and a queue
# that is exclusive is its connection's alone.
OWN_QUEUES = r"amq\.gen-.*"

Entry = dict[str, Any]  # of the definitions that the broker imports


def permissions(name: str, service: Service) -> Entry:
    """Say which exchanges and queues a service may configure, write and read."""
    own_queues = [OWN_QUEUES] if service.calls or service.listens else []
    write, read = [*own_queues], [*own_queues]
    configure = [*own_queues]
    if service.answers or service.works:  # to see whether its node is cut off: broker/isolation.py
        configure = configure or [OWN_QUEUES]
    if service.calls:
        write += [RPC_EXCHANGE]
        read += [re.escape(REPLIES_EXCHANGE)]
        # To see whether a worker listens (a passive declare) a user needs some permission on the
        # queue from RabbitMQ 4.3.1 on. This one lets nobody publish: that takes an exchange.
        write += [re.escape(rpc_queue(called)) for called in _called_services(service)]
    write += map(re.escape, service.watches)  # by the same passive declare
    if service.publishes:
        write += [EVENTS_EXCHANGE, re.escape(EVENTS_TO_WORK_EXCHANGE)]
    if service.listens:
        read += [EVENTS_EXCHANGE]
    if service.answers:
        write += [re.escape(REPLIES_EXCHANGE)]
        read += [re.escape(rpc_queue(name))]
    if service.answers or service.works:
        write += [REFUSED_EXCHANGE]
    if service.enqueues:
        write += [WORK_EXCHANGE]
    if service.works:
        write += [WAIT_EXCHANGE]
        read += [re.escape(work_queue(name, queue)) for queue in service.works]
    if service.redrives:
        write += [RETRY_EXCHANGE]
        read += [r"dead\.(rpc|work)\..*", QUARANTINE]
    return {
        "user": name,
        "vhost": VHOST,
        "configure": _any_of(configure),
        "write": _any_of(write),
        "read": _any_of(read),
    }


def topic_permissions(name: str, service: Service) -> list[Entry]:
    """Authorise routing keys; an exchange without an entry would be open, so each has one."""
    requests = _any_of([key_pattern(right) for right in service.calls])
    replies = r"^reply\." if service.answers else NOTHING
    own_replies = rf"^reply\.{name}\." if service.calls else NOTHING
    published = _any_of([key_pattern(right) for right in service.publishes])
    listened = _any_of([key_pattern(right) for right in service.listens])
    enqueued = _any_of([key_pattern(right) for right in service.enqueues])
    own_queues = [rpc_queue(name)] if service.answers else []
    own_queues += [work_queue(name, work) for work in service.works]
    put_aside = _any_of([r"\d+\." + re.escape(work_queue(name, work)) for work in service.works])
    redriven = _any_of([r"0\.work\..*", QUARANTINE] if service.redrives else [])
    return [
        _topic_permission(name, RPC_EXCHANGE, write=requests, read=NOTHING),
        _topic_permission(name, REPLIES_EXCHANGE, write=replies, read=own_replies),
        _topic_permission(name, EVENTS_EXCHANGE, write=published, read=listened),
        _topic_permission(name, EVENTS_TO_WORK_EXCHANGE, write=published, read=NOTHING),
        _topic_permission(name, WORK_EXCHANGE, write=enqueued, read=NOTHING),
        _topic_permission(name, WAIT_EXCHANGE, write=put_aside, read=NOTHING),
        _topic_permission(name, RETRY_EXCHANGE, write=redriven, read=NOTHING),
        _topic_permission(
            name, REFUSED_EXCHANGE, write=_any_of([*map(re.escape, own_queues)]), read=NOTHING
        ),
    ]


def _topic_permission(user: str, exchange: str, *, write: str, read: str) -> Entry:
    return {"user": user, "vhost": VHOST, "exchange": exchange, "write": write, "read": read}


def _called_services(service: Service) -> list[str]:
    return sorted({right.partition(".")[0] for right in service.calls})


def _any_of(patterns: list[str]) -> str:
    return f"^({'|'.join(patterns)})$" if patterns else NOTHING
