"""`postroad definitions`: the broker's definitions, generated from contracts and services.toml."""

import json
from argparse import ArgumentParser, Namespace

from ops.commands.errors import CommandError
from ops.services.programs import SERVICES_FILE
from postroad.topology.definitions import definitions
from postroad.topology.services import load_services

DEFINITIONS_FILE = SERVICES_FILE.with_name("definitions.json")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the file is out of date"
    )


def run(options: Namespace) -> int:
    """Write the file, or check it; give the exit status."""
    text = json.dumps(definitions(load_services(SERVICES_FILE)), indent=2) + "\n"
    current = DEFINITIONS_FILE.read_text() if DEFINITIONS_FILE.exists() else None
    if text == current:
        print(f"{DEFINITIONS_FILE.name} is in date")
        return 0
    if options.check:
        raise CommandError(
            f"{DEFINITIONS_FILE} is out of date; write it with 'postroad definitions'"
        )
    DEFINITIONS_FILE.write_text(text)
    print(f"wrote {DEFINITIONS_FILE}")
    return 0
