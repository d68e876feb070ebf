"""`postroad provision`: before the services: keys, passwords, certificates, broker definitions.

It is for containers and servers; `postroad up` does the same for itself, but for certificates. What
is there already is kept, so it may run before each start; certificates that end within a year are
renewed, so it has to run once a year where they are used. `ops.state.folder` shows the folder: each
reader has a folder of its own in it, to be mounted, or copied to another server, alone. Services
that were added to it (`postroad services`) are provided for like our own.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from ops.commands.arguments import add_state_argument
from ops.services import grants
from ops.services.manifests import manifests
from ops.services.operator import OPERATOR, operator_rights
from ops.services.programs import allowed_services, broker_definitions, write_trust
from ops.state import credentials
from ops.state.database_roles import roles
from ops.state.folder import StateFolder
from postroad.topology.definitions import Definitions, QueueType
from postroad.topology.services import Services
from postroad.urls import read_host

# As docker-compose.yml names them, and deploy/kubernetes for who asks from another namespace.
BROKER_HOSTS = ("broker", "broker-2", "broker-3", "broker.postroad.svc", "localhost")


def add_arguments(parser: ArgumentParser) -> None:
    add_state_argument(parser, "folder to keep things in")
    parser.add_argument(
        "--broker-host",
        action="append",
        type=_host,
        metavar="HOST",
        help="a name or address of the broker, for its certificate; more than one may be given "
        f"({', '.join(BROKER_HOSTS)})",
    )
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="for a cluster of brokers: keep requests, too, in queues with copies on several "
        "nodes; a broker that has its queues already does not change them",
    )
    parser.add_argument(
        "--operator",
        action="store_true",
        help="make the service as which people call and move dead letters, too",
    )


def _host(text: str) -> str:
    try:
        read_host(text.removeprefix("*."))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} {error}") from None
    return text


def run(options: Namespace) -> int:
    """Make what is missing; give the exit status."""
    state = StateFolder(options.state)
    with state.held("postroad provision"), state.changing():
        if options.operator:
            grants.note(state, OPERATOR, operator_rights())
        services = allowed_services(state)
        queue_type: QueueType = "quorum" if options.cluster else "classic"
        state.write_definitions(provision(state, services, rpc_queue_type=queue_type))
        new = credentials.certificates(state, services.names, options.broker_host or BROKER_HOSTS)
        state.server_secrets()
        state.write_roles(
            roles(
                {
                    each.name: state.database_password(each.name)
                    for each in manifests()
                    if each.database is not None
                }
            )
        )
    print(f"keys, passwords and broker definitions for {', '.join(services.names)} are in place")
    if new:
        print(f"new certificates for {', '.join(new)}")
    return 0


def provision(
    state: StateFolder, services: Services, *, rpc_queue_type: QueueType = "classic"
) -> Definitions:
    """Make each service's keys and password, unless they are there, and tell all of all.

    Gives what the broker imports: topology, users and their hashed passwords.

    Raises:
        StateError: a file cannot be made or is broken.
    """
    write_trust(state, services)
    return broker_definitions(state, services, rpc_queue_type=rpc_queue_type)
