"""A campaign: one fault after another under load, then the reckoning."""

import asyncio
import random
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import httpx
from sqlalchemy import func, select

from auth_worker.tables import audit
from catalog_worker.tables import syncs
from ops.progress import say
from shared.contracts.catalog import GetProduct
from shared.contracts.errors import ServiceError
from shared.messaging.client import Client
from shared.messaging.names import dead_queue, work_queue
from shared.storage.database import Database
from tests.faults.checker import HEALTHY_WITHIN_S
from tests.faults.crowd import PATIENCE_S, crowd
from tests.faults.faults import KINDS, Scene
from tests.faults.records import Fault, Records, Sync
from tests.faults.system import PRODUCTS, System, running_system
from tests.faults.usage import left_over, usage
from tests.faults.work import OPERATOR
from tests.waiting import eventually

WARM_UP_S = 5.0
GIVE_UP_S = 90.0  # a system that is not well by then will not be
SETTLE_S = 60.0  # for what was accepted to be done, after the last fault
WORK = (work_queue("auth", "audit"), work_queue("catalog", "sync"))
_LOOK_S = 0.1


class NotWell(Exception):
    """The system does not recover; the message says what does not work."""


async def run(folder: Path, kinds: list[str], *, seed: int) -> Records:
    """Inject faults of these kinds, in this order, and give what is to be checked.

    Raises:
        NotWell: one of them was the end of it.
    """
    records = Records()
    async with running_system(folder) as system:
        async with crowd(system, records, seed) as client:
            campaign = _Campaign(system, client, records, seed)
            await campaign.warm_up()
            for number, kind in enumerate(kinds, 1):
                what = await campaign.inject(kind)
                say(f"  [{number:{len(str(len(kinds)))}}/{len(kinds)}] {what}")
            await campaign.syncs_done()
            records.broker_after = await campaign.settled_broker()
        await campaign.settle()
    records.left_over = left_over(folder)
    return records


def deal(kinds: list[str], count: int, *, seed: int) -> list[str]:
    """Choose faults: each kind equally often, in an order by chance."""
    chance = random.Random(seed)
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += chance.sample(kinds, len(kinds))
    return dealt[:count]


class _Campaign:
    """A system under load, and what is done to it."""

    def __init__(self, system: System, client: Client, records: Records, seed: int) -> None:
        self._system = system
        self._client = client
        self._records = records
        self._scene = Scene(system, records, random.Random(seed))
        self._http = httpx.AsyncClient(base_url=system.url, timeout=PATIENCE_S, trust_env=False)

    async def warm_up(self) -> None:
        """Wait until everything works, and everybody has done something."""
        await self._well()
        await asyncio.sleep(WARM_UP_S)
        self._records.broker_before = await self._system.in_broker()
        self._records.usage += usage(self._system)

    async def inject(self, kind: str) -> str:
        """Do one fault, wait until all is well again, and say what was done and how it went."""
        chosen, began = KINDS[kind], time.monotonic()
        what = await chosen.inject(self._scene)
        lifted = time.monotonic()
        await self._well()
        after_s = time.monotonic() - lifted
        self._records.faults.append(
            Fault(
                kind,
                what,
                began,
                lifted,
                time.monotonic() if after_s <= HEALTHY_WITHIN_S else None,
                chosen.hides_bridge,
                chosen.moves_clock,
            )
        )
        self._records.usage += usage(self._system)
        return f"{what}: well after {after_s:.1f} s"

    async def _well(self) -> None:
        """Wait until each part does what it is for, all in one round."""
        give_up_at = time.monotonic() + GIVE_UP_S
        while problem := await self._problem():
            if time.monotonic() > give_up_at:
                raise NotWell(f"not well after {GIVE_UP_S:.0f} s: {problem}")
            await asyncio.sleep(_LOOK_S)

    async def _problem(self) -> str:
        """Name what does not work, if anything."""
        number = self._scene.chance.randint(1, PRODUCTS)  # the seed holds for what is injected
        try:
            if (await self._http.get("/readyz")).status_code != 200:
                return "the bridge is not ready"
            signed_in = await self._http.post("/auth", json=OPERATOR)
            if signed_in.status_code != 200:
                return f"signing in: {signed_in.text}"
            headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
            self._http.cookies.clear()
            shown = await self._http.get(f"/products/{number}", headers=headers)
            if shown.status_code != 200:
                return f"a product: {shown.text}"
            await self._client.call(GetProduct(product_id=number))
            unread = await asyncio.to_thread(self._unread)
        except (httpx.TransportError, ServiceError) as error:
            return f"{type(error).__name__}: {error}"
        return f"nobody works on {unread}" if unread else ""

    def _unread(self) -> str:
        """Name a queue of work that nobody consumes."""
        return next((queue for queue in WORK if not self._system.consumers(queue)), "")

    async def syncs_done(self) -> None:
        """Wait until the accepted syncs are done; those who want more are still there."""

        async def are_done() -> bool:
            found = await asyncio.to_thread(self._read_syncs)
            done = {sync.sync_id for sync in found if sync.status == "done"}
            return self._records.syncs_accepted <= done

        accepted = set(self._records.syncs_accepted)
        self._records.syncs_accepted = accepted
        with suppress(AssertionError):  # the checker will say so
            await eventually(are_done, timeout_s=SETTLE_S)

    async def settled_broker(self) -> Counter[str]:
        """Count what is in the broker, once that is what it was, or after a while."""
        found = await self._system.in_broker()
        give_up_at = time.monotonic() + HEALTHY_WITHIN_S
        while found != self._records.broker_before and time.monotonic() < give_up_at:
            found = await self._system.in_broker()
        return found

    async def settle(self) -> None:
        """Wait until all that was accepted has had its effect, and read what there is."""
        await self._http.aclose()
        wanted = {(each.name, each.key) for each in self._records.accepted}

        async def has_all() -> bool:
            self._records.effects = await asyncio.to_thread(self._read_effects)
            self._records.syncs = await asyncio.to_thread(self._read_syncs)
            open_ones = [s for s in self._records.syncs if s.status in ("requested", "running")]
            return wanted <= self._records.effects.keys() and not open_ones

        with suppress(AssertionError):  # the checker will say so
            await eventually(has_all, timeout_s=SETTLE_S)
        for queue in WORK:
            self._records.given_up[queue] = await self._count(dead_queue(queue))

    async def _count(self, queue: str) -> int:
        listed = await self._system.broker.ctl(
            *("list_queues", "-p", "postroad", "name", "messages", "--no-table-headers")
        )
        depths = dict(line.split("\t") for line in listed.splitlines())
        return int(depths[queue])

    def _read_effects(self) -> Counter[tuple[str, str]]:
        query = select(audit.c.what, audit.c.session_id, func.count()).group_by(
            audit.c.what, audit.c.session_id
        )
        database = Database(f"sqlite:///{self._system.state.users_file}")
        with closing(database), database.reading() as connection:
            return Counter({(row[0], row[1]): row[2] for row in connection.execute(query)})

    def _read_syncs(self) -> list[Sync]:
        database = Database(f"sqlite:///{self._system.state.catalog_file}")
        with closing(database), database.reading() as connection:
            rows = connection.execute(select(syncs)).all()
        return [
            Sync(r.id, r.status, r.pages, r.pages_done, r.products, r.added, r.removed)
            for r in rows
        ]
