"""`postroad explain`: why a captured message was refused, and what to do about it."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from contextlib import suppress
from datetime import datetime
from time import time

from ops.commands.arguments import add_state_argument, read_argument
from ops.dead_letters.readers import Readers
from ops.dead_letters.report import report
from ops.state.folder import StateFolder
from ops.terminal.text import show
from postroad.dead_letters.captured import read_messages

EXAMPLES = """\
examples:
  postroad dead-letters show --n 1 --json | postroad explain -
  postroad explain letter.json               as of when it was refused, or else signed
  postroad explain letter.json --at now      as of now: most have expired by then

letter.json is also what RabbitMQ's management gives: GET /api/queues/postroad/QUEUE/get.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "file",
        metavar="FILE",
        help="one message or a list, as JSON of RabbitMQ's management API; - is the standard input",
    )
    parser.add_argument(
        "--as",
        dest="reader",
        metavar="SERVICE",
        help="read it as this service (the one whose queue it was in)",
    )
    parser.add_argument(
        "--at",
        type=moment,
        metavar="TIME",
        help="judge deadlines as of 'now', '2026-01-31T12:00:00Z' or seconds since 1970 (when it "
        "was refused, or else signed)",
    )
    add_state_argument(parser, "the folder of the system, for its keys")


def run(options: Namespace) -> int:
    """Explain each message; 0 when all would be accepted, 1 when one would not."""
    messages = read_messages(read_argument(options.file))
    readers = Readers(StateFolder(options.state), options.reader)
    diagnoses = [readers.diagnose(message, options.at) for message in messages]
    for number, diagnosis in enumerate(diagnoses):
        if number:
            print()
        show(report(diagnosis))
    is_doubted = any(each.failure or not each.message.is_whole for each in diagnoses)
    return 1 if is_doubted else 0


def moment(text: str) -> float:
    if text == "now":
        return time()
    for read in (float, lambda text: datetime.fromisoformat(text).astimezone().timestamp()):
        with suppress(ValueError, OverflowError):
            return read(text)
    raise ArgumentTypeError(
        f"{text!r} is not a time: write now, 2026-01-31T12:00:00Z or 1769860800"
    )
