"""`postroad trace`: where the time of one request went, from the logs alone."""

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import closing
from math import ceil
from pathlib import Path

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.logs.lines import Line, parse_line
from ops.logs.reader import LogFollower
from ops.logs.trace_tree import Step, build_tree, find_steps
from ops.state.folder import StateFolder
from ops.terminal.text import show
from postroad.plain_text import plain

EXAMPLES = """\
examples:
  postroad trace 018f3c…                   the id is the header X-Request-Id of an answer
  postroad trace 4bf92f35…                 a trace id does, too
  docker compose logs --no-log-prefix | postroad trace 018f3c… --from -
"""

_BAR_WIDTH = 40
_WAITING, _WORKING = "·", "█"  # in a queue; in a process


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("request_id", metavar="ID", help="a request's id, or its trace id")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="logs of another place, a JSON object a line; '-' is standard input",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    add_state_argument(parser)


def run(options: Namespace) -> int:
    """Print the tree; give the exit status."""
    steps = find_steps(_lines(options), options.request_id)
    if not steps:
        raise CommandError(
            f"no line of a log has the request id or the trace id {options.request_id}; "
            "the id is the header X-Request-Id of the answer, and logs are kept until they are "
            "rotated out"
        )
    roots = build_tree(steps)
    if options.json:
        print(json.dumps([root.to_json() for root in roots], indent=1))
    else:
        show(_written(steps, roots))
    return 0


def _lines(options: Namespace) -> list[Line]:
    if options.source is None:
        with closing(LogFollower(StateFolder(options.state).programs_log_folder)) as follower:
            return follower.history()
    if options.source == Path("-"):
        return [parse_line("-", text.rstrip()) for text in sys.stdin.buffer]
    try:
        with options.source.open("rb") as file:
            return [parse_line(options.source.name, text.rstrip()) for text in file]
    except OSError as error:
        raise CommandError(f"cannot read {options.source}: {error.strerror}") from error


def _written(steps: list[Step], roots: list[Step]) -> Iterator[str]:
    """Write a line for each step, its bar below the time in which it was."""
    whole_ms = max(step.began_ms + step.took_ms for step in steps)
    rows = [row for root in roots for row in _rows(root, "", "")]
    widths = [max(len(row[column]) for _, row in rows) for column in range(3)]
    yield (
        f"trace {steps[0].trace_id}, {whole_ms:.1f} ms; "
        f"{_WAITING} in a queue, {_WORKING} in a process"
    )
    for step, (what, service, outcome) in rows:
        upstream = "" if step.upstream_ms is None else f"  upstream {step.upstream_ms:.1f}"
        waited = f"  queue {step.waited_ms:.1f}" if step.kind != "http" else ""
        yield (
            f"{what:{widths[0]}}  {service:{widths[1]}}  {outcome:{widths[2]}}  "
            f"{_bar(step, whole_ms)}  {step.took_ms:8.1f} ms{waited}{upstream}"
        )


def _rows(step: Step, lead: str, below: str) -> Iterator[tuple[Step, tuple[str, str, str]]]:
    yield step, (f"{lead}{step.kind} {plain(step.what)}", plain(step.service), plain(step.outcome))
    for number, child in enumerate(step.children, start=1):
        is_last = number == len(step.children)
        yield from _rows(
            child,
            f"{below}{'└─ ' if is_last else '├─ '}",
            f"{below}{'   ' if is_last else '│  '}",
        )


def _bar(step: Step, whole_ms: float) -> str:
    """Draw a step; one that took no time at all is seen, too."""
    scale = _BAR_WIDTH / whole_ms if whole_ms else 0.0
    sent = min(int((step.began_ms - step.waited_ms) * scale), _BAR_WIDTH - 1)
    began = min(max(int(step.began_ms * scale), sent), _BAR_WIDTH - 1)
    ended = min(max(ceil((step.began_ms + step.took_ms) * scale), began + 1), _BAR_WIDTH)
    return (" " * sent + _WAITING * (began - sent) + _WORKING * (ended - began)).ljust(_BAR_WIDTH)
