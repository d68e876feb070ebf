"""Fixtures for everybody: keys, an in-memory broker, and a real RabbitMQ."""

import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog

from postroad.context import current_context
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.testing import make_keys
from postroad.topology.definitions import Definitions, definitions
from postroad.topology.manifest import find_services
from postroad.topology.services import Services
from tests.support.brokers import (
    BrokerUnderTest,
    MemoryUnderTest,
    RabbitUnderTest,
    rabbit_under_test,
)
from tests.support.nodes import Node, running_node
from tests.support.side_by_side import ModuleScheduling, skips, turn, watches_time, workers_for
from tests.support.vhosts import Vhosts

ROOT = Path(__file__).parents[1]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # so it is in the background of a shell, and would be for the commands that tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["no_proxy"] = "127.0.0.1,localhost,::1"  # all that tests ask is on this machine

LOGGING = structlog.get_config()  # before any fixture has run a command

OpenBroker = Callable[[Definitions], Awaitable[BrokerUnderTest]]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return workers_for(config)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ModuleScheduling:
    return ModuleScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=watches_time)  # last: they wait until no other runs


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # modules and tests stay; going through them again took a tenth of the unit tests


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with turn(item):
        return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if skipped := terminalreporter.stats.get("skipped"):
        terminalreporter.write_line(skips(skipped))


@pytest.fixture(autouse=True)
def nothing_goes_wrong_behind_the_scenes(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which an exception went to the event loop, where nobody sees it."""
    yield
    errors = [record for record in caplog.get_records("call") if record.name == "asyncio"]
    assert not errors, [record.getMessage() for record in errors]


@pytest.fixture(autouse=True)
def logging_stays_as_it_was() -> Iterator[None]:
    """Undo what a command that a test or its fixtures run in this process does to logging."""
    yield
    structlog.configure(**LOGGING)


@pytest.fixture(autouse=True)
def no_request_goes_on() -> Iterator[None]:
    """Fail a test after which others would be in the midst of its request, until its deadline."""
    yield
    assert current_context.get(None) is None


@pytest.fixture(scope="session")
def services() -> Services:
    return find_services(ROOT)


@pytest.fixture
def topology(services: Services) -> Definitions:
    """What the broker imports; a test may change its own copy."""
    return definitions(services)


@pytest.fixture(scope="session")
def keys(services: Services) -> dict[str, KeyRing]:
    """Each service's keys, by its name."""
    return make_keys(services)


@pytest.fixture(scope="session")
def identities(keys: dict[str, KeyRing]) -> dict[str, Identity]:
    return {name: ring.identity for name, ring in keys.items()}


@pytest.fixture(scope="session")
def trust(keys: dict[str, KeyRing]) -> TrustBundle:
    return keys["bridge"].trust


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    with running_node() as node:
        yield node


@pytest.fixture(scope="session")
def vhosts(node: Node) -> Vhosts:
    return Vhosts(node)


@pytest.fixture
def memory_broker(topology: Definitions) -> MemoryUnderTest:
    return MemoryUnderTest(topology)


@pytest.fixture
async def rabbit_broker(
    vhosts: Vhosts, topology: Definitions, tmp_path: Path
) -> AsyncIterator[RabbitUnderTest]:
    """A virtual host of the real RabbitMQ, of this test alone."""
    async with rabbit_under_test(vhosts, topology, tmp_path) as broker:
        yield broker


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.integration)])
def vhosts_if_real(request: pytest.FixtureRequest) -> Vhosts | None:
    """Run a test twice: without a node, and with one."""
    if request.param == "memory":
        return None
    real: Vhosts = request.getfixturevalue("vhosts")
    return real


@pytest.fixture
async def open_broker(vhosts_if_real: Vhosts | None, tmp_path: Path) -> AsyncIterator[OpenBroker]:
    """Make brokers with a test's own definitions; the test runs with either kind of broker."""
    async with AsyncExitStack() as opened:

        async def open_one(definitions: Definitions) -> BrokerUnderTest:
            if vhosts_if_real is None:
                return MemoryUnderTest(definitions)
            rabbit = rabbit_under_test(vhosts_if_real, definitions, tmp_path)
            return await opened.enter_async_context(rabbit)

        yield open_one


@pytest.fixture
async def broker(open_broker: OpenBroker, topology: Definitions) -> BrokerUnderTest:
    """A broker with the product's own definitions, of either kind."""
    return await open_broker(topology)
