"""The whole system, each program behind a proxy of its own and with a clock that can be moved."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from ops.commands.provision import provision
from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK
from ops.services import programs
from postroad.settings import MessagingSettings
from postroad.topology.definitions import Definitions, QueueType, with_passwords
from postroad.topology.names import VHOST
from tests.e2e import system as e2e
from tests.faults.brokers.cluster import make_whole
from tests.faults.brokers.container import ContainerNode
from tests.faults.brokers.containers import containers
from tests.faults.brokers.interface import Brokers
from tests.faults.brokers.own import OwnNode
from tests.faults.proxy import Line
from tests.support.nodes import ADMIN, ADMIN_PASSWORD

BRIDGE = "http_bridge"
CALLERS = "callers"  # the proxy of those who call without the bridge
WORKERS = ("auth_worker", "catalog_worker", "auth_audit", "catalog_sync")
OPERATOR = {"username": "admin", "password": "admin"}  # of development
PAGE_SIZE = 10
PRODUCTS = 120
PROGRAM_REPLICAS = {"catalog_worker": 2, "catalog_sync": 2}
MORE_PATIENCE_S = 4.0  # so that a late answer is seen to be one
WAITS_MS = (500, 1_000, 2_000, 10_000)  # those of the product are 1, 10, 60 and 600 s
# `shop` and `till` call and listen, `gate` reports sign-ins at another door.
SERVICES = """
[shop]
calls = ["catalog.products.*", "auth.profiles.get"]
listens = ["auth.login.*"]

[till]
calls = ["catalog.products.*"]

[gate]
publishes = ["auth.login.*"]
"""
_DELETE = """
Replies = rabbit_misc:r(<<"postroad">>, exchange, <<"rpc.replies">>),
Owned = [Q || Binding <- rabbit_binding:list_for_source(Replies),
         string:prefix(element(3, Binding), <<"PREFIX">>) =/= nomatch,
         {ok, Q} <- [rabbit_amqqueue:lookup(element(4, Binding))]],
[rabbit_amqqueue:delete(Q, false, false, <<"faults">>) || Q <- Owned],
length(Owned).
"""
SETTINGS = {
    "BRIDGE_TIMEOUT_S": str(e2e.TIMEOUT_S),
    "CATALOG_CACHE_FRESH_S": "0",
    "CATALOG_CACHE_REFRESH_S": "0",
    "CATALOG_CACHE_STALE_S": "0",
    "CATALOG_BREAKER_REST_S": "1",
    "CATALOG_SYNC_PAGE_SIZE": str(PAGE_SIZE),
    **{f"AUTH_{name}".upper(): str(value) for name, value in e2e.CHEAP_ARGON2.items()},
}
_CLOCK_FOLDER = Path(__file__).parent / "clock"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which brokers: ``count`` nodes from containers, or without an image the machine's own."""

    image: str = ""
    count: int = 1

    @property
    def is_cluster(self) -> bool:
        return self.count > 1


