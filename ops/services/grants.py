"""Services that are not in this repository: added to a state folder, and to what runs on it.

They stand in its ``services.toml``, a table each. A broker that others run is not ours to tell: for
it the definitions are written that it has to import.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from time import monotonic

from ops.local.broker import BrokerError, PrivateBroker
from ops.local.running import listens, reachable_broker, running_broker
from ops.services import leavings, programs
from ops.services.manifests import our_services
from ops.state import credentials
from ops.state.folder import StateFolder
from postroad.security.files import write_private
from postroad.security.key_watch import WATCH_INTERVAL_S
from postroad.topology.definitions import Definitions, definitions
from postroad.topology.services import Service, Services

_SPREAD_S = WATCH_INTERVAL_S + 0.5  # until everybody has read a changed trust bundle
_GRANTS = ("users", "permissions", "topic_permissions")


class GrantError(Exception):
    """A service cannot be added or revoked; the message says why."""


def environment(state: StateFolder, service: str) -> dict[str, str]:
    """Say what a service's environment has to say; without BROKER_URLS when we are not told.

    A broker that `postroad up` runs on the folder comes before the one of our own environment,
    which may have stayed there from yesterday.
    """
    if broker := running_broker(state):
        return programs.messaging_environment(state, service, broker.address)
    urls = os.environ.get("BROKER_URLS")
    return ({"BROKER_URLS": urls} if urls else {}) | programs.key_files(state, service)


def is_provisioned(state: StateFolder) -> bool:
    """Tell whether `postroad provision` has run here: then the broker is one that others run."""
    return (state.authority_folder / "key.pem").exists()


def from_when(state: StateFolder) -> str:
    """Say what has to happen until those who were added while nothing ran may begin."""
    if is_provisioned(state):
        command = f"rabbitmqctl import_definitions {state.definitions_file}"
        return f"once the broker has it, by '{command}'"
    return "once 'postroad up' runs"


async def add(state: StateFolder, name: str, service: Service) -> bool:
    """Add a service, or give one that was added other rights; say whether it may begin at once.

    Raises:
        BrokerError: the broker is away; nothing was changed.
        GrantError: it is one of our own, or the broker's definitions do not take it.
        ServicesFileError: its name or its rights make no sense.
        StateError: the state folder cannot be used.
    """
    with state.changing():
        broker = reachable_broker(state)
        allowed = note(state, name, service)
        began = monotonic()
        wanted = programs.broker_definitions(state, allowed)
        if broker is None:
            if is_provisioned(state):
                _write(state, wanted)
            return False
        granted = {kind: _of(name, wanted[kind]) for kind in _GRANTS}
        await import_definitions(state, broker, granted, are_kept=True)
    await asyncio.sleep(max(0.0, began + _SPREAD_S - monotonic()))
    return True


def note(state: StateFolder, name: str, service: Service) -> Services:
    """Make an added service's keys and write down what it may do, while ``state.changing``.

    Return all services that there are. It is written down last: one whose keys cannot be made would
    keep the system from starting.

    Raises:
        GrantError, ServicesFileError, StateError: as ``add`` does.
    """
    _check_not_ours(name)
    added = programs.added_services(state).root
    changed = Services.parse(_to_toml(Services(added | {name: service})))
    allowed = programs.with_our_own(state, changed)
    state.password(name)
    if is_provisioned(state):
        credentials.certificates(state, [name])
    programs.write_trust(state, allowed)
    if added.get(name) != service:
        state.write_services(_to_toml(changed))
        state.write_revoked(state.revoked() - {name})
    return allowed


async def revoke(state: StateFolder, name: str) -> list[str] | None:
    """Take a service's rights, user and keys away, and delete what it has left at the broker.

    Return what that was, or None if nothing runs that has to learn of it.

    Raises:
        GrantError: it was never added, what runs has to be stopped first, or the broker's
            definitions cannot be read.
        ServicesFileError: the file of the added ones cannot be read.
        StateError: the state folder cannot be used.
    """
    with state.changing():
        added = programs.noted_services(state)
        if name not in added.root:
            _check_not_ours(name)
        if name not in {*added.names, *state.revoked()}:  # the broker may still know the latter
            raise GrantError(f"no service {name} was added; there are {_listed(added.names)}")
        ours = our_services().root
        broker = running_broker(state)
        if name in ours and broker is not None:  # it may be ours that runs
            raise GrantError(f"{name} is one of our own services; stop 'postroad up' first")
        rest = {other: service for other, service in added.root.items() if other != name}
        state.write_revoked(state.revoked() | {name})
        allowed = Services(rest | ours)  # of the rest, too, some may be wrong
        others = {other: each for other, each in allowed.root.items() if other != name}
        programs.write_trust(state, Services(others))  # first: nobody trusts it
        state.forget(name)
        state.write_services(_to_toml(Services(rest)))  # last: until then it can be done again
        if broker is None or not listens(broker):  # it forgets them once it is back
            if is_provisioned(state):
                _write(state, programs.broker_definitions(state, allowed))
            return None
        began = monotonic()
        deleted = await forget_revoked(state, broker, added.root)
    await asyncio.sleep(max(0.0, began + _SPREAD_S - monotonic()))
    return deleted


async def forget_revoked(
    state: StateFolder, broker: PrivateBroker, rights: Mapping[str, Service] | None = None
) -> list[str]:
    """Delete the broker users of those who have been revoked, with their connections.

    Not of those that are services again by now: they have been given new passwords. What they have
    left at the broker is deleted too, and returned: by their ``rights`` where those are still
    known, else by their names.

    Raises:
        BrokerError: the broker did not do it.
        ServicesFileError: a file of services is wrong.
    """
    known = {
        *our_services().names,
        *programs.noted_services(state).names,
    }
    deleted: list[str] = []
    wanted = definitions(our_services())
    for name in sorted(state.revoked() - known):
        try:
            await broker.ctl("delete_user", name)
        except BrokerError as error:
            if "does not exist" not in str(error):
                raise
        deleted += await leavings.delete(broker, name, (rights or {}).get(name, Service()), wanted)
    if state.revoked():
        state.write_revoked(set())
    return deleted


async def import_definitions(
    state: StateFolder,
    broker: PrivateBroker,
    granted: Mapping[str, object],
    *,
    are_kept: bool,
) -> None:
    """Add definitions to those of a running broker.

    They are kept on its disk, or else it is given them again at each start.

    Raises:
        GrantError: the broker did not take them.
    """
    file = state.broker_folder / "grant.json"
    write_private(file, json.dumps(granted))
    try:
        await broker.ctl("import_definitions", str(file))
        if are_kept:
            await broker.keep_definitions()
    except BrokerError as error:
        raise GrantError(f"the running broker did not take it: {error}") from error
    finally:
        file.unlink()


def _check_not_ours(name: str) -> None:
    if name in our_services().root:
        raise GrantError(f"{name} is one of our own services: see its service.toml")


def _write(state: StateFolder, wanted: Definitions) -> None:
    """Write users and rights for a broker that others run; its queues stay of their kind."""
    try:
        kept = json.loads(state.definitions_file.read_bytes())
    except (OSError, ValueError) as error:
        message = f"cannot read {state.definitions_file}; run 'postroad provision' again"
        raise GrantError(message) from error
    state.write_definitions(kept | {kind: wanted[kind] for kind in _GRANTS})


def _of(name: str, entries: list[dict[str, object]]) -> list[dict[str, object]]:
    return [entry for entry in entries if name in (entry.get("name"), entry.get("user"))]


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _to_toml(added: Services) -> str:
    """Write services as TOML; a list of plain strings is the same in JSON."""
    lines = ["# written by `postroad services`"]
    for name, service in added.root.items():
        rights = service.model_dump(exclude_defaults=True)
        lines += ["", f"[{json.dumps(name)}]"]
        lines += [f"{field} = {json.dumps(value)}" for field, value in rights.items()]
    return "\n".join(lines) + "\n"
