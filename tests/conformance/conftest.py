"""One who publishes, and one who listens."""

from collections.abc import AsyncIterator

import pytest

from postroad.messaging.publishing import MessagePublisher
from tests.conformance.listening import Ear, Keys, listening, telling
from tests.support.brokers import BrokerUnderTest


@pytest.fixture
async def publisher(broker: BrokerUnderTest, keys: Keys) -> AsyncIterator[MessagePublisher]:
    async with telling(broker, keys["auth"]) as publisher:
        yield publisher


@pytest.fixture
async def ear(broker: BrokerUnderTest, keys: Keys) -> AsyncIterator[Ear]:
    async with listening(broker, keys["bridge"]) as ear:
        yield ear
