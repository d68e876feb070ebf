"""`postroad provision`: once, before the services: keys, passwords and the broker's definitions.

It is for containers and servers; `postroad up` does the same for itself. What is there already is
kept, so it may run before each start. `ops.state` shows the folder: each reader has a folder of its
own in it, to be mounted, or copied to another server, without the others.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ops.services import SERVICES_FILE, broker_definitions, write_trust
from ops.state import State, StateError, default_folder
from shared.messaging.services import Services, ServicesFileError, load_services
from shared.messaging.topology import Definitions


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        type=Path,
        default=default_folder(),
        help="folder to keep things in (%(default)s)",
    )


def run(options: Namespace) -> int:
    """Make what is missing; give the exit status."""
    state = State(options.state)
    try:
        services = load_services(SERVICES_FILE)
        with state.held("postroad provision"):
            state.write_definitions(provision(state, services))
            state.database_password()
    except (ServicesFileError, StateError) as error:
        print(f"postroad: {error}", file=sys.stderr)
        return 1
    print(f"keys, passwords and broker definitions for {', '.join(services.names)} are in place")
    return 0


def provision(state: State, services: Services) -> Definitions:
    """Make each service's keys and password, unless they are there, and tell all of all.

    Gives what the broker imports: topology, users and their hashed passwords.

    Raises:
        StateError: a file cannot be made or is broken.
    """
    write_trust(state, services)
    return broker_definitions(state, services)
