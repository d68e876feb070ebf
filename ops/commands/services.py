"""`postroad services`: who besides our own services may call them, and listen."""

import asyncio
import json
import os
import shlex
import string
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from pathlib import Path

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.local.running import absence
from ops.services import grants, programs
from ops.services.manifests import our_services
from ops.state.folder import StateFolder
from postroad.plain_text import plain
from postroad.security.rotation import LEAD_S
from postroad.topology.services import Service

EXAMPLES = """\
examples:
  postroad services add shop --calls 'catalog.products.*' --listens 'auth.login.*'
  postroad services env shop          what its environment has to say
  postroad services env shop --inline   the same where there are no files: what is in them
  postroad services env --inline      that of all our own, as the Procfile names them
  postroad services list
  postroad services revoke shop

A right is a whole name, or a prefix that ends in '.*'. Added services are kept in the state folder,
for the next 'postroad up' or 'provision' too. What runs learns of them at once, but for a broker
that others run: the command says what to do there.
"""

_AS_IT_IS = string.ascii_letters + string.digits + "/-._:@"


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(
        name: str, what: str, act: Callable[[Namespace, StateFolder], None]
    ) -> ArgumentParser:
        added = actions.add_parser(name, help=what, description=f"{what.capitalize()}.")
        add_state_argument(added)
        added.set_defaults(act=act)
        return added

    add = action("add", "add a service, or give an added one other rights", _add)
    action("list", "list all services and their rights", _list)
    env = action("env", "print what a service's environment has to say", _env)
    revoke = action("revoke", "take an added service's rights, user and keys away", _revoke)
    for with_name in (add, revoke):
        with_name.add_argument("name")
    env.add_argument("name", nargs="?")
    env.add_argument(
        "--inline", action="store_true", help="print what is in the files: secrets, a line each"
    )
    add.add_argument("--calls", metavar="METHOD", nargs="+", default=[], help="what it may call")
    add.add_argument(
        "--listens", metavar="EVENT", nargs="+", default=[], help="what it may listen to"
    )
    add.add_argument(
        "--acts-for-users",
        action="store_true",
        help="its calls of a method with a scope must carry a user's token",
    )


def run(options: Namespace) -> int:
    """Do what the arguments ask for; give the exit status."""
    options.act(options, StateFolder(options.state))
    return 0


def _add(options: Namespace, state: StateFolder) -> None:
    if not options.calls and not options.listens:
        raise CommandError("say what it may do, by --calls or --listens")
    service = Service(
        calls=tuple(options.calls),
        listens=tuple(options.listens),
        acts_for_users=options.acts_for_users,
    )
    begins_at_once = asyncio.run(grants.add(state, options.name, service))
    when = "from now on" if begins_at_once else grants.from_when(state)
    print(f"{options.name} may {_rights(service)}, {when}.")
    print("\nIts team needs these files, over a way that nobody else reads, and the broker:\n")
    environment = grants.environment(state, options.name)
    _show(environment, indent="  ")
    if "BROKER_URLS" not in environment:
        print(f"  and BROKER_URLS, from 'postroad services env {options.name}' when it runs")
    print(
        f"\nThe user at the broker is {options.name}. The trust bundle (TRUST_FILE) is no secret,"
        f"\nbut changes when keys do: a copy of it has to follow within {LEAD_S:.0f} s."
        "\ndocs/direct-publishers.md says how to go on."
    )


def _list(_options: Namespace, state: StateFolder) -> None:
    if not state.folder.is_dir():
        raise CommandError(f"there is no folder {state.folder}; 'postroad up' makes it")
    ours = our_services().root
    for name, service in [*ours.items(), *programs.noted_services(state).root.items()]:
        print(f"{name}{'' if service is ours.get(name) else ' (added)'}")
        for what, rights in (
            ("calls", service.calls),
            ("publishes", service.publishes),
            ("listens to", service.listens),
        ):
            if rights:
                print(f"  {what:10} {', '.join(rights)}")
    programs.allowed_services(state)  # the last word, when one of them keeps `up` from starting


def _env(options: Namespace, state: StateFolder) -> None:
    if options.name is None and not options.inline:
        raise CommandError("name a service; or print all of our own with --inline")
    if options.name and options.name not in programs.allowed_services(state).root:
        raise CommandError(f"no service {options.name}; 'postroad services list' names them")
    if options.inline:
        contents = _contents(state, options.name) if options.name else _all_contents(state)
        for variable, content in contents.items():
            if not (content.isascii() and content.isprintable()):
                raise CommandError(f"{variable} is not one line of ASCII: it has to stay a file")
            print(f"{variable}={content}")
        return
    environment = grants.environment(state, options.name)
    if "BROKER_URLS" not in environment:
        raise CommandError(absence(state))
    _show(environment)


def _revoke(options: Namespace, state: StateFolder) -> None:
    deleted = asyncio.run(grants.revoke(state, options.name))
    is_running = deleted is not None
    done = "and its connections are closed" if is_running else "and has no keys any more"
    print(f"{options.name} is revoked {done}")
    for leaving in deleted or ():
        print(plain(f"deleted at the broker: {leaving}"))
    if not is_running and grants.is_provisioned(state):
        print(f"its connections end at the broker, by 'rabbitmqctl delete_user {options.name}'")


def _show(environment: Mapping[str, str], *, indent: str = "") -> None:
    for variable, value in environment.items():
        print(f"{indent}export {variable}={_quoted(value)}")


def _quoted(value: str) -> str:
    """Quote a value so that any shell reads the same, whatever standard output can show."""
    if value.isascii() and value.isprintable():
        return shlex.quote(value)
    octal = (
        f"\\{byte:03o}" if chr(byte) not in _AS_IT_IS else chr(byte) for byte in os.fsencode(value)
    )
    return f"\"$(printf '{''.join(octal)}')\""


def _all_contents(state: StateFolder) -> dict[str, str]:
    """Give those of our own services for one environment that all of them see."""
    found: dict[str, str] = {}
    for name in our_services().names:
        for variable, content in _contents(state, name).items():
            found[variable if variable == "TRUST" else f"{name.upper()}_{variable}"] = content
    return found


def _contents(state: StateFolder, name: str) -> dict[str, str]:
    """Give what is in a service's files, each in one line."""
    try:
        return {
            "BROKER_PASSWORD": state.password_file(name).read_text().strip(),
            "IDENTITY": _in_one_line(state, state.identity_file(name)),
            "TRUST": _in_one_line(state, state.trust_file),
        }
    except FileNotFoundError as error:
        raise CommandError(f"no {error.filename}; 'postroad provision' makes it") from None


def _in_one_line(state: StateFolder, file: Path) -> str:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise CommandError(state.broken(file, "it is not JSON")) from error
    return json.dumps(content, separators=(",", ":"))


def _rights(service: Service) -> str:
    kinds = (("call", service.calls), ("listen to", service.listens))
    return " and ".join(f"{what} {', '.join(rights)}" for what, rights in kinds if rights)
