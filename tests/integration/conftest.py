"""A database of each kind, and a broker that a module's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postroad.ids import new_id
from postroad.topology.definitions import definitions
from postroad.topology.services import Services
from tests.support.brokers import RabbitUnderTest
from tests.support.nodes import Node
from tests.support.postgres import Server, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of this test alone; the test runs with either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server: Server = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop_database(url)


@pytest.fixture(scope="module")
def unchanged_broker(
    node: Node, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitUnderTest]:
    """A virtual host for all tests of a module that change nothing in it."""
    folder = tmp_path_factory.mktemp("unchanged")
    broker = RabbitUnderTest(node, definitions(services), f"unchanged-{new_id()}", folder)
    broker.import_definitions()
    yield broker
    node.management.delete_vhost(broker.vhost)
