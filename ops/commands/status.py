"""`postroad status`: queues, processes and scaling decisions of the running system."""

import json
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.commands.status_view import Status, page
from ops.local.running import AWAY, absence, listens, running_broker
from ops.scaling.management_api import DepthUnknown, Management, Queue
from ops.scaling.report import read_report
from ops.state.folder import StateFolder
from ops.terminal.colours import wants_colours
from postroad.topology.names import SCALER

EXAMPLES = """\
examples:
  postroad status             queues, processes, and the last scaling decisions
  postroad status --watch     the same each second, until Ctrl-C
  postroad status --json      for programs
"""

_WATCH_S = 1.0
_KINDS = ("rpc", "work", "wait", "dead")  # of queues; those of single clients are not shown
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
    status = look(state)
    while options.watch:
        _show(status, options)
        time.sleep(_WATCH_S)
        status = look(state)
    _show(status, options)
    return 1 if status.problem else 0


def look(state: StateFolder) -> Status:
    """Ask the broker for its queues, and read what `postroad up` reports of its processes.

    Raises:
        CommandError: nothing runs.
        StateError: the state folder cannot be used.
    """
    broker, running = running_broker(state), state.running()
    if broker is None or running is None:
        raise CommandError(absence(state))
    queues, problem = [], None
    try:
        queues = Management(broker.management_url, state.password(SCALER)).queues()
    except DepthUnknown as error:
        silent = f"the broker does not say how deep its queues are: {error}"
        problem = silent if listens(broker) else AWAY
    shown = [queue for queue in queues if queue.name.partition(".")[0] in _KINDS]
    return Status(
        http=running["http"],
        pages=broker.management_url,
        password_file=str(state.password_file(SCALER)),
        queues=sorted(shown, key=_place),
        report=read_report(state),
        problem=problem,
    )


def _place(queue: Queue) -> tuple[int, str]:
    return _KINDS.index(queue.name.partition(".")[0]), queue.name


def _show(status: Status, options: Namespace) -> None:
    if options.json:
        print(json.dumps(status.to_json()), flush=True)
        return
    text = page(status, colours=wants_colours())
    print(f"{_CLEAR if sys.stdout.isatty() and options.watch else ''}{text}", flush=True)
