"""All commands of `postroad`: what each is for, how it is called, and how it fails."""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from ops.commands import errors
from ops.terminal import interrupts
from ops.terminal.interrupts import INTERRUPTED

EXAMPLES = """\
examples:
  postroad new service shipments --method create --method get --database --http
  postroad up                                   everything here, with a sample catalogue
  postroad up --port 8080 --max-replicas 2      on another port, on a small machine
  postroad up --reload                          restarts programs whose code changes
  postroad up --upstream https://dummyjson.com  with somebody else's catalogue
  postroad status --watch                       queues, processes, and why as many
  postroad call catalog.products.list limit=5   ask a service, through the queue
  postroad shell                                a Python prompt: await call(ListProducts(limit=2))
  postroad tail events 'auth.login.*'           see who signs in
  postroad logs --level warning                 what all processes log, and go on logging
  postroad trace 018f…                          where the time of one request went
  postroad doctor                               is anything wrong?
  postroad dead-letters list                    what was refused or failed, and why
  postroad dead-letters show --n 1 --json | postroad test-from - > tests/unit/test_mended.py
  postroad services add shop --calls 'catalog.products.*'
  postroad users add reader --role operator     asks for the password
  postroad keys rotate                          new keys for all, while they run
  postroad contracts diff docs/released/asyncapi-0.1.0.json
  postroad move-broker check --from amqp://old/postroad --to amqp://new/postroad
  postroad definitions | jq .queues             what the broker is told
"""

# Each has a module beside this one, which is imported when it is called.
COMMANDS = {
    "new": "write a service that runs, with its tests",
    "up": "run the whole system on this machine, until Ctrl-C",
    "restart": "start a program of the running system anew, and drain the old processes",
    "status": "show queues, processes and scaling decisions of the running system",
    "call": "send a signed request through the running system, and print the reply",
    "shell": "try the services from Python, with a client that is connected",
    "sync": "bring the stored catalogue up to date, and see how it goes",
    "tail": "see events as they happen, until Ctrl-C",
    "logs": "see what all processes log, until Ctrl-C",
    "trace": "show what one request set off, and how long each step took",
    "doctor": "say what is wrong with the running system, and what to do about it",
    "dead-letters": "look at what was refused or failed, and move it",
    "explain": "say why a captured message is refused",
    "test-from": "write a test of the message that a handler failed on",
    "services": "let services of other teams call ours, and listen",
    "users": "add, list, disable and import who may sign in",
    "keys": "show the services' keys, or give them new ones",
    "move-broker": "take the running system to another broker",
    "provision": "make keys, passwords and broker definitions for containers, servers",
    "definitions": "print the broker's definitions, without passwords",
    "contracts": "show the contracts as AsyncAPI, or what a change of them breaks",
}

_MODULES = {"test-from": "from_letter"}  # where it is not the command's name: test_… is a test


class _Parser(ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help says more\n")

    def parse_known_args(  # type: ignore[override]  # of two overloads, the one that is used
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        """Complain of what a subcommand does not know by its own name, not by the whole's."""
        known, strange = super().parse_known_args(args, namespace)
        if strange:
            self.error(f"unrecognized arguments: {' '.join(strange)}")
        return known, strange


def module_of(command: str) -> str:
    """Return the name of a command's module."""
    return f"ops.commands.{_MODULES.get(command, command.replace('-', '_'))}"


def run_command(arguments: Sequence[str]) -> int:
    """Run the command that arguments name, and return its exit status."""
    return run(parse(arguments))


def run(options: Namespace) -> int:
    """Run a command, and return its exit status; what is expected to fail is one sentence."""
    try:
        with interrupts.raising():
            status: int = options.run(options)
            return status
    except KeyboardInterrupt:
        if options.when_interrupted:
            print(f"\npostroad: {options.when_interrupted}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads any more: ops.cli
        raise
    except errors.expected() as error:
        print(f"postroad: {errors.sentence(error)}", file=sys.stderr)
        return errors.exit_status(error)


def parse(arguments: Sequence[str]) -> Namespace:
    """Read arguments, and import the command that they name."""
    parser = _Parser(
        prog="postroad",
        description="Event microservices over RabbitMQ: run them, and look after them.",
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    called = next((each for each in arguments if not each.startswith("-")), None)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}."
        )
        if name == called:
            module = import_module(module_of(name))
            subparser.set_defaults(run=module.run, when_interrupted=None)
            module.add_arguments(subparser)
    return parser.parse_args(arguments)
