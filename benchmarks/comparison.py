"""The same request by ours, by the peers, and by what bounds them all: `make bench ARGS=peers`."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from timeit import timeit

import jwt
import requests

from benchmarks.contenders import LOCKS, NAMES, PEERS, PeerError, started
from benchmarks.load import LoadError, Result, Target, measure
from benchmarks.machine import Machine, locked_versions
from benchmarks.raw import VIRTUAL_HOST, answering
from benchmarks.revisions import brought_up
from benchmarks.system import System, running
from benchmarks.usage import ProcessGone

OURS = "ours"
BEFORE = "before"
RAW = {"raw-pika": (), "raw-pika-joined": ("--joined",)}  # options of benchmarks.limits.raw_rpc
CONTENDERS = (OURS, *NAMES, *RAW)
TITLES = {peer.name: peer.title for peer in PEERS} | {
    OURS: "Postroad: the whole secured path",
    BEFORE: "Postroad as it was at that commit",
    "raw-pika": "limit: RPC by pika's asyncio adapter, no HTTP, no token",
    "raw-pika-joined": "limit: the same on our transport, writes joined, on uvloop",
}

Measure = Callable[..., Result]


@dataclass(frozen=True, slots=True)
class Row:
    """One contender at so many connections: medians over the rounds."""

    name: str
    connections: int
    result: Result


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, and for how long."""

    only: Sequence[str] = CONTENDERS
    connections: Sequence[int] = (1, 16, 64, 256)
    rounds: int = 3
    seconds: float = 3
    remembers_tokens: bool = False
    before: str | None = None  # a commit of this repository

    @property
    def before_name(self) -> str:
        return f"{BEFORE} ({self.before})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that a run has shown."""

    machine: Machine
    rabbitmq: str
    options: Options
    page_bytes: int
    token_check_us: float  # one, by PyJWT, as each peer does it for each request
    rows: list[Row]
    versions: dict[str, dict[str, str]]
    failures: dict[str, str] = field(default_factory=dict)

    def row(self, name: str, connections: int) -> Result | None:
        """Find a contender's result; none when it was not measured."""
        found = (row for row in self.rows if (row.name, row.connections) == (name, connections))
        return next((row.result for row in found), None)


async def compare(folder: Path, options: Options) -> Comparison:
    """Run all contenders side by side, and load one after the other, in rounds."""
    machine = Machine.this()
    failures: dict[str, str] = {}
    async with AsyncExitStack() as context:
        print("Starting our system", flush=True)
        hosts = [*NAMES, VIRTUAL_HOST]
        system = await context.enter_async_context(running(folder, virtual_hosts=hosts))
        page = checked_page(system.target())
        measures = await _start(context, system, page, options, failures)
        results = await _rounds(measures, options, failures)
        rabbitmq = (await system.broker.ctl("version")).strip()
        token_check_us = _token_check_us(system)
    return Comparison(
        machine=machine,
        rabbitmq=rabbitmq,
        options=options,
        page_bytes=len(page),
        token_check_us=token_check_us,
        rows=[Row(*key, middle(runs)) for key, runs in results.items()],
        versions={
            peer.name: locked_versions(LOCKS / f"{peer.lock}.txt")
            for peer in PEERS
            if peer.name in options.only
        },
        failures=failures,
    )


def checked_page(target: Target) -> bytes:
    """Fetch what is to be measured, and make sure that it is a page of 30 products.

    Raises:
        LoadError: it is something else.
    """
    response = requests.get(target.url, headers=target.headers, timeout=10)
    if response.status_code != 200 or len(response.json()["data"]) != 30:
        raise LoadError(f"{target.name} answers {response.status_code}: {response.text[:200]}")
    return response.content


async def _start(
    context: AsyncExitStack,
    system: System,
    page: bytes,
    options: Options,
    failures: dict[str, str],
) -> dict[str, Measure]:
    """Start all that is asked for; what does not start is noted, with its reason."""
    measures: dict[str, Measure] = {}
    if OURS in options.only and not options.before:
        measures[OURS] = partial(measure, system.target())
    for name, contender in _contenders(system, page, options):
        print(f"Starting {name}", flush=True)
        try:
            target = await context.enter_async_context(contender)
        except PeerError as error:
            failures[name] = str(error)
            print(f"  {name} {error}", flush=True)
        else:
            measures[name] = partial(measure, target)
    for name, flags in RAW.items():
        if name in options.only:
            raw = await context.enter_async_context(answering(name, system, page, *flags))
            measures[name] = raw.measure
    return measures


def _contenders(
    system: System, page: bytes, options: Options
) -> Iterator[tuple[str, AbstractAsyncContextManager[Target]]]:
    """List what is to be started; with a commit to compare with, ours in the same way as that."""
    if options.before:
        folder = system.folder / "revisions"
        folder.mkdir(mode=0o700, exist_ok=True)
        if OURS in options.only:
            yield OURS, brought_up(OURS, None, folder)
        yield options.before_name, brought_up(options.before_name, options.before, folder)
    for peer in PEERS:
        if peer.name in options.only:
            yield (
                peer.name,
                started(peer, system, page=page, remembers_tokens=options.remembers_tokens),
            )


async def _rounds(
    measures: dict[str, Measure], options: Options, failures: dict[str, str]
) -> dict[tuple[str, int], list[Result]]:
    results: dict[tuple[str, int], list[Result]] = {}
    for number in range(1, options.rounds + 1):
        in_turn = list(measures.items())[:: 1 if number % 2 else -1]  # nobody is always first
        for connections in options.connections:
            for name, load in in_turn:
                try:
                    result = await asyncio.to_thread(
                        load, connections=connections, seconds=options.seconds
                    )
                except (LoadError, ProcessGone) as error:
                    failures[f"{name} at {connections}, round {number}"] = str(error)
                    print(f"  {name} at {connections}: {error}", flush=True)
                    continue
                results.setdefault((name, connections), []).append(result)
                print(
                    f"  round {number} of {options.rounds}, {connections:3} connections: "
                    f"{name:16}{result.requests_per_s:7,.0f}/s {result.cpu_us_total:6,.0f} us",
                    flush=True,
                )
    return results


def middle(runs: Sequence[Result]) -> Result:
    """Give the median of each figure over several runs."""
    return Result(
        requests_per_s=median(run.requests_per_s for run in runs),
        p50_ms=median(run.p50_ms for run in runs),
        p95_ms=median(run.p95_ms for run in runs),
        p99_ms=median(run.p99_ms for run in runs),
        cpu_us={name: median(run.cpu_us[name] for run in runs) for name in runs[0].cpu_us},
        memory_mb={name: median(run.memory_mb[name] for run in runs) for name in runs[0].memory_mb},
    )


def _token_check_us(system: System, times: int = 500) -> float:
    """Time what each peer does with a token."""
    keys = jwt.PyJWKSet.from_json(
        requests.get(f"{system.url}/.well-known/jwks.json", timeout=10).text
    )
    key = keys[jwt.get_unverified_header(system.token)["kid"]].key

    def check() -> None:
        jwt.decode(
            system.token, key, algorithms=["EdDSA"], issuer="postroad/auth", audience="postroad"
        )

    return timeit(check, number=times, timer=process_time) / times * 1e6
