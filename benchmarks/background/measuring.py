"""Messages that may wait, per second: given out, taken, and both at once.

`make bench ARGS=background`. In: so many are published while nobody takes them. Out: one program
then works them off. Through: it goes on while as many are published again. Each does nothing.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time

from pydantic import BaseModel

from benchmarks.background.depth import Depth, TooSlow
from benchmarks.contenders import LOCKS, MODULES, environment
from benchmarks.environments import prepare_environment
from benchmarks.load import LoadError, used_since
from benchmarks.machine import Machine, locked_versions
from benchmarks.system import System, running
from benchmarks.tables import figure, table
from benchmarks.usage import Groups, ProcessGone, cpu_by_group, memory_by_group
from ops.local import processes
from ops.services import programs
from postroad.topology.names import VHOST, work_queue

OURS = "benchmarks.background.ours"
IDLE = {"catalog_sync": 0, "auth_audit": 0}
Command = Sequence[Path | str]

SETTLED_S = 2.0  # consumers that have worked a backlog off are left alone for so long


class Given(BaseModel):
    """What a producer says at its end."""

    began_at: float
    seconds: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """A way to have work done: who gives it out, who does it, and the queue between them."""

    name: str
    safety: str
    queue: str
    give: Sequence[str]
    take: Sequence[str]
    lock: str | None = None  # none: our own environment
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def virtual_host(self) -> str:
        return VHOST if self.lock is None else self.name.replace(" ", "-")


def _ours(kind: str) -> Line:
    return Line(
        f"ours, {kind}s",
        "signed (Ed25519), quorum queue, confirmed, acknowledged when done, logged",
        work_queue("catalog", "sync"),
        ("python", "-m", OURS, "give", kind, "--count"),
        ("python", "-m", OURS, "take"),
    )


def _celery(name: str, safety: str, **env: str) -> Line:
    return Line(
        name,
        f"classic queue, {safety}, acknowledged before it is done",
        "celery",
        ("python", "-m", f"{MODULES}.celery_jobs"),
        ("celery", "--app", f"{MODULES}.celery_jobs", "worker", "--loglevel", "warning"),
        "celery",
        env,
    )


def _dramatiq(name: str, safety: str, **env: str) -> Line:
    return Line(
        name,
        f"classic queue, {safety}, acknowledged when done",
        "default",
        ("python", "-m", f"{MODULES}.dramatiq_jobs"),
        ("dramatiq", f"{MODULES}.dramatiq_jobs"),
        "dramatiq",
        env,
    )


LINES = (
    _ours("job"),
    _ours("event"),
    _celery("celery", "no confirms (its default)"),
    _celery("celery confirmed", "confirms", PEER_CONFIRMS="1"),
    _dramatiq("dramatiq", "no confirms (its default)"),
    _dramatiq("dramatiq confirmed", "confirms", PEER_CONFIRMS="1"),
)


@dataclass(frozen=True, slots=True)
class Speed:
    """So many a second, at so many microseconds of CPU each, by process."""

    per_s: float
    cpu_us: dict[str, float]


@dataclass(frozen=True, slots=True)
class LineResult:
    name: str
    safety: str
    speeds: dict[str, Speed]  # in, out, through
    processes: int  # that work
    memory_mb: float  # of them all


@dataclass(frozen=True, slots=True)
class Background:
    machine: Machine
    jobs: int
    lines: list[LineResult]
    versions: dict[str, dict[str, str]]
    failures: dict[str, str]


async def measure_background(folder: Path, *, jobs: int) -> Background:
    """Measure one line after the other, all at the same broker."""
    machine = Machine.this()
    failures: dict[str, str] = {}
    lines = []
    hosts = [line.virtual_host for line in LINES if line.lock] + [VHOST]
    async with running(folder / "background", replicas=IDLE, virtual_hosts=hosts) as system:
        for line in LINES:
            print(f"{line.name}: {jobs:,}", flush=True)
            try:
                lines.append(await _measure(line, system, folder, jobs))
            except (LoadError, ProcessGone, TooSlow) as error:
                failures[line.name] = str(error)
                print(f"  {error}", flush=True)
    locks = {line.lock for line in LINES if line.lock}
    versions = {lock: locked_versions(LOCKS / f"{lock}.txt") for lock in sorted(locks)}
    return Background(machine, jobs, lines, versions, failures)


async def _measure(line: Line, system: System, folder: Path, jobs: int) -> LineResult:
    env, binaries = await asyncio.to_thread(_prepare, line, system, folder)
    depth = Depth(system.broker_url(line.virtual_host), line.queue)
    broker = {"rabbitmq": [system.broker.pid or 0]}
    give: Command = [binaries / line.give[0], *line.give[1:], str(jobs)]
    before = cpu_by_group(broker)
    given = await _give(give, env)
    used = {"gives": given.cpu_s} | used_since(before, broker)
    speeds = {"in": _speed(jobs, given.seconds, used)}
    take: Command = [binaries / line.take[0], *line.take[1:]]
    async with _taking(take, env, folder / f"{line.virtual_host}.log") as pid:
        groups = {"takes": [pid], **broker}
        speeds["out"] = await _out(depth, groups, jobs)
        await asyncio.sleep(SETTLED_S)
        speeds["through"] = await _through(depth, groups, jobs, give, env)
        memory_mb = memory_by_group({"takes": [pid]})["takes"]
        count = len(processes_of(pid))
    return LineResult(line.name, line.safety, speeds, count, memory_mb)


async def _out(depth: Depth, groups: Groups, jobs: int) -> Speed:
    """Watch a backlog go, from the moment it shrinks."""
    left = await asyncio.to_thread(depth.falls_below, jobs)
    before, began_at = cpu_by_group(groups), time()
    await asyncio.to_thread(depth.falls_below, 1)
    return _speed(left, time() - began_at, used_since(before, groups))


async def _through(
    depth: Depth, groups: Groups, jobs: int, give: Command, env: Mapping[str, str]
) -> Speed:
    before = cpu_by_group(groups)
    given = await _give(give, env)
    await asyncio.to_thread(depth.falls_below, 1)
    used = {"gives": given.cpu_s} | used_since(before, groups)
    return _speed(jobs, time() - given.began_at, used)


def _speed(jobs: int, seconds: float, cpu_s: Mapping[str, float]) -> Speed:
    return Speed(jobs / seconds, {name: used / jobs * 1e6 for name, used in cpu_s.items()})


def _prepare(line: Line, system: System, folder: Path) -> tuple[dict[str, str], Path]:
    """Give a line's environment variables, and the folder of its programs."""
    env = environment(system, virtual_host=line.virtual_host, page=b"{}") | dict(line.env)
    if line.lock is None:
        ours = programs.messaging_environment(system.state, "catalog", system.broker.address)
        return env | ours | {"LOG_FORMAT": "json"}, Path(sys.executable).parent
    python = prepare_environment(folder / "peers" / line.lock, LOCKS / f"{line.lock}.txt")
    return env | {"PATH": f"{python.parent}:{env['PATH']}"}, python.parent


