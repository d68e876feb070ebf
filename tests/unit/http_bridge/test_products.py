"""When the catalogue is empty: no search, and nothing in the whole listing."""

import pytest

from http_bridge.routes.routing import ContractRoute
from postroad.contracts.catalog import ListProducts, ProductPage
from postroad.contracts.errors import PeerError
from postroad.messaging.reply import Reply
from tests.support.bridges import ROUTES

(LISTING,) = (
    each for each in ROUTES if each.path == "/products" and isinstance(each, ContractRoute)
)
PAGE = b'{"data":[],"total":%d,"skip":0,"limit":0}'
ONE = b'{"data":[{"id":1,"title":"","price":1,"description":""}],"total":1,"skip":0,"limit":1}'


@pytest.mark.parametrize(
    ("body", "is_empty"),
    [
        (PAGE % 0, True),
        (PAGE % 7, False),
        (ONE, False),
        (b' { "limit": 0, "skip": 0, "total": 0, "data": [ ], "x": "%b" }' % (b"{" * 200), True),
        (ONE.replace(b":[", b": ["), False),
    ],
)
def test_a_catalogue_is_empty_when_its_whole_listing_is(body: bytes, is_empty: bool) -> None:
    assert LISTING._is_empty(ListProducts(), Reply(ProductPage, body, None, False)) is is_empty


@pytest.mark.parametrize("request_", [ListProducts(q="x"), ListProducts(category="books")])
def test_a_search_that_finds_nothing_says_nothing_of_the_catalogue(request_: ListProducts) -> None:
    assert not LISTING._is_empty(request_, Reply(ProductPage, PAGE % 0, None, False))


def test_a_page_that_cannot_be_read_is_the_fault_of_who_wrote_it() -> None:
    with pytest.raises(PeerError):
        LISTING._is_empty(ListProducts(), Reply(ProductPage, b"{}", None, False))
