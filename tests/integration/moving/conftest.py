"""Two brokers for all tests of moves."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.integration.moving.brokers import Moving, Old
from tests.support.nodes import running_node


@pytest.fixture(scope="package")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moving]:
    old = Old(tmp_path_factory.mktemp("state"))
    asyncio.run(old.broker.start())
    try:
        with running_node() as new:
            yield Moving(old, new)
    finally:
        old.broker.kill()


@pytest.fixture
def moving(brokers: Moving) -> Iterator[Moving]:
    """Both brokers, while everybody uses the old one."""
    brokers.begin()
    urls = brokers.old_url, brokers.new_url
    yield brokers
    brokers.old_url, brokers.new_url = urls
