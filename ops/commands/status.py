"""`postroad status`: queues, processes and scaling decisions of the running system."""

import json
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping
from typing import Any

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.commands.status_view import Queue, Status, page
from ops.local.broker import PrivateBroker
from ops.local.running import AWAY, absence, listens, running_broker
from ops.scaling.management_api import Depth, DepthUnknown, Management
from ops.scaling.report import read_report
from ops.scaling.traffic import Rates, Reading, Traffic
from ops.state.folder import StateFolder
from ops.terminal.colours import wants_colours
from postroad.topology.names import SCALER

EXAMPLES = """\
examples:
  postroad status             queues, processes, and the last scaling decisions
  postroad status --watch     the same each second, until Ctrl-C
  postroad status --json      for programs
"""

_WATCH_S = 1.0  # between two looks; rates are counted in this time
_KINDS = ("rpc", "work", "wait", "dead")  # of queues; those of single clients are not shown
_STILL = Rates(0.0, 0.0)
_CLEAR = "\x1b[H\x1b[J"  # to the top left, and nothing below (ECMA-48 CUP, ED)


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("--watch", action="store_true", help="show it each second, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print JSON, one line each time")
    add_state_argument(parser)


def run(options: Namespace) -> int:
    """Print the status, once or until Ctrl-C; give the exit status."""
    state = StateFolder(options.state)
    before = _counted(state)
    while True:
        time.sleep(_WATCH_S)
        status, before = look(state, before)
        _show(status, options)
        if not options.watch:
            return 1 if status.problem else 0


def look(state: StateFolder, before: Reading | None) -> tuple[Status, Reading | None]:
    """Ask the broker for its queues, and read what `postroad up` reports of its processes.

    Args:
        before: what the broker had counted at the last look; rates are those since.

    Returns:
        The status, and what the broker has counted now, none when it does not answer.

    Raises:
        CommandError: nothing runs.
        StateError: the state folder cannot be used.
    """
    broker, running = _running(state)
    queues, problem, counted = [], None, None
    try:
        depths = Management(broker.management_url, state.password(SCALER)).depths()
        counted = Traffic(broker.metrics_url).read()
        queues = _queues(depths, counted, counted.rates(before) if before else None)
    except DepthUnknown as error:
        silent = f"the broker does not say how deep its queues are: {error}"
        problem = silent if listens(broker) else AWAY
    status = Status(
        http=running["http"],
        pages=broker.management_url,
        password_file=str(state.password_file(SCALER)),
        queues=queues,
        report=read_report(state),
        problem=problem,
    )
    return status, counted


def _running(state: StateFolder) -> tuple[PrivateBroker, dict[str, Any]]:
    broker, running = running_broker(state), state.running()
    if broker is None or running is None:
        raise CommandError(absence(state))
    return broker, running


def _counted(state: StateFolder) -> Reading | None:
    broker, _ = _running(state)
    try:
        return Traffic(broker.metrics_url).read()
    except DepthUnknown:  # `look` says so
        return None


def _queues(
    depths: Mapping[str, Depth], counted: Reading, rates: Mapping[str, Rates] | None
) -> list[Queue]:
    consumers = counted.consumers()
    shown = [name for name in depths if name.partition(".")[0] in _KINDS]
    return [
        Queue(
            name,
            ready=depths[name].ready,
            unacked=depths[name].unacked,
            in_per_s=None if rates is None else rates.get(name, _STILL).into,
            out_per_s=None if rates is None else rates.get(name, _STILL).out,
            consumers=consumers.get(name, 0),
        )
        for name in sorted(shown, key=_place)
    ]


def _place(name: str) -> tuple[int, str]:
    return _KINDS.index(name.partition(".")[0]), name


def _show(status: Status, options: Namespace) -> None:
    if options.json:
        print(json.dumps(status.to_json()), flush=True)
        return
    text = page(status, colours=wants_colours())
    print(f"{_CLEAR if sys.stdout.isatty() and options.watch else ''}{text}", flush=True)
