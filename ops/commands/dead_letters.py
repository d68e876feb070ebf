"""`postroad dead-letters`: look at what was refused or failed for good, and move it."""

import asyncio
import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from fnmatch import fnmatchcase
from time import time

from ops.commands import dead_letters_view
from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.dead_letters.letter import REASONS, Choice, DeadLetter, objection, read_letter
from ops.dead_letters.plan import Audit, Plan, messages
from ops.dead_letters.readers import Readers
from ops.services import programs
from ops.services.operator import OPERATOR, settings_as
from ops.state.folder import StateFolder
from ops.terminal.logs import hide_logs
from ops.terminal.text import show
from postroad.broker.queue_browser import CannotHold, QueueBrowser
from postroad.broker.rabbitmq import RabbitBroker
from postroad.dead_letters.captured import as_management
from postroad.dead_letters.redriver import Redriver
from postroad.security.keyring import KeyRing
from postroad.settings import MessagingSettings
from postroad.topology.definitions import definitions
from postroad.topology.names import QUARANTINE, dead_queue

EXAMPLES = """\
examples:
  postroad dead-letters list                                  how many, of what, and why
  postroad dead-letters list --each --queue work.catalog.sync
  postroad dead-letters show 0199c1d2-…                       one of them, whole
  postroad dead-letters show --n 3                            the third of list --each
  postroad dead-letters show --n 3 --json | postroad explain -
  postroad dead-letters redrive --reason failed --older-than 1h
  postroad dead-letters redrive --queue work.auth.audit --limit 10 --yes
  postroad dead-letters quarantine --caller orders --yes      kept until somebody is done with it
  postroad dead-letters purge --queue rpc.catalog --older-than 7d

redrive and quarantine say what they would do, and do it with --yes. Who did what to which letter
stands in log/dead-letters.log of the state folder.
"""
_ACTS = ("list", "show", "redrive", "quarantine", "purge")
_TIMEOUT_S = 10.0
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.set_defaults(when_interrupted="interrupted; run it again for the rest")
    parser.epilog = EXAMPLES
    parser.add_argument("act", choices=_ACTS, metavar="|".join(_ACTS), help="what to do")
    parser.add_argument("id", nargs="?", metavar="ID", help="show: the message id")
    which = parser.add_argument_group("which letters (patterns as of a shell)")
    which.add_argument("--queue", metavar="QUEUE", help="in which they died, or 'quarantine'")
    which.add_argument("--name", metavar="NAME", help="the method, or the event's or job's name")
    which.add_argument("--caller", metavar="SERVICE", help="who sent them")
    which.add_argument("--reason", metavar="REASON", help="why they died, as list shows it")
    which.add_argument("--id", dest="message_id", metavar="ID", help="the message id")
    which.add_argument("--older-than", type=duration_s, metavar="AGE", help="30s, 5m, 1h, 2d")
    which.add_argument("--newer-than", type=duration_s, metavar="AGE", help="the same")
    which.add_argument("--limit", type=_positive, metavar="N", help="no more than the N oldest")
    parser.add_argument("--yes", action="store_true", help="do it; without, only say what it is")
    parser.add_argument(
        "--rate", type=_rate, default=50.0, metavar="N", help="messages per second (%(default)g)"
    )
    parser.add_argument(
        "--force", action="store_true", help="redrive also what has come back three times"
    )
    parser.add_argument("--each", action="store_true", help="list: a line for each letter")
    parser.add_argument("--n", type=_positive, metavar="N", help="show: the n-th of list --each")
    parser.add_argument(
        "--json",
        action="store_true",
        help="list: a line of JSON for each letter; show: the message as its reader had it, with "
        "the user's token if it has one",
    )
    add_state_argument(parser)


def run(options: Namespace) -> int:
    """Do it; give the exit status."""
    hide_logs()
    state = StateFolder(options.state)
    _check(options)
    queues = _queues(state, options.queue)
    settings = settings_as(state, OPERATOR)
    return asyncio.run(_Session(state, settings, options).work(queues))


