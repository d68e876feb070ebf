"""What the catalogue remembers, for how long, and how often it asks."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import perf_counter
from typing import Any

import pytest

from catalog_worker.catalog.cache import CachedCatalog
from catalog_worker.catalog.upstream import Answer
from postroad.context import current_context
from postroad.contracts.catalog import ListProducts, Product
from postroad.contracts.errors import UpstreamFailed
from postroad.testing import eventually
from tests.support.shelf import (
    JUST_FRESH_S,
    RENEWED_FIRST_S,
    RENEWED_MEANWHILE_S,
    Shelf,
    catalog_of,
    find,
    stock,
)
from tests.support.upstreams import answering, timed


class LastFirst(asyncio.Future[Any]):
    """A future that calls back whom it likes when: asyncio promises no order."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._waiting: list[tuple[Callable[[Any], object], Context | None]] = []

    def add_done_callback(
        self, callback: Callable[[Any], object], /, *, context: Context | None = None
    ) -> None:
        if not self._waiting:
            super().add_done_callback(lambda _: self._call_next())
        self._waiting.append((callback, context))

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        before = len(self._waiting)
        self._waiting = [each for each in self._waiting if each[0] != callback]
        return before - len(self._waiting)

    def _call_next(self) -> None:
        if self._waiting:
            callback, context = self._waiting.pop()
            self.get_loop().call_soon(callback, self, context=context)
            self.get_loop().call_later(0.01, self._call_next)


# Fresh


async def test_a_fresh_answer_asks_nobody(catalog: CachedCatalog, shelf: Shelf) -> None:
    first = await catalog.list(ListProducts())
    shelf.clock.now += JUST_FRESH_S

    second = await catalog.list(ListProducts())

    assert second.value is first.value
    assert shelf.asked == [ListProducts()]


async def test_that_there_is_no_such_product_is_remembered_too(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    assert (await catalog.find(8)).value is None
    assert (await catalog.find(8)).value is None

    assert shelf.asked == [8]


async def test_different_questions_have_different_answers(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    pages = [
        ListProducts(),
        ListProducts(limit=7),
        ListProducts(skip=7),
        ListProducts(q="books"),
        ListProducts(category="books"),
        ListProducts(sort_by="price"),
        ListProducts(sort_by="price", order="desc"),
    ]

    for _ in range(2):
        for page in pages:
            await catalog.list(page)
        await catalog.find(7)
        await catalog.find(30)
        await catalog.categories()

    assert shelf.asked == [*pages, 7, 30, "categories"]


async def test_what_is_remembered_is_bounded_and_the_longest_unrenewed_goes(shelf: Shelf) -> None:
    catalog = catalog_of(shelf, cache_max_entries=2)
    await catalog.find(1)
    await catalog.find(2)
    shelf.clock.now += RENEWED_FIRST_S
    await catalog.find(1)
    await catalog.find(3)
    shelf.asked.clear()

    await catalog.find(1)
    await catalog.find(3)
    await catalog.find(2)

    assert shelf.asked == [2]
    assert len(catalog._renewals.entries) == 2


# One question at a time


async def test_a_thousand_requests_for_a_cold_page_make_one_call(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    pages = await asyncio.gather(*(catalog.list(ListProducts()) for _ in range(1000)))

    assert len(shelf.asked) == 1
    assert {id(page.value) for page in pages} == {id(pages[0].value)}


async def test_a_failure_reaches_all_who_wait_and_is_not_remembered(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    shelf.error = UpstreamFailed()

    errors = await asyncio.gather(
        *(catalog.list(ListProducts()) for _ in range(1000)), return_exceptions=True
    )
    shelf.error = None
    page = await catalog.list(ListProducts())

    assert {type(error) for error in errors} == {UpstreamFailed}
    assert page.value.total == len(shelf.asked) == 2


async def test_an_answer_is_kept_before_anybody_who_waits_for_it_goes_on(
    catalog: CachedCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "create_future", lambda: LastFirst(loop=loop))

    assert [await stock(catalog), await stock(catalog)] == [1, 1]
    assert catalog.lookups == {"missed": 1, "fresh": 1}


async def test_different_questions_are_asked_at_the_same_time(shelf: Shelf) -> None:
    catalog = catalog_of(shelf, upstream_connections=4)
    shelf.may_answer.clear()

    asking = [asyncio.create_task(catalog.find(number)) for number in range(1, 7)]

    await eventually(lambda: len(shelf.asked) == 4)
    shelf.may_answer.set()
    await asyncio.gather(*asking)
    assert len(shelf.asked) == 6


async def test_one_who_stops_waiting_takes_the_answer_from_nobody(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    shelf.may_answer.clear()
    first, second = (asyncio.create_task(stock(catalog)) for _ in range(2))
    await eventually(lambda: shelf.asked)

    first.cancel()
    shelf.may_answer.set()

    assert await second == 1
    assert first.cancelled()
    assert len(shelf.asked) == 1


# What the reply says of its age


async def test_a_reply_says_since_when_its_data_is_known(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    await stock(catalog)
    shelf.clock.now += JUST_FRESH_S

    found = await find(catalog)

    assert found.as_of == shelf.clock.now - JUST_FRESH_S
    assert not found.is_stale


async def test_without_a_cache_every_answer_is_new_and_none_is_stale(shelf: Shelf) -> None:
    catalog = catalog_of(shelf, cache_fresh_s=0, cache_refresh_s=0, cache_stale_s=0)

    for number in (1, 2):
        found = await find(catalog)

        assert found.value.stock == number
        assert not found.is_stale


async def test_the_source_knows_the_deadline_of_the_request(shelf: Shelf) -> None:
    class Watching(Shelf):
        def find(
            self, product_id: int, known: Answer[Product | None] | None
        ) -> Answer[Product | None]:
            calls.append(current_context.get())
            return super().find(product_id, known)

    calls: list[object] = []
    with answering(within_s=5) as call:
        await catalog_of(Watching()).find(7)

    assert calls == [call]


# What is counted


async def test_lookups_and_stale_answers_are_counted(catalog: CachedCatalog, shelf: Shelf) -> None:
    await stock(catalog)
    await stock(catalog)
    shelf.clock.now += RENEWED_MEANWHILE_S
    await stock(catalog)
    await eventually(lambda: not catalog._renewals.asking)
    shelf.clock.now += RENEWED_FIRST_S
    shelf.error = UpstreamFailed()
    await stock(catalog)
    with pytest.raises(UpstreamFailed):
        await catalog.categories()

    assert catalog.lookups == {"missed": 3, "fresh": 1, "renewing": 1}
    assert catalog.stale_answers == 1


async def test_whoever_waits_for_upstream_has_waited_and_nobody_else(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    async def ask() -> float | None:
        with timed() as stopwatch:
            await stock(catalog)
        return stopwatch.upstream_s

    shelf.may_answer.clear()
    asking = [asyncio.create_task(ask()) for _ in range(2)]
    await eventually(lambda: shelf.asked)
    began = perf_counter()
    await eventually(lambda: perf_counter() - began > 0.02)
    shelf.may_answer.set()
    waited = await asyncio.gather(*asking)

    assert all(seconds is not None and seconds > 0.02 for seconds in waited)
    assert await ask() is None
    shelf.clock.now += RENEWED_MEANWHILE_S
    assert await ask() is None
    await eventually(lambda: not catalog._renewals.asking)
    assert len(shelf.asked) == 2
