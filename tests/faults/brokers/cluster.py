"""What a cluster knows of its queues: who leads them, and which nodes have a copy."""

import asyncio
import json
import time
from collections import Counter
from typing import Any

from ops.local.broker import BrokerError
from postroad.topology.names import VHOST
from tests.faults.brokers.container import ContainerNode

WHOLE_WITHIN_S = 60.0
_LOOK_S = 0.5


async def make_whole(nodes: list[ContainerNode]) -> None:
    """Wait until each quorum queue has a copy on each node, then spread the leaders.

    Raises:
        BrokerError: one has not, for too long.
    """
    give_up_at = time.monotonic() + WHOLE_WITHIN_S
    while missing := await _without_copies(nodes):
        if time.monotonic() > give_up_at:
            raise BrokerError(f"not on each of {len(nodes)} nodes: {', '.join(missing)}")
        await asyncio.sleep(_LOOK_S)
    await nodes[0].run("rabbitmq-queues", "rebalance", "quorum")


async def leading(nodes: list[ContainerNode], queue: str = "") -> ContainerNode:
    """Return the node that leads this queue, or else most of them."""
    found = await _queues(nodes[0], "leader")
    leaders = [each["leader"] for each in found if queue in ("", each["name"])]
    [(leader, _)] = Counter(leaders).most_common(1)
    return next(node for node in nodes if leader == f"rabbit@{node.name}")


async def _without_copies(nodes: list[ContainerNode]) -> list[str]:
    found = await _queues(nodes[0], "online")
    return [each["name"] for each in found if len(each["online"]) < len(nodes)] or (
        [] if found else ["any queue"]
    )


async def _queues(node: ContainerNode, column: str) -> list[dict[str, Any]]:
    listing = ("list_queues", "-p", VHOST, "--formatter", "json", "name", "type", column)
    listed: list[dict[str, Any]] = json.loads(await node.ctl(*listing))
    return [each for each in listed if each["type"] == "quorum"]
