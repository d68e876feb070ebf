"""What a program gets ready for its handlers."""

from collections.abc import Callable
from functools import partial
from time import time
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from postroad.context import RequestContext, current_context
from postroad.contracts.errors import Unavailable
from postroad.contracts.syncs import FetchPage
from postroad.messaging.background_worker import BackgroundHandlers
from postroad.messaging.client import Client
from postroad.runtime.resources import Resources
from postroad.runtime.serve import held_during_outage
from postroad.security.keyring import KeyRing
from postroad.storage.opening import OpenStore

JOB = FetchPage(sync_id="s", skip=0, limit=1)


class Handler:
    """Fails as often as it is told."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self, _: FetchPage, *, note: str = "") -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise Unavailable(f"the database is away{note}")


def store_with(*problems: str | None) -> OpenStore:
    found = iter(problems)
    database = SimpleNamespace(problem=lambda: next(found))
    return OpenStore(cast("Any", database), cast("Any", None))


def called(handler: Callable[[FetchPage], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad.storage.retrying.LOOK_EVERY_S", 0.0)
    token = current_context.set(RequestContext("catalog", "1", "1", time() + 30))
    try:
        handler(JOB)
    finally:
        current_context.reset(token)


def test_a_plain_handler_is_run_again_after_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = Handler(failures=1)
    handlers: BackgroundHandlers = {FetchPage: partial(handler, note="!")}

    held = held_during_outage(handlers, store_with("read-only", "read-only", None))

    called(held[FetchPage], monkeypatch)
    assert handler.calls == 2


def test_without_a_database_an_error_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = Handler(failures=1)

    held = held_during_outage({FetchPage: handler}, None)

    with pytest.raises(Unavailable):
        called(held[FetchPage], monkeypatch)
    assert handler.calls == 1


def test_an_async_handler_is_left_as_it_is() -> None:
    async def handle(_: FetchPage, *, note: str) -> None: ...

    handlers: BackgroundHandlers = {FetchPage: partial(handle, note="")}

    assert held_during_outage(handlers, store_with()) == handlers


@pytest.fixture
def resources(keys: dict[str, KeyRing]) -> Resources[None]:
    return Resources(
        keys["catalog"],
        None,
        client=Mock(spec=Client),
        messages=Mock(),
        store=None,
        is_development=True,
    )


def test_the_client_connects_only_for_handlers_that_ask_for_it(resources: Resources[None]) -> None:
    before = resources.needs_client
    assert resources.client is not None

    assert (before, resources.needs_client) == (False, True)


@pytest.mark.parametrize("what", ["database", "outbox", "inbox"])
def test_what_a_program_does_not_have_is_named(resources: Resources[None], what: str) -> None:
    with pytest.raises(RuntimeError, match=r"the program has no database: pass store=Store\("):
        getattr(resources, what)


@pytest.mark.parametrize("what", ["outbox", "inbox"])
def test_a_table_that_the_store_does_not_name_is_named(
    resources: Resources[None], what: str
) -> None:
    resources._store = store_with()

    with pytest.raises(RuntimeError, match=rf"has no {what}: pass Store\(..., {what}=TABLE\)"):
        getattr(resources, what)
