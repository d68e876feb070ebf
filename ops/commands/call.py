"""`postroad call`: one signed request through the running system, from a terminal or a script."""

import json
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from ops.commands.arguments import add_state_argument
from ops.commands.caller import add_caller_arguments, read_user
from ops.commands.errors import CommandError
from ops.services.manifests import requests
from ops.services.operator import settings_as
from ops.state.folder import StateFolder
from ops.terminal.colours import wants_colours
from ops.terminal.logs import hide_logs
from postroad.contracts.base import Request
from postroad.contracts.errors import explain
from postroad.limits import LONGEST_DEADLINE_S
from postroad.plain_text import plain_lines
from postroad.runtime.blocking import BlockingClient
from postroad.security.keys import TrustBundle

EXAMPLES = """\
examples:
  postroad call catalog.products.list limit=5 category=lighting
  postroad call catalog.products.get product_id=7 --as shop
  postroad call catalog.products.list | jq '.data[].title'
  postroad call auth.profiles.get --token-file token    for a user who has signed in

methods:
"""
_COLOURS = {"key": "34", "string": "32", "number": "36", "word": "35"}  # ECMA-48 section 8.3.117
_TOKEN = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>-?\d[\d.eE+-]*)|(?P<word>true|false|null)"
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.set_defaults(when_interrupted="interrupted; the request may have been answered")
    parser.epilog = EXAMPLES + "\n".join(f"  {_usage(each)}" for each in requests().values())
    parser.add_argument("method", metavar="METHOD", help="what to call")
    parser.add_argument("fields", metavar="FIELD=VALUE", nargs="*", help="the request's fields")
    add_caller_arguments(
        parser,
        "call for the user whose access token is in this file; - is the standard input",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        help="how long to wait (the method's own time)",
    )
    add_state_argument(parser)


def run(options: Namespace) -> int:
    """Call, and print the reply as JSON; give the exit status."""
    hide_logs()
    request = _request(options.method, options.fields)
    state = StateFolder(options.state)
    settings = settings_as(state, options.service)
    _check_right(state, options.service, request)
    user = read_user(options.token_file, settings) if options.token_file else None
    with BlockingClient(settings) as client:
        reply = client.call(request, timeout_s=options.timeout, user=user)
    print(_shown(reply.model_dump(mode="json"), in_colour=wants_colours()))
    return 0


def _request(method: str, fields: list[str]) -> Request[Any]:
    contract = requests().get(method)
    if contract is None:
        raise CommandError(f"no method {method}; there are {', '.join(requests())}")
    values: dict[str, str] = {}
    for field in fields:
        name, is_given, value = field.partition("=")
        if name in contract.model_fields and not is_given:
            raise CommandError(f"{name} has no value: write {name}=…")
        if name not in contract.model_fields:
            raise CommandError(f"{field!r} is not a field: {_usage(contract)}")
        values[name] = value
    try:
        return contract.model_validate_strings(values)
    except ValidationError as error:
        raise CommandError(explain(error)) from error


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (seconds := float(text)) <= LONGEST_DEADLINE_S:
            return seconds
    raise ArgumentTypeError(f"{text!r} is not a valid time-out: give seconds, up to 60")


def _check_right(state: StateFolder, service: str, request: Request[Any]) -> None:
    """Say beforehand what the broker says by closing the channel."""
    if not TrustBundle.load(state.trust_file).services[service].may_call(request.method):
        raise CommandError(f"{service} may not call {request.method}")


def _usage(contract: type[Request[Any]]) -> str:
    fields = [
        f"{name}=…" if field.is_required() else f"[{name}=…]"
        for name, field in contract.model_fields.items()
    ]
    return " ".join([contract.method, *fields])


def _shown(value: object, *, in_colour: bool) -> str:
    text = plain_lines(json.dumps(value, indent=2, ensure_ascii=False))
    return _TOKEN.sub(_coloured, text) if in_colour else text


def _coloured(match: re.Match[str]) -> str:
    return f"\x1b[{_COLOURS[match.lastgroup or 'word']}m{match[0]}\x1b[0m"
