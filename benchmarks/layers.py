"""Where the CPU time of a request goes, layer by layer: `make bench ARGS=layers`.

The CPU time per request of each process comes from /proc, under load, with nothing looking on. Then
the same load again while py-spy takes samples of the two Python processes' stacks, on CPU only; a
sample belongs to the innermost frame that a layer claims. A layer's time is its share of samples
times the process's CPU time. RabbitMQ is one layer.
"""

import asyncio
import linecache
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time, time
from timeit import timeit

from benchmarks.comparison import checked_page
from benchmarks.environments import prepare_environment
from benchmarks.load import measure, run_wrk
from benchmarks.machine import Machine
from benchmarks.system import System, running
from benchmarks.tables import figure, table
from postroad.ids import new_id
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Signer, Verifier, token_hash

LOCK = Path(__file__).with_name("profiler.txt")
SAMPLES_PER_S = 250
CONNECTIONS = 64
PYTHON = ("bridge", "worker")
METHOD = "catalog.products.list"
REPEATS = 2_000

SIGNING = {"request", "reply", "_pairwise"}
VERIFYING = {"verify", "read_signature", "_is_authentic"} | {
    f"check_{what}" for what in ("signature", "type", "audience")
}
# A layer claims a frame by a part of its file's name; the first rule that fits decides.
FILES = {
    "/postroad/messaging/admission.py": "verify",
    "/postroad/messaging/worker_core.py": "handler",
    "/postroad/security/keyring.py": "verify",
    "/postroad/broker/amqp/connection.py": "socket",
    "/postroad/broker/amqp/transport.py": "socket",
    "/postroad/broker/amqp/": "pika",
    "/postroad/context.py": "handler",
    "/postroad/security/access_tokens.py": "token",
    "/postroad/security/token_verifier.py": "token",
    "http_bridge/http/authentication.py": "token",
    "/postroad/contracts/": "contract",
    "http_bridge/routes/routing.py": "contract",
    "/postroad/observability/logging.py": "log",
    "/postroad/": "messaging",
    "/structlog/": "log",
    "/pika/": "pika",
    "http_bridge/": "HTTP",
    "/uvicorn/": "HTTP",
    "asyncio/runners.py": "socket",  # nothing in Python runs: the loop itself
    "catalog_worker/": "handler",
}
LAYERS = {
    "HTTP": "uvicorn, httptools, routing, the answer with its ETag",
    "token": "the user's token: found, known, not revoked",
    "contract": "parsing and validating a message, writing it as JSON",
    "sign": "signatures made",
    "verify": "signatures, sender, deadline, rights and replay checked",
    "messaging": "client, worker, confirms, acknowledgements",
    "pika": "AMQP frames read and written",
    "socket": "the event loop, reading and writing sockets",
    "handler": "the listing, from the cache; its task",
    "log": "one line a request and a delivery",
}
OTHER_THREAD = "Thread._bootstrap"
WRITES_JSON = re.compile(r"to_json\(|model_validate_json\(")

_FRAME = re.compile(r"(.+) \((.+):(\d+)\)")


@dataclass(frozen=True, slots=True)
class Layers:
    """Microseconds of CPU per request."""

    machine: Machine
    requests_per_s: float
    cpu_us: dict[str, float]  # by process
    layers_us: dict[str, dict[str, float]]  # by process, by layer
    samples: dict[str, int]
    operations_us: dict[str, float]  # signing and verifying, each by itself

    @property
    def cpu_us_total(self) -> float:
        return sum(self.cpu_us.values())

    @property
    def signing_us(self) -> float:
        """All four operations: a request takes each once."""
        return sum(self.operations_us.values())


async def profile(folder: Path, *, seconds: float) -> Layers:
    """Load the system twice: to see what it costs, and where."""
    machine = Machine.this()
    environment = folder / "profiler"
    python = await asyncio.to_thread(prepare_environment, environment, LOCK)
    async with running(folder / "layers") as system:
        target = system.target()
        page = checked_page(target)
        print(f"Load for {seconds:g} s, then again with samples taken", flush=True)
        result = await asyncio.to_thread(measure, target, connections=CONNECTIONS, seconds=seconds)
        spies = [
            _Spy(name, python.with_name("py-spy"), target.processes[name][0], folder)
            for name in PYTHON
        ]
        await asyncio.to_thread(run_wrk, target, connections=CONNECTIONS, seconds=seconds)
        counts = {spy.name: by_layer(spy.stacks()) for spy in spies}
        operations_us = _operations_us(system, page)
    return Layers(
        machine=machine,
        requests_per_s=result.requests_per_s,
        cpu_us=result.cpu_us,
        layers_us={
            name: {
                layer: count / samples.total() * result.cpu_us[name]
                for layer, count in samples.items()
            }
            for name, samples in counts.items()
        },
        samples={name: samples.total() for name, samples in counts.items()},
        operations_us=operations_us,
    )


