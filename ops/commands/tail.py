"""`postroad tail`: see events as they happen."""

import asyncio
import json
import os
import re
import stat
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from datetime import datetime

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.services.manifests import events
from ops.services.operator import OPERATOR, settings_as
from ops.state.folder import StateFolder
from ops.terminal.colours import wants_colours
from ops.terminal.logs import hide_logs
from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.base import Event
from postroad.messaging.event_listener import EventListener, ReceivedEvent
from postroad.observability.logging import BOLD, CYAN, DIM, PLAIN
from postroad.plain_text import plain
from postroad.security.key_watch import watch_key_files
from postroad.security.keyring import KeyRing
from postroad.settings import MessagingSettings

EXAMPLES = """\
examples:
  postroad tail events                     all of them; piped, a line of JSON each
  postroad tail events 'auth.login.*'      '*' is one word, '#' is any number of them
"""

_PATIENCE_S = 2.0
Line = Callable[[ReceivedEvent[Event]], str]


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("what", choices=["events"], help="what to see")
    parser.add_argument("pattern", nargs="?", default="#", help="which of them (%(default)s)")
    parser.add_argument(
        "--json", action="store_true", help="a JSON object a line in a terminal, too"
    )
    add_state_argument(parser)


def run(options: Namespace) -> int:
    """Print events until Ctrl-C; give the exit status."""
    hide_logs()
    events = _chosen(options.pattern)
    settings = settings_as(StateFolder(options.state), OPERATOR)
    line = _as_json if options.json or not sys.stdout.isatty() else _for_people(events)
    asyncio.run(_tail(events, settings, line))
    return 0


def _chosen(pattern: str) -> list[type[Event]]:
    words = (
        r"[^.]+" if word == "*" else ".*" if word == "#" else re.escape(word)
        for word in pattern.split(".")
    )
    expression = r"\.".join(words).replace(r"\..*", r"(\..*)?")  # '#' is no word, too
    chosen = [event for name, event in events().items() if re.fullmatch(expression, name)]
    if not chosen:
        raise CommandError(f"no event is like {pattern!r}; there are {', '.join(events())}")
    return chosen


async def _tail(events: list[type[Event]], settings: MessagingSettings, line: Line) -> None:
    """Print events for ever, or until nobody reads them; then raise ``BrokenPipeError``."""
    keys = KeyRing.load(settings.identity_file, settings.trust_file)
    unread = asyncio.Event()

    def show(received: ReceivedEvent[Event]) -> None:
        try:
            print(line(received), flush=True)
        except BrokenPipeError:  # in the listener it would end the connection
            unread.set()

    names = ", ".join(event.name for event in events)
    waiting = asyncio.get_running_loop().call_later(
        _PATIENCE_S, _say, "waiting for the broker, which does not answer"
    )

    def say_what() -> None:
        waiting.cancel()
        _say(f"listening to {names}")

    listener = EventListener(
        dict.fromkeys(events, show),
        broker=RabbitBroker(settings, keys.service),
        keys=keys,
        on_open=say_what,
    )
    await listener.start()
    _notice_end_of_pipe(unread)
    watching = asyncio.create_task(
        watch_key_files(keys, settings.identity_file, settings.trust_file)
    )
    try:
        await unread.wait()
    finally:
        watching.cancel()
        await listener.close()
    raise BrokenPipeError


def _say(sentence: str) -> None:
    print(f"postroad: {sentence}", file=sys.stderr, flush=True)


def _notice_end_of_pipe(unread: asyncio.Event) -> None:
    """Notice at once that nobody reads a pipe any more, not only when the next event is written."""
    if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        asyncio.get_running_loop().add_reader(sys.stdout.fileno(), unread.set)  # pipe(7): POLLERR


def _as_json(received: ReceivedEvent[Event]) -> str:
    event = received.event
    return plain(
        json.dumps({"event": event.name, **event.model_dump(mode="json")}, ensure_ascii=False)
    )


def _for_people(events: list[type[Event]]) -> Line:
    """Write when, what and from whom, in columns, then the fields."""
    width = max(len(event.name) for event in events)
    dim, bold, cyan, end = (DIM, BOLD, CYAN, PLAIN) if wants_colours() else ("",) * 4

    def line(received: ReceivedEvent[Event]) -> str:
        event = received.event
        fields = " ".join(
            f"{cyan}{name}{end}={plain(json.dumps(value, ensure_ascii=False))}"
            for name, value in event.model_dump(mode="json").items()
        )
        sent_at = datetime.fromtimestamp(received.sent_at).astimezone()
        return (
            f"{dim}{sent_at:%H:%M:%S}{end} {bold}{event.name:{width}}{end} "
            f"{plain(received.sender):8} {fields} {dim}message_id={plain(received.message_id)}{end}"
        )

    return line
