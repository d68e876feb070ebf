"""What is done to the system: one function a kind, which does its harm and takes it back.

Each gives a line that says what it has done. What recovers a system without the operator is
everything but a deleted queue of requests: its definitions have to be imported again.
"""

import os
import signal

from postroad.testing import eventually
from tests.faults.copies import copy_requests, copy_work
from tests.faults.scene import GONE_S, Kind, Scene
from tests.faults.system import BRIDGE, WORKERS

LEEWAY_WITHIN_S = 1.0  # of a clock: less than a request may take, and than the leeway of 5 s
BEYOND_S = (90.0, -90.0)
_BUSY_MS = 500


async def kill_worker(scene: Scene) -> str:
    """Kill a worker while it works: upstream takes its time meanwhile."""
    await scene.system.make_upstream(delay_ms=_BUSY_MS)
    try:
        await scene.hold(0.5, 1.5)
        name, pid = await scene.victim(*WORKERS)
        os.kill(pid, signal.SIGKILL)
    finally:
        await scene.system.make_upstream()
    return f"kill -9 {name}"


async def kill_bridge(scene: Scene) -> str:
    _, pid = await scene.victim(BRIDGE)
    os.kill(pid, signal.SIGKILL)
    return f"kill -9 {BRIDGE}"


async def kill_broker(scene: Scene) -> str:
    """Kill all nodes there are at once, as a power cut does."""
    await scene.system.brokers.kill()
    await scene.hold(0.0, 2.0)
    await scene.system.brokers.start()
    return "kill -9 the broker, started again"


async def stop_worker(scene: Scene) -> str:
    name, pid = await scene.victim(*WORKERS)
    await _stopped(scene, pid)
    return f"SIGSTOP, SIGCONT {name}"


async def stop_bridge(scene: Scene) -> str:
    _, pid = await scene.victim(BRIDGE)
    await _stopped(scene, pid)
    return f"SIGSTOP, SIGCONT {BRIDGE}"


async def stop_broker(scene: Scene) -> str:
    node = scene.node()
    await node.freeze()
    try:
        await scene.hold(0.5, 5.0)
    finally:
        await node.thaw()
    return f"SIGSTOP, SIGCONT {node.name}"


