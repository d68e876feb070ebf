"""What tests of several modules start from: servers, a client, a user, a state folder."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from ops.state.folder import StateFolder
from postroad.messaging.client import Client
from postroad.security.access_tokens import AccessToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.testing import access_token, calling
from postroad.topology.names import rpc_queue
from sample_api.faults import Faults
from sample_api.server import build_app
from tests.integration.test_security import Scene
from tests.support.brokers import MemoryUnderTest
from tests.support.captures import write_state
from tests.support.explaining import command
from tests.support.fetching import Serve
from tests.support.sample_upstream import client_of
from tests.support.traffic import Inbox, consuming
from tests.support.upstreams import scripted


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as running:
        yield lambda script: running.enter_context(scripted(script))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    for variable in [name for name in os.environ if name.startswith("SAMPLE_UPSTREAM_")]:
        monkeypatch.delenv(variable)
    return client_of(build_app(Faults()))


@pytest.fixture
async def client(memory_broker: MemoryUnderTest, keys: dict[str, KeyRing]) -> AsyncIterator[Client]:
    async with calling(memory_broker, keys["bridge"]) as client:
        yield client


@pytest.fixture
async def requests(memory_broker: MemoryUnderTest) -> AsyncIterator[Inbox]:
    """What would reach a worker of the auth service."""
    async with consuming(memory_broker, "auth", rpc_queue("auth")) as inbox:
        yield inbox


@pytest.fixture
def user(keys: dict[str, KeyRing], identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


@pytest.fixture
def scene(keys: dict[str, KeyRing], user: AccessToken) -> Scene:
    """One who writes to a worker; there is neither a worker nor a broker."""
    inbox = SimpleNamespace(address="reply.bridge.x")
    return Scene(cast(Any, None), cast(Any, None), keys, user, cast(Any, inbox))


@pytest.fixture
def state(tmp_path: Path, identities: dict[str, Identity], trust: TrustBundle) -> StateFolder:
    return write_state(tmp_path / "state", identities, trust)


@pytest.fixture
def explained(state: StateFolder, tmp_path: Path) -> Callable[..., int]:
    """Run the command on some messages; give its exit status."""

    def run(*messages: dict[str, Any], arguments: tuple[str, ...] = ()) -> int:
        path = tmp_path / "messages.json"
        path.write_text(json.dumps(list(messages)))
        return command(str(path), "--state", str(state.folder), *arguments)

    return run
