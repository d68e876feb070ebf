"""The `postroad` command."""

import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any, NoReturn

from ops.commands import (
    call,
    contracts,
    dead_letters,
    definitions,
    doctor,
    explain,
    keys,
    logs,
    provision,
    services,
    status,
    sync,
    tail,
    trace,
    up,
    users,
)

EXAMPLES = """\
examples:
  postroad up                                   everything here, with a sample catalogue
  postroad up --port 8080 --max-replicas 2      on another port, on a small machine
  postroad up --upstream https://dummyjson.com  with somebody else's catalogue
  postroad status --watch                       queues, processes, and why as many
  postroad call catalog.products.list limit=5   ask a service, through the queue
  postroad tail events 'auth.login.*'           see who signs in
  postroad logs --level warning                 what all processes log, and go on logging
  postroad trace 018f…                          where the time of one request went
  postroad doctor                               is anything wrong?
  postroad dead-letters list                    what was refused or failed, and why
  postroad services add shop --calls 'catalog.products.*'
  postroad users add reader --role operator     asks for the password
  postroad keys rotate                          new keys for all, while they run
  postroad contracts diff docs/released/asyncapi-0.1.0.json
  postroad definitions --check                  is rabbitmq/definitions.json in date?
"""

COMMANDS = {
    "up": (up, "run the whole system on this machine, until Ctrl-C"),
    "status": (status, "show queues, processes and scaling decisions of the running system"),
    "call": (call, "send a signed request through the running system, and print the reply"),
    "sync": (sync, "bring the stored catalogue up to date, and see how it goes"),
    "tail": (tail, "see events as they happen, until Ctrl-C"),
    "logs": (logs, "see what all processes log, until Ctrl-C"),
    "trace": (trace, "show what one request set off, and how long each step took"),
    "doctor": (doctor, "say what is wrong with the running system, and what to do about it"),
    "dead-letters": (dead_letters, "look at what was refused or failed, and move it"),
    "explain": (explain, "say why a captured message is refused"),
    "services": (services, "let services of other teams call ours, and listen"),
    "users": (users, "add, list, disable and import who may sign in"),
    "keys": (keys, "show the services' keys, or give them new ones"),
    "provision": (provision, "make keys, passwords and broker definitions for containers, servers"),
    "definitions": (definitions, "write rabbitmq/definitions.json, or check that it is in date"),
    "contracts": (contracts, "show the contracts as AsyncAPI, or what a change of them breaks"),
}


class _Parser(ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help says more\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Complain of what a subcommand does not know by its own name, not by the whole's."""
        known, strange = super().parse_known_args(args, namespace)
        if strange:
            self.error(f"unrecognized arguments: {' '.join(strange)}")
        return known, strange


def main() -> int:
    """Run the subcommand that the arguments name; give its exit status."""
    try:
        try:
            return _run()
        finally:
            print(end="", flush=True)  # now: at the interpreter's end it could not be caught
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE  # as a shell says of other commands


def _run() -> int:
    parser = _Parser(
        prog="postroad",
        description="Event microservices over RabbitMQ: run them, and look after them.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, what) in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}."
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    options = parser.parse_args()
    exit_status: int = options.run(options)
    return exit_status


if __name__ == "__main__":
    sys.exit(main())
