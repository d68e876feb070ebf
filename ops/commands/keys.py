"""`postroad keys`: which keys the services have, and new ones without a request refused."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import suppress
from datetime import UTC, datetime
from time import time

from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.state.folder import StateFolder
from postroad.security.files import write_private_together
from postroad.security.keys import Identity, PublicKey, TrustBundle
from postroad.security.rotation import LEAD_S, OVERLAP_S, rotate, trust_rotated

_LEAD_MAX_S = 86_400


def add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show each service's keys")
    listing.set_defaults(action=_list)
    rotating = actions.add_parser(
        "rotate",
        help="give a service, or all, new keys",
        description="Give a service, or all of them, new keys. They are used a little later; the "
        f"old ones are accepted for {OVERLAP_S / 60:.0f} minutes after that, those of events and "
        "jobs for as long as one may wait in a queue. The services notice by themselves.",
    )
    rotating.add_argument("service", nargs="?", help="the service (all of them)")
    rotating.add_argument(
        "--lead",
        type=_lead,
        default=LEAD_S,
        metavar="SECONDS",
        help="time for the new files to reach everybody, before which no new key is used "
        "(%(default).0f)",
    )
    rotating.set_defaults(action=_rotate)
    for action in (listing, rotating):
        add_state_argument(action)


def _lead(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (seconds := float(text)) <= _LEAD_MAX_S:  # NaN is not
            return seconds
    raise ArgumentTypeError(f"must be from 0 to {_LEAD_MAX_S} seconds, not {text!r}")


def run(options: Namespace) -> int:
    """List or rotate; give the exit status."""
    state = StateFolder(options.state)
    options.action(options, state, TrustBundle.load(state.trust_file))
    return 0


def _list(_options: Namespace, _state: StateFolder, trust: TrustBundle) -> None:
    now = time()
    for name, service in trust.services.items():
        print(name)
        for key in service.keys:
            print(f"  {key.purpose:10} {key.kid:36} {_standing(key, now)}")


def _rotate(options: Namespace, state: StateFolder, trust: TrustBundle) -> None:
    names = [options.service] if options.service else list(trust.services)
    if unknown := [name for name in names if name not in trust.services]:
        raise CommandError(f"no service {unknown[0]}; there are {', '.join(trust.services)}")
    with state.changing():
        trust = TrustBundle.load(state.trust_file)
        identities = {name: Identity.load(state.identity_file(name)) for name in names}
        for name in names:
            renewed = rotate(identities[name], lead_s=options.lead)
            trust = trust_rotated(trust, renewed)
            # The keys first: their owner must be able to read what others send. Both or none:
            # nobody may sign with a key that others never hear of.
            files = {
                state.identity_file(name): renewed.to_json(),
                state.trust_file: trust.model_dump_json(indent=1),
            }
            with state.usable(state.trust_file):
                write_private_together(files)
    print(f"new keys for {', '.join(names)}, in use in {options.lead:.0f} s")


def _standing(key: PublicKey, now: float) -> str:
    if not key.is_accepted(now):
        return "retired"
    if key.active_from > now:
        return f"in use from {_time(key.active_from)}"
    if key.retires_at is not None:
        return f"accepted until {_time(key.retires_at)}"
    return "in use"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
