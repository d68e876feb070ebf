"""What the cache does with an answer that is no longer fresh."""

import pytest
import structlog

from catalog_worker.catalog.cache import CachedCatalog
from postroad.contracts.catalog import ListProducts
from postroad.contracts.errors import ServiceError, UpstreamBusy, UpstreamFailed
from postroad.testing import eventually
from tests.support.services import LAMP
from tests.support.shelf import RENEWED_FIRST_S, RENEWED_MEANWHILE_S, TOO_OLD_S, Shelf, find, stock

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
