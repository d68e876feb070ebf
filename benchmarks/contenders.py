"""The peers: how each is started, beside the same broker, and what its answers went through."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError, Popen
from time import monotonic, sleep

import requests

from benchmarks.environments import prepare_environment
from benchmarks.load import Target
from benchmarks.system import System
from ops.local import ports, processes
from ops.local.ports import LOOPBACK

HERE = Path(__file__).parent
LOCKS = HERE / "peers" / "locks"
MODULES = "benchmarks.peers"
START_TIMEOUT_S = 30.0
POLL_S = 0.2
PATH = "/products?limit=30"

GUNICORN = ("gunicorn", "--bind", f"{LOOPBACK}:{{port}}", "--workers", "1", "--threads", "8")
UVICORN = ("uvicorn", "--host", LOOPBACK, "--port", "{port}", "--no-access-log")
QUIET = ("--log-level", "warning")


class PeerError(Exception):
    """A peer cannot be installed or started, or answers something else; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another way to answer the same request: commands of its own environment."""

    name: str
    title: str
    lock: str
    http: Sequence[str]
    worker: Sequence[str] = ()
    safety: str = "no signature, no confirm; acknowledged by hand"

    @property
    def has_broker(self) -> bool:
        return bool(self.worker)


PEERS = (
    Peer(
        "nameko",
        "Nameko: HTTP entrypoint and RPC",
        "nameko",
        ("nameko", "run", "--config", "{here}/peers/nameko.yaml", f"{MODULES}.nameko_shop:Gateway"),
        (
            "nameko",
            "run",
            "--config",
            "{here}/peers/nameko.yaml",
            f"{MODULES}.nameko_shop:Catalogue",
        ),
        "no signature; confirms and acknowledgements",
    ),
    Peer(
        "faststream",
        "FastStream `request()` behind FastAPI",
        "faststream",
        (*UVICORN, *QUIET, f"{MODULES}.faststream_api:app"),
        ("faststream", "run", f"{MODULES}.faststream_worker:app"),
        "no signature; confirms and acknowledgements",
    ),
    Peer(
        "celery",
        "Celery `rpc://` behind Flask on gunicorn",
        "celery",
        (*GUNICORN, *QUIET, f"{MODULES}.celery_api:app"),
        ("celery", "--app", f"{MODULES}.celery_shop", "worker", "--loglevel", "warning"),
        "no signature, no confirm; acknowledged before the task",
    ),
    Peer(
        "tutorial",
        "the RabbitMQ tutorial's RPC (pika, blocking) behind Flask on gunicorn",
        "tutorial",
        (*GUNICORN, *QUIET, f"{MODULES}.tutorial_api:app"),
        ("python", "-m", f"{MODULES}.tutorial_worker"),
        "no signature, no confirm; acknowledged",
    ),
    Peer(
        "aio-pika",
        "aio-pika's RPC pattern behind Starlette on uvicorn",
        "aio-pika",
        (*UVICORN, *QUIET, f"{MODULES}.aio_pika_api:app"),
        ("python", "-m", f"{MODULES}.aio_pika_worker"),
        "no signature (pickle); confirms and acknowledgements",
    ),
    Peer(
        "flask",
        "no broker: Flask on gunicorn, 8 threads",
        "flask",
        (*GUNICORN, *QUIET, f"{MODULES}.flask_alone:app"),
        safety="no broker",
    ),
    Peer(
        "fastapi",
        "no broker: FastAPI on uvicorn",
        "fastapi",
        (*UVICORN, *QUIET, f"{MODULES}.fastapi_alone:app"),
        safety="no broker",
    ),
    Peer(
        "bare-asgi",
        "limit: a bare ASGI application on uvicorn, the same bytes, no token",
        "fastapi",
        (*UVICORN, *QUIET, "benchmarks.limits.bare_asgi:app"),
        safety="no broker",
    ),
)
NAMES = tuple(peer.name for peer in PEERS)


@asynccontextmanager
async def started(
    peer: Peer, system: System, *, page: bytes, remembers_tokens: bool
) -> AsyncIterator[Target]:
    """Run a peer, and make sure that it answers the same products.

    Raises:
        PeerError: it does not install or start, or answers something else.
    """
    python = await asyncio.to_thread(_environment, peer, system.folder)
    (port,) = ports.free_ports(1)
    env = environment(system, virtual_host=peer.name, page=page)
    env |= {"PEER_PORT": str(port), "PATH": f"{python.parent}:{os.environ['PATH']}"}
    if remembers_tokens:
        env["PEER_REMEMBERS_TOKENS"] = "1"
    children: dict[str, Popen[bytes]] = {}
    log = system.folder / f"{peer.name}.log"
    try:
        with log.open("wb") as output:
            for role, command in (("worker", peer.worker), ("http", peer.http)):
                if command:
                    program, *words = (word.format(port=port, here=HERE) for word in command)
                    children[role] = processes.spawn(
                        [python.parent / program, *words], env=env, output=output
                    )
        pids = {role: [child.pid] for role, child in sorted(children.items())}
        if peer.has_broker:
            pids["rabbitmq"] = [system.broker.pid or 0]
        target = Target(peer.name, f"http://{LOOPBACK}:{port}{PATH}", system.headers, pids)
        await asyncio.to_thread(_answers_alike, target, page, children, log)
        yield target
    finally:
        for child in children.values():
            await processes.stop(child, grace_s=5)


def environment(system: System, *, virtual_host: str, page: bytes) -> dict[str, str]:
    """Tell a peer what it answers, whom it believes, and where the broker is."""
    page_file, keys_file = system.folder / "page.json", system.folder / "keys.json"
    if not page_file.exists() or page_file.read_bytes() != page:
        page_file.write_bytes(page)
    keys_file.write_bytes(requests.get(f"{system.url}/.well-known/jwks.json", timeout=10).content)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(HERE.parent),
        "PYTHONUNBUFFERED": "1",
        "PEER_PAGE": str(page_file),
        "PEER_KEYS": str(keys_file),
        "PEER_BROKER": system.broker_url(virtual_host),
    }


def _environment(peer: Peer, folder: Path) -> Path:
    try:
        return prepare_environment(folder / "peers" / peer.lock, LOCKS / f"{peer.lock}.txt")
    except (CalledProcessError, OSError) as error:
        raise PeerError(f"does not install: {error}") from error


def _answers_alike(
    target: Target, page: bytes, children: Mapping[str, Popen[bytes]], log: Path
) -> None:
    """Wait for an answer, and hold it against ours; a stranger has to be refused."""
    deadline = monotonic() + START_TIMEOUT_S
    while True:
        outcome = _difference(target, page)
        if outcome is None:
            return
        dead = [role for role, child in children.items() if child.poll() is not None]
        if dead or monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines()
            what = f"its {dead[0]} ended" if dead else outcome
            raise PeerError(f"{what}: {lines[-1] if lines else 'its log is empty'}")
        sleep(POLL_S)


def _difference(target: Target, page: bytes) -> str | None:
    """Say what is wrong with an answer; none when all is right."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.get(target.url, headers=target.headers, timeout=5)
            if response.status_code != 200:
                return f"answers {response.status_code}"
            if response.json() != json.loads(page):
                return "answers something else"
            stranger = session.get(target.url, timeout=5).status_code
        except requests.RequestException as error:
            return type(error).__name__
    if target.name != "bare-asgi" and stranger != 401:
        return f"answers {stranger} to a request without a token"
    return None