class _Spy:
    """Takes samples of one process until its stacks are asked for."""

    def __init__(self, name: str, program: Path, pid: int, folder: Path) -> None:
        self.name = name
        self._output = folder / f"{name}.stacks"
        self._child = subprocess.Popen(
            [
                *(program, "record", "--pid", str(pid), "--rate", str(SAMPLES_PER_S)),
                *("--format", "raw", "--full-filenames", "--output", self._output),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stacks(self) -> list[tuple[list[str], int]]:
        """Stop, and give each stack, the innermost frame last, with its number of samples."""
        self._child.send_signal(2)  # SIGINT: it writes its report
        self._child.wait(timeout=60)
        lines = self._output.read_text().splitlines()
        parts = (line.rpartition(" ") for line in lines)
        return [(stack.split(";"), int(count)) for stack, _, count in parts]


def by_layer(stacks: Iterable[tuple[Sequence[str], int]]) -> Counter[str]:
    """Count samples by layer, those of the thread that everything runs on.

    The others wait for work, which py-spy cannot tell from working.
    """
    counts: Counter[str] = Counter()
    for stack, count in stacks:
        if stack[0].startswith(OTHER_THREAD):
            continue
        layers = (_layer_of(frame) for frame in reversed(stack))
        counts[next((layer for layer in layers if layer), "socket")] += count
    return counts


def _layer_of(frame: str) -> str | None:
    """Say which layer claims a frame, ``function (file:line)``; none lets its caller decide."""
    match = _FRAME.fullmatch(frame)
    if match is None:
        return None
    function, file, line = match[1].rpartition(".")[2], match[2], int(match[3])
    if file.endswith("/postroad/security/signatures.py"):
        return "sign" if function in SIGNING else "verify" if function in VERIFYING else None
    layer = next((layer for part, layer in FILES.items() if part in file), None)
    if layer == "messaging" and WRITES_JSON.search(linecache.getline(file, line)):
        return "contract"
    return layer


def _operations_us(system: System, page: bytes) -> dict[str, float]:
    """Time what is signed and verified of one request: the real functions, keys and bodies."""
    bridge, catalog = (
        KeyRing.load(system.state.identity_file(name), system.state.trust_file)
        for name in ("bridge", "catalog")
    )
    body, hashed = b'{"limit":30,"skip":0}', token_hash(system.token)
    asking, answering = Signer(bridge), Signer(catalog)

    def sign_request() -> str:
        return asking.request(
            audience="catalog",
            method=METHOD,
            body=body,
            message_id=new_id(),
            correlation_id="benchmark",
            reply_to=f"reply.bridge.{new_id()}",
            deadline=time() + 5,
            token_hash=hashed,
        )

    request = sign_request()
    claims = Verifier(catalog).verify(request, body, typ="request")

    def sign_reply() -> str:
        return answering.reply(claims, body=page, message_id=new_id(), as_of=time())

    reply = sign_reply()
    receiving, returning = Verifier(catalog), Verifier(bridge)
    operations = {
        "sign the request": sign_request,
        "verify the request": lambda: receiving.verify(request, body, typ="request"),
        "sign the reply": sign_reply,
        "verify the reply": lambda: returning.verify(reply, page, typ="reply"),
    }
    return {
        name: timeit(operation, number=REPEATS, timer=process_time) / REPEATS * 1e6
        for name, operation in operations.items()
    }


def report(layers: Layers) -> str:
    """Say it in Markdown."""
    rows = [
        [layer, what, *_figures([layers.layers_us[name].get(layer, 0.0) for name in PYTHON])]
        for layer, what in LAYERS.items()
    ]
    broker = layers.cpu_us["rabbitmq"]
    rows.append(["broker", "RabbitMQ, all of it", "", "", figure(broker)])
    totals = [layers.cpu_us[name] for name in PYTHON]
    whole = figure(layers.cpu_us_total)
    rows.append(
        ["all", f"{layers.requests_per_s:,.0f} requests a second", *map(figure, totals), whole]
    )
    operations = [[name, figure(us)] for name, us in layers.operations_us.items()]
    operations.append(["all four", figure(layers.signing_us)])
    samples = ", ".join(f"{count:,} of the {name}" for name, count in layers.samples.items())
    return (
        f"{layers.machine}.\n`GET /products?limit=30`, {CONNECTIONS} connections; samples by "
        f"py-spy, {SAMPLES_PER_S} a second: {samples}.\n\n"
        f"{table(['layer', 'what it is', 'bridge us', 'worker us', 'sum us'], rows)}\n\n"
        f"{table(['one operation by itself', 'us'], operations)}\n"
    )


def _figures(values: Sequence[float]) -> list[str]:
    return [figure(value) for value in (*values, sum(values))]
