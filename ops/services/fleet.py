"""The programs of `postroad up`, started as the services' manifests say, also while it runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from socket import socket

import structlog

from ops.local.broker import PrivateBroker
from ops.local.supervisor import Supervisor
from ops.local.worker import Program
from ops.scaling.policy import Policy
from ops.services import code, grants, manifests, policies, programs
from ops.services.fresh_definitions import fresh_definitions
from ops.state.folder import StateFolder

log = structlog.get_logger()


@dataclass
class Fleet:
    """All programs but the sample upstream."""

    state: StateFolder
    supervisor: Supervisor
    broker: PrivateBroker
    upstream: str
    host: str
    port: int
    sockets: Sequence[socket]  # bound to the port
    max_replicas: int | None  # of a program that scales; none: nothing scales
    policies: dict[str, Policy] = field(default_factory=dict)  # of programs that have started

    def start(self) -> None:
        """Start what has not been started."""
        known = self.supervisor.names
        scaling = {} if self.max_replicas is None else policies.load()
        for program in self.programs():
            if program.name in known:
                self.supervisor.redefine(program)
                continue
            policy = scaling.get(program.name)
            if policy is not None and self.max_replicas is not None:
                policy = policy.capped(self.max_replicas)
            self.supervisor.start(program, replicas=policy.min_replicas if policy else 1)
            if policy is not None:
                self.policies[program.name] = policy

    async def renew(self) -> list[str]:
        """Bring broker and programs up to the manifests, and return the programs that are new.

        What is in no manifest any more stays until the end.

        Raises:
            BrokerError, GrantError: the broker did not take the definitions.
            ServicesFileError: a manifest or a contract is wrong; nothing was changed.
        """
        definitions = await fresh_definitions(self.state)
        await grants.import_definitions(self.state, self.broker, definitions, are_kept=False)
        self.broker.define(definitions)
        before = set(self.supervisor.names)
        manifests.read_again()
        self.start()
        return [name for name in self.supervisor.names if name not in before]

    def programs(self) -> Iterator[Program]:
        """Return the programs as they are to run here."""
        of_http = code.http_programs()
        for program in programs.programs(
            self.state,
            broker_address=self.broker.address,
            upstream=self.upstream,
            host=self.host,
            port=self.port,
        ):
            yield (
                programs.listening_on(program, self.sockets) if program.name in of_http else program
            )
