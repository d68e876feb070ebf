"""What a running system shows from outside: its queues, clock, keys, files and disk."""

import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import time
from typing import Any

from ops.health import releases
from ops.health.drift import Finding
from ops.state.folder import StateFolder
from postroad.limits import LEEWAY_S
from postroad.security.keys import PURPOSES, Identity, KeyFileError, PublicKey, TrustBundle
from postroad.topology.definitions import Definitions
from postroad.topology.names import QUARANTINE, dead_queue, rpc_queue
from postroad.topology.rules import Rules

NEAR = 0.8  # of a queue's limit
RETIRES_SOON_S = 7 * 86_400
LEAST_FREE_BYTES = 1 << 30
OLDEST_RABBITMQ = (3, 10)  # docs/decisions/0002-topology.md
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Depth:
    """What a queue holds, ready or not, and how many consume it."""

    queue: str
    messages: int
    consumers: int

    @property
    def is_unattended(self) -> bool:
        """Say whether there is work that nobody does: perhaps not yet, since workers are scaled."""
        return self.queue.startswith("work.") and self.messages > 0 and not self.consumers


def of_broker(status: dict[str, Any]) -> Iterator[Finding]:
    """Look at what a broker says of itself (`rabbitmqctl status`)."""
    version = str(status["rabbitmq_version"])
    if tuple(map(int, version.split(".")[:2])) < OLDEST_RABBITMQ:
        yield Finding("broker", f"RabbitMQ {version} is too old", "upgrade it to 3.10 or newer")
    for alarm in status["alarms"]:
        yield Finding(
            "broker",
            f"an alarm is on, and nobody can publish: {alarm}",
            "free memory or disk; consumers go on, so queues can be emptied",
        )
    for problem, advice in releases.faults(version):
        yield Finding("broker", problem, advice)


def of_release(version: str, today: date) -> Iterator[Finding]:
    """Look whether the community still mends what is found in the broker."""
    if (said := releases.out_of_support(version, today)) is not None:
        yield Finding("broker", said, "plan for a newer one: docs/compatibility.md")


def of_queues(depths: Iterable[Depth], wanted: Definitions) -> Iterator[Finding]:
    """Look for queues that nobody reads, that fill up, and that hold what somebody must look at."""
    rules = Rules(wanted)
    for depth in depths:
        queue, count = depth.queue, depth.messages
        if queue.startswith(rpc_queue("")) and not depth.consumers:
            yield Finding(
                "queues", f"nobody answers {queue}", "start its worker: 'postroad status'"
            )
        if depth.is_unattended:
            yield Finding(
                "queues",
                f"nobody works on {queue}, where {count} wait",
                "look at 'postroad status' whether its worker starts, or why not",
            )
        most = rules.policy(queue).get("max-length")
        if most and count >= NEAR * most:
            yield Finding(
                "queues",
                f"{queue} holds {count} of {most}",
                "add workers, or empty it: what is full refuses, or drops the oldest",
            )
        if count and (queue == QUARANTINE or queue.startswith(dead_queue(""))):
            name = queue.removeprefix(dead_queue(""))
            yield Finding(
                "dead letters",
                f"{count} in {queue}",
                f"see why: postroad dead-letters list --queue {name}",
            )


def of_bridge(url: str, outcome: str | None) -> Iterator[Finding]:
    """Look at what the bridge says of itself, and of the services' databases."""
    if outcome is not None:
        yield Finding(
            "bridge",
            f"{url} is not ready: {outcome}",
            "the reason is in 'postroad logs --level warning'; the system needs no restart",
        )


def of_clock(ahead_s: float) -> Iterator[Finding]:
    """Look how far the broker's clock is from ours."""
    if abs(ahead_s) > LEEWAY_S:
        which = "ahead of" if ahead_s > 0 else "behind"
        yield Finding(
            "clock",
            f"the broker's clock is {abs(ahead_s):.0f} s {which} ours",
            f"keep clocks in time (NTP): more than {LEEWAY_S:.0f} s apart, requests are refused",
        )


def of_keys(state: StateFolder, services: Iterable[str]) -> Iterator[Finding]:
    """Look for rotations that were left half done, and keys that end without a next one."""
    try:
        trust = TrustBundle.load(state.trust_file)
    except KeyFileError as error:
        yield Finding("keys", str(error), "restart 'postroad up', which writes it")
        return
    for service in services:
        try:
            identity = Identity.load(state.identity_file(service))
        except KeyFileError as error:
            yield Finding(
                "keys", str(error), "restore it, or restart 'postroad up' to make new ones"
            )
            continue
        known = trust.services.get(service)
        public = tuple(key.public() for key in identity.keys)
        if known is None or known.keys != public:
            yield Finding(
                "keys",
                f"others do not know the keys that {service} has: a rotation is half done",
                "run 'postroad keys rotate' again",
            )
        yield from _ending(service, public)


def _ending(service: str, keys: tuple[PublicKey, ...]) -> Iterator[Finding]:
    soon = time() + RETIRES_SOON_S
    for purpose in PURPOSES:
        lasting = [
            key
            for key in keys
            if key.purpose == purpose and (key.retires_at is None or key.retires_at > soon)
        ]
        if not lasting:
            yield Finding(
                "keys",
                f"{service} has no key for {purpose} that lasts another week",
                "run 'postroad keys rotate'",
            )


def of_files(state: StateFolder) -> Iterator[Finding]:
    """Look for what others than its owner can read or change."""
    private = [
        state.folder,
        *(state.folder / "services").glob("*/identity.json"),
        *(state.folder / "services").glob("*/broker.password"),
        *(path for path in (state.users_file, state.dead_letters_log) if path.exists()),
    ]
    closed = not _is_open(state.folder)
    for path in private:
        # what is in a closed folder cannot be reached; keys are copied elsewhere, modes and all
        is_secret = path.parent.parent.name == "services"
        if _is_open(path) and (is_secret or not closed):
            mode = "go=" if path.is_dir() else "600"
            yield Finding("files", f"others may open {path}", f"chmod {mode} {path}")


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & _OTHERS)


def of_disk(state: StateFolder) -> Iterator[Finding]:
    """Look how much room is left where the broker keeps its messages."""
    free = shutil.disk_usage(state.folder).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            "disk",
            f"{free >> 20} MiB are free on the disk of {state.folder}",
            "free some: below its limit RabbitMQ takes no more messages",
        )
