"""Both brokers before, during and after a move: whom they let in, and what their queues hold."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from ops.health.drift import COMPARISONS
from ops.health.releases import faults
from ops.moving.overlays import OPEN, SHUT, let_in
from ops.services import programs
from ops.services.operator import OPERATOR, CannotAct
from ops.state.folder import StateFolder
from postroad.broker.connection import Login
from postroad.broker.interfaces import QueueCount
from postroad.broker.moving.looking import NotLetIn, look
from postroad.settings import CONTENTS, MessagingSettings, sentences
from postroad.topology.definitions import Definitions
from postroad.topology.names import rpc_queue, wait_queue
from postroad.urls import without_secrets


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two brokers; ``barred`` says why it does not let services in."""

    role: str  # "old" or "new"
    urls: str
    version: str
    queues: dict[str, QueueCount | None]
    barred: dict[str, NotLetIn]
    services: list[str]

    @property
    def is_shut(self) -> bool:
        return all(each in self.barred and self.barred[each].is_limit for each in self.services)

    @property
    def is_open(self) -> bool:
        return not self.barred

    @property
    def waiting(self) -> int:
        return sum(count.waiting for count in self.queues.values() if count)

    def door(self) -> str:
        """Return a sentence about which services the broker lets in."""
        if self.is_open:
            return "open: lets every service in"
        if self.is_shut:
            return "shut: lets no service in"
        return f"lets in all but {', '.join(self.barred)}"


def login_at(state: StateFolder, urls: str, service: str) -> Login:
    """Return how to be a service at a broker.

    Raises:
        CannotAct: a URL is wrong.
        OSError: its password cannot be read.
    """
    fields = {name.lower(): value for name, value in programs.key_files(state, service).items()}
    try:
        settings = MessagingSettings.model_validate(
            fields | {"broker_urls": urls} | dict.fromkeys(CONTENTS)
        )
    except ValidationError as error:
        problem = "; ".join(sentences(error)).removeprefix("BROKER_URLS: ")
        raise CannotAct(f"{service} cannot use {problem}") from None
    return Login(settings, service, settings.read_broker_password())


def survey(state: StateFolder, role: str, urls: str, wanted: Definitions) -> Side:
    """Look at one of the brokers as the operator, and knock as each of the services.

    Raises:
        NotLetIn: it is away, or does not let the operator in.
    """
    names = [queue["name"] for queue in wanted["queues"]]
    try:
        seen = look(login_at(state, urls, OPERATOR), names)
    except NotLetIn as error:
        raise NotLetIn(f"the {role} broker {without_secrets(urls)}: {error}") from error
    barred = {}
    services = let_in(wanted)
    for service in services:
        try:
            look(login_at(state, urls, service))
        except NotLetIn as error:
            barred[service] = error
    return Side(role, urls, seen.version, dict(seen.queues), barred, services)


def is_carried(queue: str) -> bool:
    """Say whether what is in a queue is carried over.

    Requests are not: who asked has lost the queue for the answer. Nor is what waits for its next
    attempt: it comes back into the work queue by itself, when it is due.
    """
    return not queue.startswith((rpc_queue(""), _WAITS))


def in_the_way(old: Side, new: Side) -> Iterator[str]:
    """Find what keeps the system from moving, at any time before, during and after."""
    for problem, advice in faults(new.version):
        yield f"{problem}: {advice}"
    for queue, count in new.queues.items():
        if count is None:
            yield f"the new broker has no queue {queue}: import {SHUT} there"
    for side in (old, new):
        for service, refusal in side.barred.items():
            if not refusal.is_limit:
                yield f"the {side.role} broker refuses {service}: {refusal}"
    if not old.is_shut and not new.is_shut:
        yield f"both brokers let services in: import {SHUT} at the one that they are not to use"


def before_the_switch(new: Side) -> Iterator[str]:
    """Find what must not be while all services still use the old broker."""
    if new.waiting:
        yield f"the new broker has {new.waiting} messages in its queues: purge them"


def before_carrying(old: Side, new: Side) -> Iterator[str]:
    """Find what must not be when messages are carried."""
    if not old.is_shut:
        yield f"the old broker still lets services in: import {SHUT} there"
    if new.is_shut:
        yield f"the new broker lets no service in: import {OPEN} there"
    consumed = {queue: count.consumers for queue, count in old.queues.items() if count}
    for queue, consumers in consumed.items():
        if consumers:
            yield (
                f"{queue} has {consumers} consumers at the old broker: close its connections, or "
                "wait for the 'carry' that runs"
            )


def differences(exported: Definitions, wanted: Definitions) -> Iterator[str]:
    """Find where what a broker has exported is not what it was to import."""
    for compare in COMPARISONS.values():
        for finding in compare(wanted, exported):
            yield f"the new broker: {finding.problem}"


def lines(old: Side, new: Side) -> Iterator[str]:
    """Say what there is at both."""
    for side in (old, new):
        yield f"{side.role}: {without_secrets(side.urls)}, RabbitMQ {side.version}, {side.door()}"
    yield ""
    width = max(map(len, old.queues))
    yield f"{'queue':{width}}  {'old':>8}  {'new':>8}  consumers at old, new"
    for queue, was in old.queues.items():
        now = new.queues.get(queue)
        yield (
            f"{queue:{width}}  {_waiting(was):>8}  {_waiting(now):>8}  {_consumers(was)}, "
            f"{_consumers(now)}{'' if is_carried(queue) else _stays(queue)}"
        )


def _stays(queue: str) -> str:
    return "  (comes back when due)" if queue.startswith(_WAITS) else "  (stays: expires)"


def _waiting(count: QueueCount | None) -> str:
    return "missing" if count is None else str(count.waiting)


def _consumers(count: QueueCount | None) -> int:
    return count.consumers if count else 0


_WAITS = wait_queue(0).removesuffix("0")
