"""A campaign: one fault after another under load, then the reckoning."""

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

from ops.local.broker import BrokerError
from ops.terminal.progress import say
from postroad.testing import eventually
from postroad.topology.names import VHOST, dead_queue, work_queue
from tests.faults.brokers.containers import left_behind
from tests.faults.checker import HEALTHY_WITHIN_S
from tests.faults.crowd import crowd
from tests.faults.effects import Effects
from tests.faults.health import Health
from tests.faults.kinds import ALL_KINDS
from tests.faults.records import Fault, Records
from tests.faults.scene import Scene
from tests.faults.system import Choice, System, running_system
from tests.faults.usage import left_over, usage

WARM_UP_S = 5.0
SETTLE_S = 60.0  # for what was accepted to be done, after the last fault
WORK = (work_queue("auth", "audit"), work_queue("catalog", "sync"))


async def run(
    folder: Path, kinds: list[str], choice: Choice, *, seed: int, minutes: float
) -> Records:
    """Inject faults of these kinds, in this order, and give what is to be checked.

    None follows on one from which the system does not recover, nor when the time is over.
    """
    over_at = time.monotonic() + minutes * 60
    records = Records()
    async with AsyncExitStack() as context:
        system = await context.enter_async_context(running_system(folder, choice))
        records.broker = await system.brokers.describe()
        say(records.broker)
        effects = context.enter_context(closing(Effects(system.auth_url, system.catalog_url)))
        http = await context.enter_async_context(system.browser())
        async with crowd(system, records, seed) as client:
            health = Health(http, client, effects)
            if problem := await health.restored():
                raise RuntimeError(f"not well before the first fault: {problem}")
            await asyncio.sleep(WARM_UP_S)
            records.broker_before = await system.in_broker()
            records.usage += usage(system)
            scene = Scene(system, records, random.Random(seed), health.restored)
            for number, kind in enumerate(kinds, 1):
                said = await _inject(kind, scene, health)
                say(f"  [{number:{len(str(len(kinds)))}}/{len(kinds)}] {said}")
                if records.faults[-1].was_the_end or time.monotonic() > over_at:
                    break
            records.broker_after = await _in_broker(system, records.broker_before)
        await reckon(effects, records)
        records.given_up = await _given_up(system)
    records.left_over = left_over(folder)
    if choice.image:
        records.left_over += await left_behind(system.folder_of_nodes)
    return records


def deal(kinds: list[str], count: int, *, seed: int) -> list[str]:
    """Choose faults: each kind equally often, in an order by chance."""
    chance = random.Random(seed)
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += chance.sample(kinds, len(kinds))
    return dealt[:count]


async def _inject(kind: str, scene: Scene, health: Health) -> str:
    """Do one fault, wait until all is well again, and say what was done and how it went."""
    chosen, began = ALL_KINDS[kind], time.monotonic()
    scene.begin()
    try:
        what = await chosen.inject(scene)
    except (AssertionError, BrokerError) as error:
        scene.records.not_done.append(what := f"{kind}: {error}")
    lifted = time.monotonic()
    problem = await health.restored()
    healthy = time.monotonic()
    scene.records.faults.append(
        Fault(
            kind,
            what,
            began,
            lifted,
            healthy if healthy - lifted <= HEALTHY_WITHIN_S else None,
            hides_bridge=chosen.hides_bridge,
            moves_clock=chosen.moves_clock,
            well_meanwhile_s=scene.well_meanwhile_s,
            was_the_end=bool(problem),
        )
    )
    scene.records.usage += usage(scene.system)
    after = f"after {healthy - lifted:.1f} s {problem or 'all well'}"
    meanwhile_s = scene.well_meanwhile_s
    without = "" if meanwhile_s is None else f"well without it after {meanwhile_s:.1f} s, "
    return f"{what}: {without}{lifted - began:.1f} s, {after}"


async def _in_broker(system: System, before: Counter[str]) -> Counter[str]:
    """Count what is in the broker, once that is what it was, or after a while."""
    found = await system.in_broker()
    give_up_at = time.monotonic() + HEALTHY_WITHIN_S
    while found != before and time.monotonic() < give_up_at:
        found = await system.in_broker()
    return found


async def reckon(effects: Effects, records: Records) -> None:
    """Wait until all that was accepted has had its effect, and read what there is."""
    wanted = {(each.name, each.key) for each in records.accepted}

    def all_done() -> bool:
        records.effects, records.syncs = effects.noted(), effects.syncs()
        under_way = any(sync.status in ("requested", "running") for sync in records.syncs)
        return wanted <= records.effects.keys() and not under_way

    with suppress(AssertionError):  # the checker will say so
        await eventually(lambda: asyncio.to_thread(all_done), timeout_s=SETTLE_S)


async def _given_up(system: System) -> dict[str, int]:
    listed = await system.brokers.ctl("list_queues", "-p", VHOST, "name", "messages")
    depths = dict(line.split("\t") for line in listed.splitlines())
    return {queue: int(depths[dead_queue(queue)]) for queue in WORK}
