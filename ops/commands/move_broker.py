"""`postroad move-broker`: take a running system to another broker (docs/upgrade-broker.md)."""

import asyncio
import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

from ops.commands.arguments import add_state_argument, read_argument
from ops.commands.errors import CommandError
from ops.dead_letters.plan import messages
from ops.moving import survey
from ops.moving.overlays import OPEN, SHUT, overlays
from ops.moving.parcels import pack
from ops.moving.survey import Side, is_carried
from ops.services.operator import OPERATOR
from ops.state.folder import StateFolder
from ops.terminal.logs import hide_logs
from ops.terminal.progress import say
from ops.terminal.text import show
from postroad.broker.moving.carrier import Carrier
from postroad.broker.rabbitmq import RabbitBroker
from postroad.topology.definitions import Definitions

EXAMPLES = f"""\
examples:
  postroad move-broker prepare        writes {SHUT} and {OPEN}, for both brokers
  postroad move-broker check --from amqps://broker:5671/postroad --to amqps://broker-new:5671/postroad
  postroad move-broker carry --from amqps://broker:5671/postroad --to amqps://broker-new:5671/postroad

check only looks. carry goes on until nothing is left at the old broker; run it again when it was
interrupted. The way back is the same with --from and --to exchanged.
"""
_ACTS = ("prepare", "check", "carry")
_OPEN_TIMEOUT_S = 15.0
_LOOK_S, _QUIET_LOOKS = 1.0, 5  # what the broker itself moves is for a moment in no queue
_SAY_EVERY_S = 10.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.set_defaults(when_interrupted="interrupted; nothing is lost, run it again for the rest")
    parser.epilog = EXAMPLES
    parser.add_argument("act", choices=_ACTS, metavar="|".join(_ACTS), help="what to do")
    parser.add_argument("--from", dest="old", metavar="URLS", help="the old broker, or its nodes")
    parser.add_argument("--to", dest="new", metavar="URLS", help="the new one, or its nodes")
    parser.add_argument(
        "--exported",
        metavar="FILE",
        help="check: what 'rabbitmqctl export_definitions' wrote at the new broker; - is stdin",
    )
    add_state_argument(parser, "the folder of 'postroad provision'")


def run(options: Namespace) -> int:
    """Do it; give the exit status."""
    hide_logs()
    state = StateFolder(options.state)
    wanted = _wanted(state)
    if options.act == "prepare":
        return _prepare(state, wanted)
    _check_urls(options)
    old = survey.survey(state, "old", options.old, wanted)
    new = survey.survey(state, "new", options.new, wanted)
    if options.act == "check":
        return _check(options, wanted, old, new)
    if problems := [*survey.in_the_way(old, new), *survey.before_carrying(old, new)]:
        raise CommandError("; ".join(problems))
    return asyncio.run(_carry(state, old, new))


def _wanted(state: StateFolder) -> Definitions:
    try:
        wanted: Definitions = json.loads(state.definitions_file.read_bytes())
    except (OSError, ValueError) as error:
        raise CommandError(
            f"cannot read {state.definitions_file}; run 'postroad provision --operator'"
        ) from error
    if OPERATOR not in [user["name"] for user in wanted["users"]]:
        raise CommandError(
            f"{state.definitions_file} has no user {OPERATOR}, who carries; run 'postroad "
            "provision --operator', with --cluster if that was given before"
        )
    return wanted


def _prepare(state: StateFolder, wanted: Definitions) -> int:
    with state.changing():
        for name, definitions in overlays(wanted).items():
            state.write_overlay(name, definitions)
            print(f"wrote {state.broker_folder / name}")
    return 0


def _check_urls(options: Namespace) -> None:
    for option, urls in (("--from", options.old), ("--to", options.new)):
        if not urls:
            raise CommandError(f"which broker? {option} is missing")
    if options.old == options.new:
        raise CommandError("--from and --to are the same broker")


def _check(options: Namespace, wanted: Definitions, old: Side, new: Side) -> int:
    show(survey.lines(old, new))
    problems = list(survey.in_the_way(old, new))
    if new.is_shut:
        problems += survey.before_the_switch(new)
    elif old.is_shut:
        problems += survey.before_carrying(old, new)
    if options.exported:
        name = SHUT if new.is_shut else OPEN
        exported = _exported(options.exported)
        problems += survey.differences(exported, overlays(wanted)[name])
    print()
    show([f"in the way: {problem}" for problem in problems] or ["nothing is in the way"])
    return 1 if problems else 0


def _exported(file: str) -> Definitions:
    try:
        exported: Any = json.loads(read_argument(file))
    except ValueError as error:
        raise CommandError(f"{file} is not JSON: {error}") from error
    if not isinstance(exported, dict):
        raise CommandError(f"{file} has no definitions")
    return exported


async def _carry(state: StateFolder, old: Side, new: Side) -> int:
    queues = [queue for queue, count in old.queues.items() if count and is_carried(queue)]
    left = [queue for queue in old.queues if not queue.startswith("rpc.")]
    login = survey.login_at(state, new.urls, OPERATOR)
    publisher = RabbitBroker(login.settings, OPERATOR).publisher()
    source = survey.login_at(state, old.urls, OPERATOR)
    carrier = Carrier(source, queues, publisher=publisher, pack=pack)
    await publisher.start()
    try:
        if not await publisher.opened(_OPEN_TIMEOUT_S):
            raise CommandError("the new broker is away")
        await carrier.start()
        await _until_empty(carrier, [queue for queue in left if old.queues[queue]])
    finally:
        await carrier.close()
        await publisher.close()
        show(_outcome(carrier))
    return 0


async def _until_empty(carrier: Carrier, queues: list[str]) -> None:
    """Wait until nothing has been left for some looks, and tell how it goes."""
    quiet, said_at = 0, monotonic()
    while quiet < _QUIET_LOOKS:
        await asyncio.sleep(_LOOK_S)
        waiting = await carrier.waiting(queues)
        is_quiet = waiting is not None and not any(waiting.values()) and not carrier.in_hand
        quiet = quiet + 1 if is_quiet else 0
        if monotonic() - said_at >= _SAY_EVERY_S:
            said_at = monotonic()
            say("; ".join(_progress(carrier, waiting)))


def _progress(carrier: Carrier, waiting: Mapping[str, int] | None) -> Iterator[str]:
    yield f"{messages(carrier.carried.total())} carried"
    if waiting is None:
        yield "the old broker is away"
        return
    for queue, count in waiting.items():
        if count:
            yield f"{count} left in {queue}"
    if carrier.refused:
        yield f"not taken at first: {carrier.refused.total()}"


def _outcome(carrier: Carrier) -> Iterator[str]:
    for queue, count in carrier.carried.items():
        yield f"carried {messages(count)} of {queue}"
    if not carrier.carried:
        yield "nothing was left to carry"