async def _give(command: Command, env: Mapping[str, str]) -> Given:
    child = await asyncio.create_subprocess_exec(
        *map(str, command), env=env, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    if child.returncode:
        raise LoadError(f"the producer ended with {child.returncode}")
    return Given.model_validate_json(output.splitlines()[-1])


@asynccontextmanager
async def _taking(command: Command, env: Mapping[str, str], log: Path) -> AsyncIterator[int]:
    with log.open("wb") as output:
        child = processes.spawn(command, env=env, output=output)
    try:
        yield child.pid
    finally:
        await processes.stop(child, grace_s=10)


def processes_of(pid: int) -> list[int]:
    """Give a process's children, or itself if it has none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] or [pid]


def report(background: Background) -> str:
    """Say it in Markdown."""
    rows = [
        [
            line.name,
            *(figure(line.speeds[way].per_s) for way in ("in", "out", "through")),
            *(figure(sum(line.speeds[way].cpu_us.values())) for way in ("in", "out", "through")),
            str(line.processes),
            figure(line.memory_mb),
            line.safety,
        ]
        for line in background.lines
    ]
    costs = ["in us", "out us", "through us"]
    header = ["", "in/s", "out/s", "through/s", *costs, "processes", "MB", "messages"]
    versions = ", ".join(
        f"{lock} {versions[lock]}" for lock, versions in background.versions.items()
    )
    what = (
        f"{background.jobs:,} pieces of work that do nothing; CPU time of one in us, over "
        "producer, consumers and broker; consumers as each project starts them by default."
    )
    parts = [f"{background.machine}; {versions}.", what, table(header, rows)]
    if background.failures:
        parts.append(table(["failed", "why"], list(map(list, background.failures.items()))))
    return "\n\n".join(parts) + "\n"
