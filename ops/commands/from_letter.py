"""`postroad test-from`: a dead letter as a test that fails as production did, until mended."""

import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from ops.commands.arguments import read_argument
from ops.commands.errors import CommandError
from ops.dead_letters.handler_search import find_handler, load_handler, name_of
from ops.dead_letters.readers import claims_of
from ops.dead_letters.redaction import without_secrets
from ops.dead_letters.regression import Case, GeneratedTest
from postroad.dead_letters.captured import CapturedMessage, place_of, read_messages
from postroad.security.claims import Reason

EXAMPLES = """\
examples:
  postroad dead-letters show 0199c1d2-… --json | postroad test-from - > tests/unit/test_0199c1d2.py
  postroad test-from letter.json --output tests/unit/test_mended.py
  postroad test-from letter.json --handler parcels.handlers:find_parcel --services services.toml

The test hands the message to its handler by a broker in memory. Secrets are cut, users are made
up. What the handler is given besides is a fixture: put into it what production had. It needs no
running system and no keys.
"""
# What RabbitMQ gives as a reason where no handler had the message.
_NOBODY_HAD_IT = ("expired", "maxlen")


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "file",
        metavar="FILE",
        help="one dead letter, as 'dead-letters show --json' prints it; - is the standard input",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write it there, not to the standard output"
    )
    parser.add_argument("--force", action="store_true", help="replace the output, if it is there")
    parser.add_argument(
        "--handler",
        metavar="MODULE:FUNCTION",
        help="a handler of another team's, which can be imported (ours, by its contract)",
    )
    parser.add_argument(
        "--services",
        type=Path,
        metavar="FILE",
        help="services.toml of another team, as the test finds it (our own services)",
    )


def run(options: Namespace) -> int:
    """Write the test; 1 when no handler is at fault."""
    messages = read_messages(read_argument(options.file))
    if len(messages) > 1:
        raise CommandError(f"there are {len(messages)} messages in it; a test is of one")
    text = _text(_case(messages[0], options))
    if options.output is None:
        print(text, end="")
        return 0
    try:
        with options.output.open("w" if options.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(f"{options.output} is there already (--force)") from None
    return 0


def _text(case: Case) -> str:
    text = GeneratedTest(case).text()
    try:
        compile(text, "test", "exec")
    except (SyntaxError, RecursionError, MemoryError):
        raise CommandError("its body is nested too deep for Python's own syntax") from None
    return text


def _case(message: CapturedMessage, options: Namespace) -> Case:
    queue = message.died_where or ""
    place = place_of(queue, message.properties.type)
    if place is None or place.reader is None:
        raise CommandError("this is not a dead letter: nothing in it says in which queue it died")
    reason = message.died_of
    if reason in [*Reason, *_NOBODY_HAD_IT]:
        raise CommandError(
            f"no handler is at fault, none had it: it died of {reason}; 'postroad explain' says why"
        )
    claims = claims_of(message)
    name = claims.op if claims else str(message.properties.type)
    handler = (
        load_handler(options.handler)
        if options.handler
        else find_handler(place.reader, name, queue)
    )
    if name_of(handler.contract) != name:
        raise CommandError(
            f"{options.handler} is for {name_of(handler.contract)}, and this is {name}"
        )
    return Case(
        handler=handler,
        service=place.reader,
        queue=queue,
        sender=claims.origin if claims else "",
        message_id=_identity(claims.jti if claims else message.properties.message_id),
        died_at=message.rejected_at,
        body=_body(message.body),
        services_file=options.services,
    )


def _identity(message_id: object) -> str:
    """Keep of a message id what may stand in a docstring: its sender chose it."""
    return "".join(each for each in str(message_id) if each.isalnum() or each == "-")[:64]


def _body(body: bytes) -> object:
    """Read a body, and cut the secrets out of it."""
    try:
        return without_secrets(json.loads(body, parse_constant=_no_constant))
    except (ValueError, RecursionError):
        raise CommandError(
            "its body is not JSON, or only a part of it was kept: its sender is at fault, or it "
            "was too large to keep"
        ) from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