async def _stopped(scene: Scene, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await scene.hold(0.5, 5.0)
    finally:
        os.kill(pid, signal.SIGCONT)


async def cut_connections(scene: Scene) -> str:
    name = scene.chance.choice(list(scene.system.proxies))
    scene.system.proxies[name].cut()
    return f"cut the connections of {name}"


async def refuse_connections(scene: Scene) -> str:
    name = scene.chance.choice(list(scene.system.proxies))
    proxy = scene.system.proxies[name]
    await proxy.shut()
    try:
        await scene.hold()
    finally:
        await proxy.open()
    return f"nothing reaches the broker from {name}"


async def pause_connections(scene: Scene) -> str:
    name = scene.chance.choice(list(scene.system.proxies))
    proxy = scene.system.proxies[name]
    proxy.pause()
    try:
        await scene.hold(0.5, 6.0)
    finally:
        proxy.resume()
    return f"what {name} and the broker say arrives late"


async def silence_connections(scene: Scene) -> str:
    """Let nothing through on the connections there are: heartbeats and confirms must tell."""
    name = scene.chance.choice(list(scene.system.proxies))
    scene.system.proxies[name].stall()
    return f"the connections of {name} are open, and nothing comes through"


async def close_connections(scene: Scene) -> str:
    user = scene.chance.choice(["auth", "catalog", "bridge", "shop", "till", "gate"])
    ctl = scene.system.brokers.ctl
    await ctl("close_all_user_connections", user, "closed by an operator")
    return f"an operator closes the connections of {user}"


async def delete_request_queue(scene: Scene) -> str:
    """Delete a queue of requests; what is in it is answered by the deadline.

    A queue of work is not deleted: that throws away what has been accepted, by an operator's hand.
    """
    queue = scene.chance.choice(["rpc.catalog", "rpc.auth"])
    await scene.system.brokers.ctl("delete_queue", "-p", "postroad", queue)
    await scene.hold(0.5, 3.0)
    await scene.system.import_definitions()
    return f"delete {queue}, import the definitions again"


async def delete_reply_queues(scene: Scene) -> str:
    service = scene.chance.choice(["bridge", "shop", "till"])
    count = await scene.system.delete_reply_queues(f"reply.{service}.")
    return f"delete {count} reply queues of {service}"


async def alarm_memory(scene: Scene) -> str:
    node = scene.node()
    await node.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        await scene.hold()
    finally:
        await node.ctl("set_vm_memory_high_watermark", "0.4")
    return f"{node.name} is out of memory for a while"


async def alarm_disk(scene: Scene) -> str:
    node = scene.node()
    await node.ctl("set_disk_free_limit", "1000000GB")
    try:
        await scene.hold()
    finally:
        await node.ctl("set_disk_free_limit", "50MB")
    return f"{node.name} is out of disk for a while"


async def slow_upstream(scene: Scene) -> str:
    delay_ms = scene.chance.choice([300, 1_500, 10_000])
    return await _misbehaving(scene, delay_ms=delay_ms)


async def wrong_upstream(scene: Scene) -> str:
    fault = scene.chance.choice(["500", "429", "html", "nonsense", "truncated", "huge"])
    rate = scene.chance.choice([0.3, 1.0])
    return await _misbehaving(scene, fail_rate=rate, fail_with=fault, retry_after_s=1)


async def _misbehaving(scene: Scene, **faults: object) -> str:
    await scene.system.make_upstream(**faults)
    try:
        await scene.hold()
    finally:
        await scene.system.make_upstream()
    return f"upstream with {faults}"


async def lose_upstream(scene: Scene) -> str:
    supervisor = scene.system.supervisor
    supervisor.scale("upstream", 0)
    await eventually(lambda: not supervisor.draining("upstream"), timeout_s=GONE_S)
    await scene.hold()
    supervisor.scale("upstream", 1)
    return "upstream gone for a while"


async def rotate_keys(scene: Scene) -> str:
    await scene.system.command("keys", "rotate", "--lead", "2")
    await scene.hold(2.0, 3.0)  # until they are in use
    return "new keys for all services"


async def skew_clock_a_little(scene: Scene) -> str:
    name = scene.chance.choice([*WORKERS, BRIDGE])
    shift_s = scene.chance.uniform(-LEEWAY_WITHIN_S, LEEWAY_WITHIN_S)
    await _shifted(scene, name, shift_s)
    return f"the clock of {name} {shift_s:+.1f} s for a while"


async def skew_clock_too_far(scene: Scene) -> str:
    name = scene.chance.choice([*WORKERS, BRIDGE])
    shift_s = scene.chance.choice(BEYOND_S)
    await _shifted(scene, name, shift_s)
    return f"the clock of {name} {shift_s:+.0f} s for a while"


async def _shifted(scene: Scene, name: str, shift_s: float) -> None:
    scene.system.move_clock(name, shift_s)
    try:
        await scene.hold(1.0, 4.0)
    finally:
        scene.system.move_clock(name, 0.0)


async def repeat_requests(scene: Scene) -> str:
    return await copy_requests(scene.system, scene.records)


async def repeat_work(scene: Scene) -> str:
    return await copy_work(scene.system)


async def restart_everything(scene: Scene) -> str:
    system = scene.system
    before = {name: system.supervisor.replicas(name) for name in (BRIDGE, *WORKERS)}
    for name in before:
        system.supervisor.scale(name, 0)
    drained = 30.0
    await eventually(
        lambda: not any(system.supervisor.draining(name) for name in before), timeout_s=drained
    )
    try:
        await system.brokers.stop()
        await system.brokers.start()
    finally:
        for name, replicas in before.items():
            system.supervisor.scale(name, replicas)
    return "SIGTERM to everything, then start"


KINDS = {
    kind.inject.__name__: kind
    for kind in (
        Kind(kill_worker),
        Kind(kill_bridge, hides_bridge=True),
        Kind(kill_broker),
        Kind(stop_worker),
        Kind(stop_bridge, hides_bridge=True),
        Kind(stop_broker),
        Kind(cut_connections),
        Kind(refuse_connections),
        Kind(pause_connections),
        Kind(silence_connections),
        Kind(close_connections),
        Kind(delete_request_queue),
        Kind(delete_reply_queues),
        Kind(alarm_memory),
        Kind(alarm_disk),
        Kind(slow_upstream),
        Kind(wrong_upstream),
        Kind(lose_upstream),
        Kind(rotate_keys),
        Kind(skew_clock_a_little),
        Kind(skew_clock_too_far, moves_clock=True),
        Kind(repeat_requests),
        Kind(repeat_work),
        Kind(restart_everything, hides_bridge=True),
    )
}
