"""What is done to a cluster's nodes.

With a majority of nodes left, all must be well without the others: then it is waited for before the
harm is taken back.
"""

import asyncio

from tests.faults.brokers.cluster import leading
from tests.faults.scene import Kind, Scene

# The other nodes give up one that says nothing after 8 to 13 s, and clients after 10 to 26 s.
SILENT_S = (5.0, 25.0)
SKEWS_S = (1.0, -1.0, 90.0, -90.0)


async def kill_leader(scene: Scene) -> str:
    """Kill the node that leads most queues, and start it again once all is well without it."""
    node = await leading(scene.system.nodes)
    await node.kill()
    try:
        await scene.well_meanwhile()
    finally:
        await node.start()
    return f"kill -9 {node.name}, which led most queues, started again later"


async def stop_majority(scene: Scene) -> str:
    nodes = scene.chance.sample(scene.system.nodes, 2)
    await asyncio.gather(*(node.stop() for node in nodes))
    try:
        await scene.hold(0.5, 5.0)
    finally:
        await asyncio.gather(*(node.start() for node in nodes))
    return f"{' and '.join(node.name for node in nodes)} stopped, started again"


async def part_node(scene: Scene) -> str:
    """Cut one node off from the others; clients reach them all, and it the worst of places."""
    node, hears = scene.container(), scene.chance.random() < 1 / 3
    others = [each.address for each in scene.system.nodes if each is not node]
    await node.cut_off(others, hears=hears)
    try:
        await scene.well_meanwhile(*SILENT_S)
    finally:
        await node.reconnect()
    return f"{node.name} {'is not heard by' if hears else 'cut off from'} the other nodes"


async def part_all(scene: Scene) -> str:
    """Cut every node off from every other: none has a majority."""
    nodes = scene.system.nodes
    try:
        for node in nodes:
            await node.cut_off(each.address for each in nodes if each is not node)
        await scene.hold(1.0, 10.0)
    finally:
        for node in nodes:
            await node.reconnect()
    return "every node cut off from every other"


async def lose_node(scene: Scene) -> str:
    """Pull a node's cable: neither nodes nor clients hear of it again, nor that it is gone."""
    node = scene.container()
    await node.cut_off_from_all()
    try:
        await scene.well_meanwhile(*SILENT_S)
    finally:
        await node.reconnect()
    return f"nothing comes from {node.name} or gets there"


async def fill_disk(scene: Scene) -> str:
    """Leave a node no byte to write; once there is room again an operator restarts it.

    Without that it may go on as if it were well, and refuse all who sign in (docs/runbook.md).
    """
    node = scene.container()
    await node.fill_disk()
    await scene.hold(2.0, 10.0)
    await node.free_disk()
    await node.stop()
    await node.start()
    return f"the disk of {node.name} is full for a while, and it is restarted"


async def restart_in_turn(scene: Scene) -> str:
    """Restart each node as an update does: when the others have what it has."""
    for node in scene.system.nodes:
        await node.run("rabbitmq-upgrade", "await_online_quorum_plus_one")
        await node.stop()
        await node.start()
    return "each node stopped and started, one after the other"


async def skew_broker_clock(scene: Scene) -> str:
    """Move the clock of the node that leads the requests of a service, or of another."""
    queue = scene.chance.choice(["rpc.catalog", "rpc.auth", "work.catalog.sync"])
    node, shift_s = await leading(scene.system.nodes, queue), scene.chance.choice(SKEWS_S)
    node.move_clock(shift_s)
    try:
        await scene.hold(3.0, 8.0)
    finally:
        node.move_clock(0)
    return f"the clock of {node.name} {shift_s:+.0f} s for a while"


CLUSTER_KINDS = {
    kind.inject.__name__: kind
    for kind in (
        Kind(kill_leader),
        Kind(stop_majority),
        Kind(part_node),
        Kind(part_all),
        Kind(lose_node),
        Kind(fill_disk),
        Kind(restart_in_turn),
        Kind(skew_broker_clock),
    )
}
