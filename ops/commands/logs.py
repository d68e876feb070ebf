"""`postroad logs`: what all processes log, as it happens."""

import re
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.logs.lines import LEVELS, Line, Renderer
from ops.logs.reader import LogFollower
from ops.services.manifests import program_names
from ops.state.folder import StateFolder
from ops.terminal.colours import wants_colours
from postroad.plain_text import plain

EXAMPLES = """\
examples:
  postroad logs                            the last 10 minutes, then what happens, until Ctrl-C
  postroad logs --level warning            nothing below
  postroad logs --service catalog_worker   of one program; 'catalog' is all of that service
  postroad logs --request-id 018f…         all that one request has set off
  postroad logs --since 2h --no-follow --json | jq .duration_ms
"""

POLL_S = 0.2
_USUAL = timedelta(minutes=10)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("--request-id", metavar="ID", help="lines of one request, however old")
    parser.add_argument(
        "--level", choices=LEVELS[:-1], default="debug", help="this and worse (%(default)s)"
    )
    parser.add_argument(
        "--service", metavar="NAME", help="lines of a program or a service, such as catalog_worker"
    )
    parser.add_argument(
        "--since", type=_period, metavar="TIME", help="how far back, such as 30s, 2h, 1d (10m)"
    )
    parser.add_argument("--no-follow", action="store_true", help="show what there is, and end")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    add_state_argument(parser)


def _period(text: str) -> timedelta:
    if (parts := re.fullmatch(r"(\d{1,6})([smhd])", text)) is None:
        raise ArgumentTypeError(f"{text!r} is not a time; write 30s, 10m, 2h or 1d")
    return timedelta(**{_UNITS[parts[2]]: int(parts[1])})


def run(options: Namespace) -> int:
    """Show lines; give the exit status."""
    _show(options, StateFolder(options.state))
    return 0


def _show(options: Namespace, state: StateFolder) -> None:
    if not options.no_follow and state.holder() is None:
        raise CommandError(
            f"nothing runs in {state.folder}; start it with 'postroad up', or look at what it "
            "logged before with --no-follow"
        )
    if not any(state.programs_log_folder.glob("*.log*")):
        raise CommandError(f"nothing has been logged in {state.programs_log_folder} so far")
    since = _since(options)
    wanted, write = _filter(options, since), _writer(options)
    with closing(LogFollower(state.programs_log_folder)) as follower:
        history = follower.history()
        _check_service(options.service, history)
        shown = write(filter(wanted, history))
        if remark := _remark(options, since, shown):
            print(f"postroad: {plain(remark)}", file=sys.stderr, flush=True)
        while not options.no_follow:
            time.sleep(POLL_S)
            write(filter(wanted, follower.new()))


def _check_service(name: str | None, history: Iterable[Line]) -> None:
    """Make sure that there is such a program or service, even if it has not logged yet."""
    if name is None:
        return
    services = {str((line.fields or {}).get("service", line.program)) for line in history}
    logged = services | {line.program for line in history}
    ours = program_names()
    there = logged | ours.keys() | set(ours.values()) | {"postroad"}
    if name not in there:
        raise CommandError(
            f"no program or service {name}; there are {', '.join(sorted(there))}", exit_status=2
        )


def _remark(options: Namespace, since: datetime | None, shown: int) -> str | None:
    """Print what the command waits for, or that nothing matched."""
    which = "".join(
        [
            f" of request {options.request_id}" if options.request_id else "",
            f" of {options.service}" if options.service else "",
            f" of level {options.level} or worse" if options.level != LEVELS[0] else "",
        ]
    )
    begun = f" since {since.astimezone():%Y-%m-%d %H:%M:%S}" if since else ""
    if options.no_follow:
        further = "; --since looks further back" if since else ""
        return None if shown else f"no lines{which}{begun}{further}"
    if shown:
        return f"waiting for more lines{which}, until Ctrl-C" if which else None
    return f"no lines{which}{begun}; waiting for some, until Ctrl-C"


def _since(options: Namespace) -> datetime | None:
    period = options.since or (None if options.request_id else _USUAL)
    now = datetime.now(UTC)
    return now - min(period, now - _BEGINNING) if period else None


def _filter(options: Namespace, begin: datetime | None) -> Callable[[Line], bool]:
    since = begin.isoformat() if begin else ""
    least = LEVELS.index(options.level)

    def is_wanted(line: Line) -> bool:
        fields = line.fields or {}
        return (
            line.time >= since
            and (line.level not in LEVELS or LEVELS.index(line.level) >= least)
            and options.request_id in (None, fields.get("request_id"))
            and options.service in (None, line.program, fields.get("service"))
        )

    return is_wanted


def _writer(options: Namespace) -> Callable[[Iterable[Line]], int]:
    """Return what writes lines, and says how many they were."""
    render = Renderer(has_colours=wants_colours())

    def write(lines: Iterable[Line]) -> int:
        count = 0
        for count, line in enumerate(lines, start=1):  # noqa: B007
            print(line.to_json() if options.json else render(line))
        sys.stdout.flush()
        return count

    return write
