import os
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from catalog_worker.sample_upstream.faults import Faults
from catalog_worker.sample_upstream.server import build_app
from tests.fetching import Serve
from tests.sample_upstream import client_of
from tests.upstreams import scripted


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as running:
        yield lambda script: running.enter_context(scripted(script))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    for variable in [name for name in os.environ if name.startswith("SAMPLE_UPSTREAM_")]:
        monkeypatch.delenv(variable)
    return client_of(build_app(Faults()))