class _Session:
    """The letters of some queues, held in hand while something is done to them."""

    def __init__(self, state: StateFolder, settings: MessagingSettings, options: Namespace) -> None:
        self._state = state
        self._options = options
        self._keys = KeyRing.load(settings.identity_file, settings.trust_file)
        self._broker = RabbitBroker(settings, OPERATOR)

    async def work(self, queues: list[str]) -> int:
        holder = self._broker.browser(queues)
        try:
            letters = await self._read(holder)
            if self._options.act == "list":
                list_letters(letters, self._options)
                return 0
            if self._options.act == "show":
                return self._show(letters)
            return await self._move(letters[: self._options.limit], holder)
        finally:
            await holder.close()

    async def _read(self, holder: QueueBrowser) -> list[DeadLetter]:
        """Take the letters in hand, and choose; each queue's oldest come first."""
        readers = Readers(self._state)
        choice = _choice(self._options)
        order: dict[str, int] = {}
        letters = []
        for held in await holder.browse(_TIMEOUT_S):
            letter = read_letter(held, readers)
            order.setdefault(letter.queue, len(order))
            if choice.has(letter) and self._is_movable(letter):
                letters.append(letter)
            await asyncio.sleep(0)  # heartbeats want their turn among thousands of signatures
        return sorted(letters, key=lambda each: (order[each.queue], each.died_at))

    def _is_movable(self, letter: DeadLetter) -> bool:
        return self._options.act != "quarantine" or letter.queue != QUARANTINE

    def _show(self, letters: list[DeadLetter]) -> int:
        number = self._options.n or 1
        if not letters[number - 1 : number]:
            raise CommandError("there is no such dead letter; 'list --each' shows which there are")
        letter = letters[number - 1]
        if self._options.json:
            print(json.dumps(as_management(letter.message)))
            return 0
        show(dead_letters_view.whole(letter, objection(letter, self._keys)))
        return 0

    async def _move(self, letters: list[DeadLetter], holder: QueueBrowser) -> int:
        options = self._options
        plan = Plan(options.act, letters, self._keys, force=options.force)
        show(plan.lines())
        if not plan.letters or not await self._is_wanted(len(plan.letters)):
            return 0
        publisher = self._broker.publisher()
        await publisher.start()
        try:
            if not await publisher.opened(_TIMEOUT_S):
                raise CannotHold("the message broker is away")
            audit = Audit(self._state.dead_letters_log)
            redriver = Redriver(publisher, self._keys)
            await plan.carry_out(redriver, holder, audit, per_s=options.rate)
        finally:
            show([plan.outcome()])
            await publisher.close()
        return 0

    async def _is_wanted(self, count: int) -> bool:
        if self._options.yes:
            return True
        if self._options.act == "purge" and sys.stdin.isatty():
            question = f"Delete {messages(count)} for good? [y/N] "
            return await asyncio.to_thread(_says_yes, question)
        print("run it again with --yes")
        return False


def list_letters(letters: list[DeadLetter], options: Namespace) -> None:
    """Print letters, or that there are none: for programs, on standard error."""
    if not letters:
        where = sys.stderr if options.json else sys.stdout
        found = " are like that" if _is_choosy(options) else ": all is well"
        print(f"no dead letters{found}", file=where)
    elif options.json:
        for letter in letters:
            print(json.dumps(dead_letters_view.as_json(letter)))
    else:
        view = dead_letters_view.each if options.each else dead_letters_view.groups
        show(view(letters[: options.limit], time()))


def _says_yes(question: str) -> bool:
    try:
        is_yes = input(question).strip().lower() in ("y", "yes")
    except UnicodeDecodeError:  # neither y nor n
        is_yes = False
    if not is_yes:
        print("nothing was deleted")
    return is_yes


def _check(options: Namespace) -> None:
    if options.id is not None and (options.act != "show" or options.message_id):
        raise CommandError("an ID goes with show; the others take --id ID")
    if options.act == "show" and not (options.id or options.message_id or options.n):
        raise CommandError("which one? show ID, or show --n N")
    if options.reason and not any(fnmatchcase(each, options.reason) for each in REASONS):
        raise CommandError(
            f"no reason is like {options.reason!r}; there are {', '.join(dict.fromkeys(REASONS))}"
        )
    if options.act == "show" and options.json and sys.stdout.isatty():
        raise CommandError(
            "it may hold a user's token: pipe it into 'postroad explain -', or into a file"
        )


def _queues(state: StateFolder, pattern: str | None) -> list[str]:
    """Name the queues of dead letters, with ``dead.`` or without."""
    made = definitions(programs.allowed_services(state))["queues"]
    names = [each["name"] for each in made]
    known = [name for name in names if name.startswith(dead_queue("")) or name == QUARANTINE]
    if pattern is None:
        return known
    chosen = [
        name
        for name in known
        if fnmatchcase(name, pattern) or fnmatchcase(name.removeprefix(dead_queue("")), pattern)
    ]
    if not chosen:
        raise CommandError(
            f"no queue of dead letters is like {pattern!r}; there are {', '.join(known)}"
        )
    return chosen


def _choice(options: Namespace) -> Choice:
    return Choice(
        name=options.name,
        caller=options.caller,
        reason=options.reason,
        message_id=options.id or options.message_id,
        older_than_s=options.older_than,
        newer_than_s=options.newer_than,
    )


def _is_choosy(options: Namespace) -> bool:
    return _choice(options) != Choice() or options.queue is not None


def duration_s(text: str) -> float:
    """Read an age: a number and one of s, m, h, d."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.replace(".", "", 1).isdecimal():
        raise ArgumentTypeError(
            f"{text!r} is not an age: write a number and s, m, h or d, as in 1h"
        )
    return float(number) * _UNITS[unit]


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"must be a number from 1 on, not {text!r}")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1e6:  # faster than anything
        raise ArgumentTypeError(f"must be a number of messages per second, not {text!r}")
    return rate
