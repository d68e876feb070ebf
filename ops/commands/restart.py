"""`postroad restart`: a program of the running system is started anew."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.local import control
from ops.local.running import absence
from ops.state.folder import StateFolder

EXAMPLES = """\
examples:
  postroad restart catalog_worker     new processes; the old ones end when they have drained

'postroad status' names the programs. 'postroad up --reload' does this at each change of the code.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("program", metavar="PROGRAM", help="as 'postroad status' names it")
    add_state_argument(parser)


def run(options: Namespace) -> int:
    """Ask the running system to replace a program's processes; return the exit status."""
    state = StateFolder(options.state)
    if state.running() is None:
        raise CommandError(absence(state))
    answer = control.ask(state.control_socket, {"restart": options.program})
    if "error" in answer:
        raise CommandError(answer["error"])
    print(answer["done"])
    return 0
