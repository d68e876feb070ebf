"""The bundled products, and more, fewer or changed ones in their place."""

import json
from collections import Counter

import httpx
import pytest

from sample_api.catalogue import bundled_products
from sample_api.faults import Faults
from sample_api.server import build_app
from tests.support.sample_upstream import ROOT, client_of

PRODUCTS = bundled_products()
FIELDS = {
    "id", "title", "description", "category", "price", "discountPercentage", "rating", "stock",
    "tags", "sku", "weight", "dimensions", "warrantyInformation", "shippingInformation",
    "availabilityStatus", "returnPolicy", "minimumOrderQuantity", "meta", "images", "thumbnail",
}  # fmt: skip


def test_the_catalogue_holds_120_products_with_ids_of_their_own() -> None:
    assert [product["id"] for product in PRODUCTS] == list(range(1, 121))
    assert len({str(product["title"]) for product in PRODUCTS}) == 120
    assert len({str(product["sku"]) for product in PRODUCTS}) == 120


def test_every_product_has_every_field_but_a_brand() -> None:
    assert all(set(product) - {"brand"} == FIELDS for product in PRODUCTS)


def test_about_half_of_the_products_have_no_brand_and_none_has_a_null() -> None:
    branded = [product["brand"] for product in PRODUCTS if "brand" in product]

    assert 50 <= len(branded) <= 70
    assert all(isinstance(brand, str) and brand for brand in branded)


def test_some_products_are_sold_out_and_say_so() -> None:
    sold_out = {product["id"] for product in PRODUCTS if product["stock"] == 0}

    assert 3 <= len(sold_out) <= 10
    assert sold_out == {
        product["id"] for product in PRODUCTS if product["availabilityStatus"] == "Out of Stock"
    }


def test_some_texts_are_not_ascii() -> None:
    text = "".join(f"{product['title']}{product['description']}" for product in PRODUCTS)

    assert all(sign in text for sign in ("é", "ü", "ñ", "京", "€"))


def test_there_are_twelve_categories_of_several_products() -> None:
    sizes = Counter(str(product["category"]) for product in PRODUCTS)

    assert len(sizes) == 12
    assert min(sizes.values()) >= 5


def test_the_data_file_is_small_and_one_product_a_line() -> None:
    path = ROOT / "sample_api" / "products.json"

    lines = path.read_text(encoding="utf-8").splitlines()

    assert path.stat().st_size < 150_000
    assert [json.loads(line.rstrip(","))["id"] for line in lines[1:-1]] == list(range(1, 121))


def test_more_products_than_the_bundled_are_variations_the_same_each_time() -> None:
    pages = [
        client_of(build_app(Faults(), products=100_000))
        .get("/products", params={"skip": 99_990, "limit": 30})
        .json()
        for _ in range(2)
    ]

    assert pages[0] == pages[1]
    assert (pages[0]["total"], len(pages[0]["products"])) == (100_000, 10)
    assert [product["id"] for product in pages[0]["products"]] == [*range(99_991, 100_001)]
    assert all(product.keys() >= FIELDS for product in pages[0]["products"])


def test_fewer_products_are_the_first_of_the_bundled() -> None:
    api = client_of(build_app(Faults(), products=5))

    assert api.get("/products").json()["products"] == PRODUCTS[:5]
    assert api.get("/products/6").status_code == 404


def test_prices_change_and_products_go_and_come_back(api: httpx.Client) -> None:
    before = api.get("/products", params={"limit": 0}).json()
    told = api.put("/changes", json={"prices": {"7": 0.5}, "removed": [3, 120]})
    changed = api.get("/products", params={"limit": 0}).json()
    gone = api.get("/products/3").status_code
    api.put("/changes", json={})

    assert told.json()["prices"] == {"7": 0.5}
    assert sorted(told.json()["removed"]) == [3, 120]
    assert gone == 404
    assert changed["total"] == 118
    assert {product["id"]: product["price"] for product in changed["products"]} == {
        product["id"]: 0.5 if product["id"] == 7 else product["price"]
        for product in PRODUCTS
        if product["id"] not in (3, 120)
    }
    assert api.get("/products", params={"limit": 0}).json() == before


@pytest.mark.parametrize("body", [{"price": {}}, {"prices": {"a": 1}}, {"removed": "all"}, []])
def test_changes_that_make_no_sense_are_refused(api: httpx.Client, body: object) -> None:
    response = api.put("/changes", json=body)

    assert response.status_code == 400
    assert api.get("/products").json()["total"] == len(PRODUCTS)
