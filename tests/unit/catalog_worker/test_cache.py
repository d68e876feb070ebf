"""What the catalogue remembers, for how long, and how often it asks."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from time import perf_counter
from typing import Any, TypeVar

import pytest
import structlog

from catalog_worker.catalog.cache import CachedCatalog
from catalog_worker.catalog.upstream import Answer
from postroad.context import current_context
from postroad.contracts.catalog import Category, CategoryList, ListProducts, Product, ProductPage
from postroad.contracts.errors import ServiceError, UpstreamBusy, UpstreamFailed
from postroad.contracts.message import Dated
from postroad.testing import eventually
from tests.support.auth import Clock
from tests.support.services import LAMP
from tests.support.upstreams import answering, settings_for, timed

T = TypeVar("T")

FRESH_S, REFRESH_S, STALE_S = 100, 1000, 10_000
JUST_FRESH_S = FRESH_S - 10
RENEWED_MEANWHILE_S = FRESH_S + 10
RENEWED_FIRST_S = FRESH_S + REFRESH_S + 10
TOO_OLD_S = FRESH_S + REFRESH_S + STALE_S + 10


class Shelf:
    """A source in memory: each answer is numbered, in a product's stock or a page's total."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[object] = []
        self.known: list[Answer[Any] | None] = []
        self.error: Exception | None = None
        self.has_changed = True
        self.may_answer = threading.Event()
        self.may_answer.set()

    def list(self, request: ListProducts, known: Answer[ProductPage] | None) -> Answer[ProductPage]:
        number = self._ask(request, known)
        return self._answer(ProductPage(data=[], total=number, skip=0, limit=0), known)

    def find(self, product_id: int, known: Answer[Product | None] | None) -> Answer[Product | None]:
        number = self._ask(product_id, known)
        product = LAMP.model_copy(update={"stock": number}) if product_id == LAMP.id else None
        return self._answer(product, known)

    def categories(self, known: Answer[CategoryList] | None) -> Answer[CategoryList]:
        self._ask("categories", known)
        return self._answer(CategoryList(data=[Category(slug="books", name="Books")]), known)

    def _ask(self, question: object, known: Answer[Any] | None) -> int:
        self.asked.append(question)
        self.known.append(known)
        number = len(self.asked)
        assert self.may_answer.wait(5)
        if self.error is not None:
            raise self.error
        return number

    def _answer(self, value: T, known: Answer[T] | None) -> Answer[T]:
        if known is not None and not self.has_changed:
            return known
        return Answer(value, f'"{len(self.asked)}"')


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


def catalog_of(source: Shelf, **changes: Any) -> CachedCatalog:
    settings = {
        "cache_fresh_s": FRESH_S,
        "cache_refresh_s": REFRESH_S,
        "cache_stale_s": STALE_S,
        **changes,
    }
    return CachedCatalog(
        source, settings_for("http://upstream.invalid", **settings), clock=source.clock
    )


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    shelf.may_answer.set()


@pytest.fixture
def catalog(shelf: Shelf) -> CachedCatalog:
    return catalog_of(shelf)


async def stock(catalog: CachedCatalog) -> int | None:
    return (await find(catalog)).value.stock


async def find(catalog: CachedCatalog) -> Dated[Product]:
    found = await catalog.find(LAMP.id)
    assert found.value is not None
    return Dated(found.value, found.as_of, found.is_stale)


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


# Stale while it is renewed


async def test_a_stale_answer_comes_at_once_and_is_renewed_once_meanwhile(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    assert await stock(catalog) == 1
    shelf.clock.now += RENEWED_MEANWHILE_S
    shelf.may_answer.clear()

    meanwhile = [await stock(catalog) for _ in range(10)]
    shelf.may_answer.set()

    assert meanwhile == [1] * 10
    await eventually(lambda: not catalog._renewals.asking)
    assert await stock(catalog) == 2
    assert len(shelf.asked) == 2


async def test_a_renewal_that_fails_meanwhile_disturbs_nobody_and_is_tried_again(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    await stock(catalog)
    shelf.clock.now += RENEWED_MEANWHILE_S
    shelf.error = UpstreamFailed()

    assert await stock(catalog) == 1
    await eventually(lambda: not catalog._renewals.asking)
    shelf.error = None
    assert await stock(catalog) == 1
    await eventually(lambda: not catalog._renewals.asking)

    assert await stock(catalog) == 3


async def test_renewing_passes_on_the_answer_at_hand_with_its_etag(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    for _ in range(3):
        await catalog.find(LAMP.id)
        await catalog.list(ListProducts())
        await catalog.categories()
        shelf.clock.now += RENEWED_FIRST_S

    tags = [known.etag if known else None for known in shelf.known]
    assert tags == [None, None, None, '"1"', '"2"', '"3"', '"4"', '"5"', '"6"']


# Stale if upstream cannot be asked


@pytest.mark.parametrize("error", [UpstreamFailed(), UpstreamBusy()])
async def test_an_old_answer_is_renewed_first_and_given_only_if_that_fails(
    catalog: CachedCatalog, shelf: Shelf, error: ServiceError
) -> None:
    await stock(catalog)
    shelf.clock.now += RENEWED_FIRST_S

    shelf.error = error
    assert await stock(catalog) == 1
    shelf.error = None
    assert await stock(catalog) == 3


async def test_an_answer_that_is_too_old_is_not_given(catalog: CachedCatalog, shelf: Shelf) -> None:
    await stock(catalog)
    shelf.clock.now += TOO_OLD_S
    shelf.error = UpstreamFailed("away")

    with pytest.raises(UpstreamFailed, match="away"):
        await stock(catalog)


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


@pytest.mark.parametrize("has_changed", [True, False])
async def test_an_answer_that_upstream_confirms_is_as_young_as_a_new_one(
    catalog: CachedCatalog, shelf: Shelf, *, has_changed: bool
) -> None:
    await stock(catalog)
    shelf.clock.now += RENEWED_FIRST_S
    shelf.has_changed = has_changed

    found = await find(catalog)

    assert found.value.stock == (2 if has_changed else 1)
    assert found.as_of == shelf.clock.now
    assert not found.is_stale


async def test_an_answer_made_do_with_is_marked_stale(catalog: CachedCatalog, shelf: Shelf) -> None:
    await stock(catalog)
    shelf.clock.now += RENEWED_FIRST_S
    shelf.error = UpstreamFailed()

    found = await find(catalog)

    assert found.as_of == shelf.clock.now - RENEWED_FIRST_S
    assert found.is_stale


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


# Bugs


async def test_a_bug_in_the_source_reaches_the_caller_whatever_is_at_hand(
    catalog: CachedCatalog, shelf: Shelf
) -> None:
    await stock(catalog)
    shelf.clock.now += RENEWED_FIRST_S
    shelf.error = KeyError("price")

    with pytest.raises(KeyError, match="price"):
        await stock(catalog)


async def test_a_bug_for_which_nobody_waits_is_logged(catalog: CachedCatalog, shelf: Shelf) -> None:
    await stock(catalog)
    shelf.clock.now += RENEWED_MEANWHILE_S
    shelf.error = KeyError("price")

    with structlog.testing.capture_logs() as logged:
        assert await stock(catalog) == 1
        await eventually(lambda: not catalog._renewals.asking)

    assert [line["exc_info"] for line in logged] == [shelf.error]


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