class System(e2e.System):
    """What `postroad up` runs, and what goes between its parts."""

    brokers: Brokers
    nodes: list[ContainerNode]  # the same, when they are containers

    def __init__(self, folder: Path, choice: Choice) -> None:
        self.choice = choice
        super().__init__(folder)
        self.log = folder / "services.log"
        self.operator = OPERATOR  # who renews the catalogue
        self.timeout_s = e2e.TIMEOUT_S  # that a caller gives
        self.auth_url = f"sqlite:///{self.state.users_file}"
        self.catalog_url = f"sqlite:///{self.state.catalog_file}"
        self.clocks = folder / "clocks"
        self.folder_of_nodes = folder / "nodes"
        self.proxies: dict[str, Line] = {}
        self._context = AsyncExitStack()

    def _make_broker(self) -> PrivateBroker:
        with self.state.held("faults"):
            self.state.write_services(SERVICES)
            self._note_more()
            self.allowed = programs.allowed_services(self.state)
            queue_type: QueueType = "quorum" if self.choice.is_cluster else "classic"
            wanted = provision(self.state, self.allowed, rpc_queue_type=queue_type)
        shorten_waits(wanted, WAITS_MS)
        let_us_in(wanted)
        self._definitions = wanted
        return PrivateBroker(self.state.broker_folder, wanted)

    def _note_more(self) -> None:
        """Add services besides, for who runs the system otherwise."""

    async def _start_brokers(self) -> None:
        if not self.choice.image:
            self.brokers = Brokers([OwnNode(self.broker, self.state)])
            await self.brokers.start()
            return
        made = containers(
            self.folder_of_nodes,
            self._definitions,
            count=self.choice.count,
            image=self.choice.image,
        )
        self.nodes = await self._context.enter_async_context(made)
        self.brokers = Brokers(self.nodes)
        await self.brokers.start()
        if self.choice.is_cluster:
            await make_whole(self.nodes)

    async def start(self, log: Path, **settings: str) -> None:
        """Start everything; the programs log JSON to a file."""
        await self._start_brokers()
        self._up.enter_context(self.state.held(self.url))
        self.clocks.mkdir()
        upstream = programs.sample_upstream(self.upstream_port)
        self.supervisor.start(e2e.program_with(upstream, log, {}))
        for program in programs.programs(
            self.state,
            broker_address=f"{LOOPBACK}:{self.amqp_port}",  # until the next lines
            upstream=self.upstream_url,
            host=LOOPBACK,
            port=self.port,
        ):
            self.move_clock(program.name, 0.0)
            changed = {
                "BROKER_URLS": ",".join(await self._proxied(program.name)),
                "FAULTS_CLOCK_FILE": str(self.clocks / program.name),
                "PYTHONPATH": str(_CLOCK_FOLDER),
            }
            logged = e2e.program_with(program, log, settings)
            self.supervisor.start(
                replace(logged, env={**logged.env, **changed}),
                replicas=PROGRAM_REPLICAS.get(program.name, 1),
            )
        await self._proxied(CALLERS)
        await e2e.until_ready(self.url)

    async def _proxied(self, name: str) -> tuple[str, ...]:
        """Open a program's way to the brokers; return their URLs, each program's first another."""
        ports = [node.amqp_port for node in self.brokers.nodes]
        first = len(self.proxies) % len(ports)
        self.proxies[name] = Line(ports[first:] + ports[:first])
        await self.proxies[name].open()
        return self._urls(name)

    def _urls(self, name: str) -> tuple[str, ...]:
        return tuple(f"amqp://{LOOPBACK}:{port}/{VHOST}" for port in self.proxies[name].ports)

    async def stop(self) -> None:
        await super().stop()
        for proxy in self.proxies.values():
            await proxy.shut()
        await self._context.aclose()

    @property
    def amqp_port(self) -> int:
        return self.brokers.nodes[0].amqp_port

    def move_clock(self, program: str, shift_s: float) -> None:
        """Put a program's clock so many seconds ahead of ours."""
        file = self.clocks / program
        if not file.exists():
            file.write_bytes(bytes(8))
        with file.open("r+b") as shared:  # in place: the programs have mapped it
            shared.write(struct.pack("d", shift_s))

    def browser(self) -> httpx.AsyncClient:
        """Make a browser of somebody who waits longer than anybody is promised to have to."""
        return httpx.AsyncClient(
            base_url=self.url, timeout=self.timeout_s + MORE_PATIENCE_S, trust_env=False
        )

    def settings_of(self, service: str) -> MessagingSettings:
        """Give the settings of one who calls without the bridge."""
        return MessagingSettings(
            broker_urls=self._urls(CALLERS),
            broker_password_file=self.state.password_file(service),
            identity_file=self.state.identity_file(service),
            trust_file=self.state.trust_file,
        )

    async def import_definitions(self) -> None:
        """Do what an operator does when a queue is missing."""
        await self.brokers.nodes[0].import_definitions()

    async def delete_reply_queues(self, prefix: str) -> int:
        """Delete queues of replies to addresses that begin so, which nobody may by AMQP; count."""
        printed = await self.brokers.ctl("eval", _DELETE.replace("PREFIX", prefix))
        return int(printed)

    async def in_broker(self) -> Counter[str]:
        """Count the broker's connections and channels, and its queues by the first word."""
        found: Counter[str] = Counter()
        for user in (await self.brokers.ctl("list_connections", "user")).splitlines()[1:]:
            found[f"connections of {user}"] += 1
        for user in (await self.brokers.ctl("list_channels", "user")).splitlines()[1:]:
            found[f"channels of {user}"] += 1
        listed = await self.brokers.ctl("list_queues", "-p", VHOST, "name", "consumers")
        for name, consumers in map(str.split, listed.splitlines()[1:]):
            if not name.startswith("amq.") or consumers != "0":  # postroad.broker.isolation's last
                found[f"queues {name.partition('.')[0]}"] += 1
        return found


def shorten_waits(definitions: Definitions, waits_ms: Sequence[int]) -> None:
    """Have failed work tried again sooner than the product does."""
    waits = [each for each in definitions["policies"] if each["name"].startswith("wait.")]
    for policy, ttl_ms in zip(waits, waits_ms, strict=True):
        policy["definition"]["message-ttl"] = ttl_ms


def let_us_in(definitions: Definitions) -> None:
    """Add the user as whom we look at the broker."""
    admin = {"users": [{"name": ADMIN, "tags": []}]}
    definitions["users"] += with_passwords(admin, {ADMIN: ADMIN_PASSWORD})["users"]
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    definitions["permissions"].append({"user": ADMIN, "vhost": VHOST, **everything})


@asynccontextmanager
async def running_system(folder: Path, choice: Choice) -> AsyncIterator[System]:
    """Run a system for as long as the context lasts."""
    system = System(folder, choice)
    try:
        await system.start(system.log, **SETTINGS)
        yield system
    finally:
        await asyncio.shield(system.stop())
