"""The services of `postroad up`: how each is started, and what its environment says."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ops.ports import LOOPBACK
from ops.state import State
from ops.supervisor import Program
from shared.messaging.topology import VHOST

SERVICES_FILE = Path(__file__).parents[1] / "rabbitmq" / "services.toml"
MODULES = {"auth": "auth_worker", "catalog": "catalog_worker", "bridge": "http_bridge"}


def sample_upstream(port: int) -> Program:
    """Give the bundled catalogue server."""
    arguments = ("--host", LOOPBACK, "--port", str(port))
    return _program("upstream", "catalog_worker.sample_upstream", *arguments, env={})


def programs(
    state: State, *, broker_address: str, upstream: str, host: str, port: int
) -> Iterator[Program]:
    """Give the services, in the order in which they start."""
    specific = {
        "auth": {"AUTH_DATABASE_URL": f"sqlite:///{state.users_file}"},
        "catalog": {"CATALOG_UPSTREAM_URL": upstream},
        "bridge": {"BRIDGE_HOST": host, "BRIDGE_PORT": str(port)},
    }
    for service, module in MODULES.items():
        messaging = {
            "BROKER_URLS": f"amqp://{broker_address}/{VHOST}",
            "BROKER_PASSWORD_FILE": str(state.password_file(service)),
            "IDENTITY_FILE": str(state.identity_file(service)),
            "TRUST_FILE": str(state.trust_file),
        }
        yield _program(service, module, env=messaging | specific[service])


def _program(name: str, module: str, *arguments: str, env: dict[str, str]) -> Program:
    """Give a program; what the user set in the environment reaches it unless we must differ."""
    defaults = {"LOG_FORMAT": "console"}
    ours = {"POSTROAD_ENV": "development", "PYTHONUNBUFFERED": "1"}
    return Program(
        name,
        (sys.executable, "-m", module, *arguments),
        {**defaults, **os.environ, **ours, **env},
    )
