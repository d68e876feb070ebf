"""A backlog of jobs: 20,000 pages of a catalogue to fetch from a slow upstream and to store.

While they are worked off, consumers are killed at random. Afterwards each job must have been
counted once: all pages, all products, none given up.
"""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.scaling.recorder import Recorder, meanwhile, recording, scaled
from benchmarks.scaling.series import Change, Sample
from benchmarks.scaling.system import System, running
from catalog_worker.settings import StoreSettings
from catalog_worker.sync.syncs import Syncs
from catalog_worker.tables import inbox, outbox, products
from ops.scaling.policy import Policy
from postroad.contracts.syncs import Sync
from postroad.storage.database import Database
from postroad.storage.inbox import Inbox
from postroad.storage.outbox import Outbox
from postroad.topology.names import dead_queue, work_queue

PROGRAM = "catalog_sync"
QUEUE = work_queue("catalog", "sync")


class BacklogError(Exception):
    """Jobs were lost or done twice, or not done in time; the message says what is there."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What there is to do: a job for each product, at so many milliseconds upstream."""

    jobs: int
    upstream_ms: int
    give_up_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How many jobs were done by when."""

    at_s: float
    jobs: int


@dataclass(frozen=True, slots=True)
class BacklogRun:
    """How it went; ``kills`` are the times at which a consumer was killed."""

    progress: list[Progress]
    samples: list[Sample]
    changes: list[Change]
    kills: list[float]
    sync: dict[str, object] = field(default_factory=dict)  # as it stands at the end
    stored: int = 0  # products in the store at the end

    @property
    def steady_jobs_per_s(self) -> float:
        """Tell how fast it went once all consumers worked, and until the last jobs.

        All but one are enough: one may just have been killed.
        """
        consumers = max(sample.consuming for sample in self.samples)
        enough = max(1, consumers - 1)
        began_s = next(each.at_s for each in self.samples if each.consuming >= enough)
        total = self.progress[-1].jobs
        worked = [each for each in self.progress if each.at_s >= began_s and each.jobs < total]
        return (worked[-1].jobs - worked[0].jobs) / (worked[-1].at_s - worked[0].at_s)


async def watch_one(folder: Path, backlog: Backlog, *, for_s: float) -> BacklogRun:
    """Watch one consumer begin with the backlog, for so long from its first job on."""
    async with AsyncExitStack() as context:
        work = await _begin(context, folder, backlog, consumers=1)
        await work.follow(until=lambda: work.sync().pages_done > 0)
        until_s = work.recorder.elapsed_s + for_s
        await work.follow(until=lambda: work.recorder.elapsed_s >= until_s)
        return work.result()


async def scale(folder: Path, backlog: Backlog, rule: Policy, *, kill_every_s: float) -> BacklogRun:
    """Have scaled consumers work it off, from none to none, and check what they leave.

    Raises:
        BacklogError: it is not done in time, or not as it should be.
    """
    async with AsyncExitStack() as context:
        work = await _begin(context, folder, backlog, consumers=0)
        async with scaled(work.recorder, rule):
            async with meanwhile(work.kill_at_random(kill_every_s)):
                await work.follow(until=lambda: work.sync().finished_at is not None)
            await work.follow(until=lambda: work.processes() == 0)
        result = work.result()
        await work.check(result)
        return result


async def _begin(
    context: AsyncExitStack, folder: Path, backlog: Backlog, *, consumers: int
) -> "_Work":
    page = {"CATALOG_SYNC_PAGE_SIZE": "1"}
    system = await context.enter_async_context(
        running(
            folder,
            products=backlog.jobs,
            delay_ms=backlog.upstream_ms,
            settings={PROGRAM: page, "catalog_worker": page},
            replicas={PROGRAM: consumers, "auth_audit": 0},
        )
    )
    url = f"sqlite:///{system.state.catalog_file}"
    database = context.enter_context(closing(Database(url)))
    settings = StoreSettings(database_url=SecretStr(url), sync_page_size=1)
    syncs = Syncs(database, inbox=Inbox(inbox), outbox=Outbox(outbox), settings=settings)
    sync = await asyncio.to_thread(syncs.start)
    recorder = await context.enter_async_context(recording(system, program=PROGRAM, queue=QUEUE))
    return _Work(backlog, system, recorder, database=database, syncs=syncs, sync_id=sync.sync_id)


class _Work:
    """A sync under way."""

    def __init__(
        self,
        backlog: Backlog,
        system: System,
        recorder: Recorder,
        *,
        database: Database,
        syncs: Syncs,
        sync_id: str,
    ) -> None:
        self.recorder = recorder
        self._backlog = backlog
        self._system = system
        self._database = database
        self._syncs = syncs
        self._sync_id = sync_id
        self._progress: list[Progress] = []
        self._kills: list[float] = []

    def sync(self) -> Sync:
        return self._syncs.get(self._sync_id)

    def processes(self) -> int:
        supervisor = self._system.supervisor
        return supervisor.replicas(PROGRAM) + supervisor.draining(PROGRAM)

    async def follow(self, *, until: Callable[[], bool]) -> None:
        """Note each second how many jobs are done.

        Raises:
            BacklogError: it takes too long.
        """
        while not until():
            self._progress.append(
                Progress(round(self.recorder.elapsed_s, 2), self.sync().pages_done)
            )
            if self.recorder.elapsed_s > self._backlog.give_up_s:
                raise BacklogError(f"not done in {self._backlog.give_up_s:.0f} s: {self.sync()}")
            await asyncio.sleep(1)

    async def kill_at_random(self, every_s: float) -> None:
        """Kill one consumer after the other as kill -9 does, each chosen by chance."""
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * every_s)
            if pids := self._system.supervisor.pids(PROGRAM):
                os.kill(random.choice(pids), signal.SIGKILL)
                self._kills.append(round(self.recorder.elapsed_s, 2))

    def result(self) -> BacklogRun:
        with self._database.reading() as connection:
            stored = connection.execute(select(func.count()).select_from(products)).scalar_one()
        return BacklogRun(
            self._progress,
            self.recorder.samples,
            self.recorder.changes,
            self._kills,
            self.sync().model_dump(),
            stored,
        )

    async def check(self, result: BacklogRun) -> None:
        """Make sure that each job was counted once.

        Raises:
            BacklogError: it was not.
        """
        sync = self.sync()
        counted = {sync.pages, sync.pages_done, sync.products, sync.added, result.stored}
        depths = await asyncio.to_thread(self._system.management.depths)
        given_up = depths[dead_queue(QUEUE)].ready
        if sync.status != "done" or counted != {self._backlog.jobs} or given_up:
            raise BacklogError(f"{sync}, {result.stored} stored, {given_up} given up")
