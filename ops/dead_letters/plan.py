"""Moving dead letters as `postroad dead-letters` is told to: which, how fast, and who did it."""

import asyncio
import getpass
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from ops.dead_letters.letter import DeadLetter, objection
from ops.terminal.progress import Progress
from postroad.broker.queue_browser import QueueBrowser
from postroad.dead_letters.redriver import NotMoved, Redriver
from postroad.security.keyring import KeyRing
from postroad.topology.names import QUARANTINE

PAST = {"redrive": "redriven", "quarantine": "quarantined", "purge": "purged"}


class Plan:
    """What is to be done to which letters; ``done`` counts them, by where they went."""

    def __init__(self, act: str, letters: Sequence[DeadLetter], keys: KeyRing, *, force: bool):
        self.act = act
        self.done: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self.letters = list(self._allowed(letters, keys, force=force))

    def _allowed(
        self, letters: Sequence[DeadLetter], keys: KeyRing, *, force: bool
    ) -> Iterator[DeadLetter]:
        for letter in letters:
            reason = objection(letter, keys, force=force) if self.act == "redrive" else None
            if reason is None:
                yield letter
            else:
                self._left[reason] += 1

    def lines(self) -> Iterator[str]:
        """Say what would be done, and what not."""
        for target, count in Counter(map(self._target, self.letters)).items():
            what = {
                "redrive": f"go back to {target}",
                "quarantine": f"go into {target}",
                "purge": f"be deleted from {target} for good",
            }
            yield f"{messages(count)} would {what[self.act]}"
        for reason, count in self._left.items():
            yield f"{messages(count)} {'stays' if count == 1 else 'stay'}: {reason}"
        if not self.letters and not self._left:
            yield "no dead letter is like that"

    def outcome(self) -> str:
        """Say what has been done."""
        where = {"redrive": "back to", "quarantine": "into", "purge": "from"}[self.act]
        counts = (f"{messages(count)} {where} {target}" for target, count in self.done.items())
        return f"{PAST[self.act]}: {', '.join(counts) or 'nothing'}"

    async def carry_out(
        self, redriver: Redriver, holder: QueueBrowser, audit: "Audit", *, per_s: float
    ) -> None:
        """Move the letters one by one, no faster than those who work may keep up with.

        Raises:
            NotMoved: the broker does not take one; it stays where it was, and the rest too.
        """
        progress = Progress(PAST[self.act], len(self.letters))
        began = monotonic()
        for number, letter in enumerate(self.letters):
            await asyncio.sleep(max(0.0, began + number / per_s - monotonic()))
            if holder.is_lost:
                raise NotMoved("the connection to the message broker went")
            await self._copy(letter, redriver)
            audit.note(PAST[self.act], letter)  # first: none goes without a line
            letter.delivery.ack()
            self.done[self._target(letter)] += 1
            progress.reach(number + 1)

    async def _copy(self, letter: DeadLetter, redriver: Redriver) -> None:
        claims, reader = letter.diagnosis.claims, letter.source.reader
        if self.act == "quarantine":
            await redriver.quarantine(letter.message, letter.died_in)
        elif self.act == "redrive" and claims is not None and reader is not None:
            await redriver.redrive(letter.message, claims, letter.died_in, reader)

    def _target(self, letter: DeadLetter) -> str:
        by_act = {"redrive": letter.died_in, "quarantine": QUARANTINE}
        return by_act.get(self.act, letter.queue)


class Audit:
    """Who did what to which letter: a line of JSON for each."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.who = _user()

    def note(self, what: str, letter: DeadLetter) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": self.who,
            "what": what,
            "message_id": letter.message_id,
            "name": letter.name,
            "queue": letter.queue,
            "reason": letter.reason,
            "caller": letter.caller,
        }
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(line) + "\n")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the account has no name, as in some containers
        return f"uid {os.getuid()}"


def messages(count: int) -> str:
    """Count messages in words."""
    return f"{count} message{'' if count == 1 else 's'}"
