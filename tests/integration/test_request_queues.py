"""Queues of requests as a cluster has them, and as a broker has them that became one's node."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.local.broker import PrivateBroker
from postroad.topology.definitions import QueueType, definitions
from postroad.topology.names import VHOST, rpc_queue
from postroad.topology.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(tmp_path: Path, services: Services) -> Iterator[PrivateBroker]:
    broker = PrivateBroker(tmp_path, definitions(services))
    yield broker
    broker.kill()


async def policies(broker: PrivateBroker) -> dict[str, tuple[str, str]]:
    """The type and the policy of each queue of requests."""
    columns = ("name", "type", "policy")
    told = await broker.ctl("list_queues", "-p", VHOST, *columns, "--no-table-headers")
    rows = [line.split("\t") for line in told.splitlines()]
    return {name: (kind, policy) for name, kind, policy in rows if name.startswith("rpc.")}


@pytest.mark.parametrize(("kind", "policy"), [("classic", "rpc"), ("quorum", "rpc.quorum")])
def test_every_queue_of_requests_has_a_policy_of_its_kind(
    broker: PrivateBroker, services: Services, kind: QueueType, policy: str
) -> None:
    broker.define(definitions(services, rpc_queue_type=kind))

    asyncio.run(broker.start())

    assert asyncio.run(policies(broker)) == {
        rpc_queue(name): (kind, policy) for name in ("auth", "catalog")
    }


def test_a_classic_queue_of_before_keeps_its_bounds_in_a_cluster(
    broker: PrivateBroker, services: Services
) -> None:
    asyncio.run(broker.start())
    asyncio.run(broker.stop())
    broker.define(definitions(services, rpc_queue_type="quorum"))

    asyncio.run(broker.start())

    assert asyncio.run(policies(broker)) == {
        rpc_queue(name): ("classic", "rpc") for name in ("auth", "catalog")
    }
