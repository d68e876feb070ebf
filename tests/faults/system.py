"""The whole system, each program behind a proxy of its own and with a clock that can be moved."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from ops.commands.provision import provision
from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK
from ops.services import programs
from postroad.settings import MessagingSettings
from postroad.topology.definitions import Definitions, with_passwords
from postroad.topology.names import VHOST
from tests.e2e import system as e2e
from tests.faults.proxy import Proxy
from tests.support.nodes import ADMIN, ADMIN_PASSWORD

BRIDGE = "http_bridge"
CALLERS = "callers"  # the proxy of those who call without the bridge
WORKERS = ("auth_worker", "catalog_worker", "auth_audit", "catalog_sync")
PAGE_SIZE = 10
PRODUCTS = 120
PROGRAM_REPLICAS = {"catalog_worker": 2, "catalog_sync": 2}
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
_CLOCK_FOLDER = Path(__file__).parent / "clock"


class System(e2e.System):
    """What `postroad up` runs, and what goes between its parts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.log = folder / "services.log"
        self.clocks = folder / "clocks"
        self.proxies: dict[str, Proxy] = {}

    def _make_broker(self) -> PrivateBroker:
        with self.state.held("faults"):
            self.state.write_services(SERVICES)
            self.allowed = programs.allowed_services(self.state)
            wanted = provision(self.state, self.allowed)
        _shorten_waits(wanted)
        admin = {"users": [{"name": ADMIN, "tags": []}]}
        wanted["users"] += with_passwords(admin, {ADMIN: ADMIN_PASSWORD})["users"]
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        wanted["permissions"].append({"user": ADMIN, "vhost": VHOST, **everything})
        return PrivateBroker(self.state.broker_folder, wanted)

    async def start(self, log: Path, **settings: str) -> None:
        """Start everything; the programs log JSON to a file."""
        await self.broker.start()
        self.announce()
        self.clocks.mkdir()
        upstream = programs.sample_upstream(self.upstream_port)
        self.supervisor.start(e2e.program_with(upstream, log, {}))
        for program in programs.programs(
            self.state,
            broker_address=self.broker.address,
            upstream=self.upstream_url,
            host=LOOPBACK,
            port=self.port,
        ):
            self.move_clock(program.name, 0.0)
            changed = {
                "BROKER_URLS": await self._proxied(program.name),
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

    async def _proxied(self, name: str) -> str:
        proxy = self.proxies[name] = Proxy(self.broker.ports.amqp)
        await proxy.open()
        return f"amqp://{LOOPBACK}:{proxy.port}/{VHOST}"

    async def stop(self) -> None:
        await super().stop()
        for proxy in self.proxies.values():
            await proxy.shut()

    def move_clock(self, program: str, shift_s: float) -> None:
        """Put a program's clock so many seconds ahead of ours."""
        file = self.clocks / program
        if not file.exists():
            file.write_bytes(bytes(8))
        with file.open("r+b") as shared:  # in place: the programs have mapped it
            shared.write(struct.pack("d", shift_s))

    def settings_of(self, service: str) -> MessagingSettings:
        """Give the settings of one who calls without the bridge."""
        return MessagingSettings(
            broker_urls=(f"amqp://{LOOPBACK}:{self.proxies[CALLERS].port}/{VHOST}",),
            broker_password_file=self.state.password_file(service),
            identity_file=self.state.identity_file(service),
            trust_file=self.state.trust_file,
        )

    async def import_definitions(self) -> None:
        """Do what an operator does when a queue is missing."""
        await self.broker.ctl("import_definitions", str(self.state.definitions_file))
        await self.broker.keep_definitions()

    async def delete_reply_queues(self, prefix: str) -> int:
        """Delete queues of replies to addresses that begin so, which nobody may by AMQP; count."""
        printed = await self.broker.ctl("eval", _DELETE.replace("PREFIX", prefix))
        return int(printed)

    async def in_broker(self) -> Counter[str]:
        """Count the broker's connections and channels, and its queues by the first word."""
        found: Counter[str] = Counter()
        for user in (await self.broker.ctl("list_connections", "user")).splitlines()[1:]:
            found[f"connections of {user}"] += 1
        for user in (await self.broker.ctl("list_channels", "user")).splitlines()[1:]:
            found[f"channels of {user}"] += 1
        listed = await self.broker.ctl("list_queues", "-p", VHOST, "name")
        for queue in listed.splitlines()[1:]:
            found[f"queues {queue.partition('.')[0]}"] += 1
        return found


def _shorten_waits(definitions: Definitions) -> None:
    """Have failed work tried again sooner than the product does."""
    waits = [each for each in definitions["policies"] if each["name"].startswith("wait.")]
    for policy, ttl_ms in zip(waits, WAITS_MS, strict=True):
        policy["definition"]["message-ttl"] = ttl_ms


@asynccontextmanager
async def running_system(folder: Path) -> AsyncIterator[System]:
    """Run a system for as long as the context lasts."""
    system = System(folder)
    settings = {
        "BRIDGE_TIMEOUT_S": str(e2e.TIMEOUT_S),
        "CATALOG_CACHE_FRESH_S": "0",
        "CATALOG_CACHE_REFRESH_S": "0",
        "CATALOG_CACHE_STALE_S": "0",
        "CATALOG_BREAKER_REST_S": "1",
        "CATALOG_SYNC_PAGE_SIZE": str(PAGE_SIZE),
        **{f"AUTH_{name}".upper(): str(value) for name, value in e2e.CHEAP_ARGON2.items()},
    }
    try:
        await system.start(system.log, **settings)
        yield system
    finally:
        await asyncio.shield(system.stop())
