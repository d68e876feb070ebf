from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.fetching import Serve
from tests.upstreams import scripted


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as running:
        yield lambda script: running.enter_context(scripted(script))
