"""The catalogue as the worker puts it together, while the sample upstream goes and comes back."""

from typing import Any

import pytest

from catalog_worker.catalog.cache import CachedCatalog
from catalog_worker.catalog.fetcher import Fetcher
from catalog_worker.catalog.upstream import UpstreamCatalog
from ops.local.ports import free_ports
from postroad.contracts.catalog import ListProducts
from postroad.contracts.errors import UpstreamFailed
from postroad.testing import eventually
from sample_api.faults import Faults
from tests.support.upstreams import answering, sample_upstream, settings_for

SEEN = ListProducts(limit=5)
UNSEEN = ListProducts(limit=6)


def catalog_and_fetcher(url: str, **changes: Any) -> tuple[CachedCatalog, Fetcher]:
    settings = settings_for(url, cache_fresh_s=0, cache_refresh_s=0, breaker_rest_s=1, **changes)
    fetcher = Fetcher(settings)
    return CachedCatalog(UpstreamCatalog(fetcher), settings), fetcher


async def test_without_upstream_cached_products_are_served_and_others_fail_fast() -> None:
    (port,) = free_ports(1)
    with sample_upstream(port) as (url, _):
        catalog, fetcher = catalog_and_fetcher(url, breaker_failures=2)
        known = await catalog.list(SEEN)
        assert not known.is_stale

    for _ in range(2):
        with pytest.raises(UpstreamFailed, match="cannot be reached"):
            await catalog.list(UNSEEN)
    found = await catalog.list(SEEN)
    with pytest.raises(UpstreamFailed, match="given a rest") as failed:
        await catalog.list(UNSEEN)

    assert failed.value.retry_after_s == 1
    assert found.value is known.value
    assert (found.is_stale, found.as_of) == (True, known.as_of)

    with sample_upstream(port):
        await eventually(lambda: not fetcher.breaker.opened)
        assert (await catalog.list(UNSEEN)).value.limit == 6
        assert not (await catalog.list(SEEN)).is_stale


@pytest.mark.parametrize("fault", ["500", "429", "html", "nonsense", "truncated", "huge"])
async def test_whatever_upstream_answers_what_is_known_is_given(fault: str) -> None:
    with sample_upstream() as (url, app):
        catalog, _ = catalog_and_fetcher(url)
        known = await catalog.list(SEEN)
        app.state.faults = Faults.model_validate({"fail_rate": 1, "fail_with": fault})

        with answering(within_s=2):
            found = await catalog.list(SEEN)

        assert found.value is known.value
        assert found.is_stale


async def test_an_upstream_that_hangs_leaves_time_to_give_what_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("catalog_worker.catalog.fetcher.REPLY_S", 1.0)  # on a busy machine
    with sample_upstream() as (url, app):
        catalog, _ = catalog_and_fetcher(url)
        known = await catalog.list(SEEN)
        app.state.faults = Faults(delay_ms=800)

        with answering(within_s=1.5) as call:
            found = await catalog.list(SEEN)
            left_s = call.time_left_s()
        app.state.faults = Faults()

        assert found.value is known.value
        assert found.is_stale
        assert left_s > 0
