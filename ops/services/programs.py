"""The programs of `postroad up`: how each is started, and what its environment says."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from socket import socket

from ops.local.ports import LOOPBACK
from ops.local.worker import Program
from ops.services.manifests import manifests, our_services
from ops.state import credentials
from ops.state.folder import StateFolder
from postroad.settings import CONTENTS
from postroad.topology.definitions import Definitions, QueueType, definitions, with_passwords
from postroad.topology.manifest import Manifest
from postroad.topology.names import SCALER, VHOST
from postroad.topology.services import (
    Services,
    ServicesFileError,
    trust_bundle,
    without_stale_rights,
)

OPERATOR = "operator"  # the service that people act as; made when it is first needed
_FOR_SUPERVISOR = {"PYTHONUNBUFFERED": "1", "LOG_FORMAT": "json"}  # it shows logs to people


def allowed_services(state: StateFolder) -> Services:
    """Put our own services and those added to the state folder together.

    Raises:
        ServicesFileError: one of the two files is wrong, or both name a service.
    """
    return with_our_own(state, added_services(state))


def with_our_own(state: StateFolder, added: Services) -> Services:
    """Put our own services and added ones together, as ``allowed_services`` does."""
    ours = our_services()
    if both := sorted(ours.root.keys() & added.root.keys()):
        raise ServicesFileError(
            f"{state.services_file}: {both[0]} is one of our own services; the keys of the one "
            f"that was added have to go: 'postroad services revoke {both[0]}'"
        )
    return Services(ours.root | added.root)


def added_services(state: StateFolder) -> Services:
    """Read which services have been added to the state folder.

    Raises:
        ServicesFileError: its file is wrong.
    """
    added = noted_services(state)
    try:
        added.check()
    except ServicesFileError as error:
        raise ServicesFileError(
            f"{state.services_file}: {error}; correct it there, or take the service out with "
            "'postroad services revoke NAME'"
        ) from error
    return added


def noted_services(state: StateFolder) -> Services:
    """Read which services have been added, also those whose rights are to what is no more.

    The operator's are renewed by who acts as it next; until then it has what is left of them.

    Raises:
        ServicesFileError: the file cannot be read.
    """
    if not state.services_file.exists():
        return Services({})
    try:
        noted = Services.read(state.services_file.read_text())
    except OSError as error:
        raise ServicesFileError(f"cannot read {state.services_file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ServicesFileError(
            f"{state.services_file} is not UTF-8; put a copy of it back, or correct it there"
        ) from error
    except ServicesFileError as error:
        raise ServicesFileError(f"{state.services_file}: {error}; correct it there") from error
    return Services(
        {
            name: without_stale_rights(service) if name == OPERATOR else service
            for name, service in noted.root.items()
        }
    )


def write_trust(state: StateFolder, allowed: Services) -> None:
    """Write what every service reads to know the others; keys that are missing are made.

    Raises:
        StateError: the state folder cannot be used.
    """
    state.write_trust(
        trust_bundle(allowed, [credentials.identity(state, name) for name in allowed.names])
    )


def broker_definitions(
    state: StateFolder, allowed: Services, *, rpc_queue_type: QueueType = "classic"
) -> Definitions:
    """Give what the broker imports; passwords that are missing are made.

    Raises:
        StateError: the state folder cannot be used.
    """
    passwords = {name: state.password(name) for name in (*allowed.names, SCALER)}
    return with_passwords(definitions(allowed, rpc_queue_type=rpc_queue_type), passwords)


def messaging_environment(state: StateFolder, service: str, broker_address: str) -> dict[str, str]:
    """Say by environment variables how a service reaches the broker, and with which keys."""
    return {"BROKER_URLS": f"amqp://{broker_address}/{VHOST}"} | key_files(state, service)


def key_files(state: StateFolder, service: str) -> dict[str, str]:
    """Say by environment variables who a service is; by a certificate too, where it has one."""
    files = {
        "BROKER_PASSWORD_FILE": state.password_file(service),
        "IDENTITY_FILE": state.identity_file(service),
        "TRUST_FILE": state.trust_file,
    }
    tls = state.own_folder(service) / "tls"
    if tls.exists():
        files |= {
            "BROKER_CA_FILE": tls / "ca.pem",
            "BROKER_CERTIFICATE_FILE": tls / "certificate.pem",
            "BROKER_KEY_FILE": tls / "key.pem",
        }
    return {variable: str(file) for variable, file in files.items()}


def sample_upstream(port: int) -> Program:
    """Give the bundled catalogue server."""
    arguments = ("--host", LOOPBACK, "--port", str(port))
    return _program("upstream", "sample_api", *arguments, env={})


def sign_in_environment(state: StateFolder) -> dict[str, str]:
    """Return which users can sign in to what `postroad up` runs, as environment variables."""
    return {
        "POSTROAD_ENV": "development",
        "AUTH_DATABASE_URL": f"sqlite:///{state.users_file}",
    }


def development_environment(manifest: Manifest, **places: object) -> dict[str, str]:
    """Return the settings of a service in what `postroad up` runs, as environment variables.

    Raises:
        ServicesFileError: its manifest names a place that there is not.
    """
    try:
        settings = {
            name: template.format_map(places) for name, template in manifest.development.items()
        }
    except (KeyError, ValueError, IndexError) as error:
        raise ServicesFileError(
            f"{manifest.name}: [development]: {error}; it may name {', '.join(sorted(places))}"
        ) from error
    return {"POSTROAD_ENV": "development"} | settings


def programs(
    state: StateFolder, *, broker_address: str, upstream: str, host: str, port: int
) -> Iterator[Program]:
    """Give the programs, in the order in which they start."""
    for each in manifests():
        env = messaging_environment(state, each.name, broker_address) | development_environment(
            each, state=state.folder, upstream=upstream, host=host, port=port
        )
        for name, program in each.programs.items():
            yield _program(name, program.module, env=env, has_metrics=True)


def listening_on(program: Program, sockets: Sequence[socket]) -> Program:
    """Have the bridge listen on sockets that it inherits: connections wait while it is replaced."""
    descriptors = [each.fileno() for each in sockets]
    env = {**program.env, "BRIDGE_FDS": json.dumps(descriptors)}
    return replace(program, env=env, descriptors=descriptors)


def overridden(started: Iterable[Program]) -> list[str]:
    """Name the variables of our environment of which programs get another value from us."""
    return sorted(
        {
            name
            for program in started
            for name in program.env.keys() & os.environ.keys()
            if program.env[name] != os.environ[name]
        }
        - _FOR_SUPERVISOR.keys()
    )


def _program(
    name: str, module: str, *arguments: str, env: dict[str, str], has_metrics: bool = False
) -> Program:
    """Give a program; what the user set in the environment reaches it unless we must differ."""
    ours = {"POSTROAD_ENV": "development", **_FOR_SUPERVISOR}
    others = dict.fromkeys((content.upper() for content in CONTENTS), "")  # its keys are in files
    return Program(
        name,
        (sys.executable, "-P", "-m", module, *arguments),  # -P: imports nothing from where we are
        {**os.environ, **ours, **others, **env},
        has_metrics,
    )
