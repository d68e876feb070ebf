"""The bundled sample product API: its lists, its single products and its quirks."""

import time

import httpx
import pytest

from sample_api.catalogue import bundled_products

PRODUCTS = bundled_products()


def ids(response: httpx.Response) -> list[int]:
    return [product["id"] for product in response.json()["products"]]


# Lists


def test_a_list_shows_thirty_products_unless_told_otherwise(api: httpx.Client) -> None:
    answer = api.get("/products").json()

    assert list(answer) == ["products", "total", "skip", "limit"]
    assert (answer["total"], answer["skip"], answer["limit"]) == (120, 0, 30)
    assert answer["products"] == list(PRODUCTS[:30])


def test_a_page_of_shop_fields_is_about_seven_kilobytes(api: httpx.Client) -> None:
    fields = "id,title,brand,price,description,category,thumbnail,rating,stock"

    body_bytes = len(api.get("/products", params={"select": fields}).content)

    assert 6_000 < body_bytes < 8_500


@pytest.mark.parametrize(
    ("asked", "first", "skip", "limit"),
    [
        ("limit=5&skip=10", 11, 10, 5),
        ("limit=0", 1, 0, 120),
        ("limit=50&skip=100", 101, 100, 20),
        ("skip=500", None, 500, 0),
        ("limit=-1", 1, 0, 119),
        ("skip=-3", 1, -3, 30),
        ("limit=1.9", 1, 0, 1),
        ("limit=1e1", 1, 0, 1),
        ("limit=&skip=", None, None, 0),
        ("skip=&limit=2", 1, None, 2),
        ("limit=.5", None, 0, 0),
    ],
)
def test_limit_and_skip_are_read_the_javascript_way(
    api: httpx.Client, asked: str, first: int | None, skip: int | None, limit: int
) -> None:
    response = api.get(f"/products?{asked}")

    answer = response.json()
    assert (answer["total"], answer["skip"], answer["limit"]) == (120, skip, limit)
    assert len(ids(response)) == limit
    assert next(iter(ids(response)), None) == first


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("limit=many", "Invalid 'limit' - must be a number"),
        ("limit=1x", "Invalid 'limit' - must be a number"),
        ("limit=" + "9" * 5000, "Invalid 'limit' - must be a number"),
        ("skip=two", "Invalid 'skip' - must be a number"),
        ("sortBy=price&order=up", "Order can be: 'asc' or 'desc'"),
        ("delay=5001", "Delay cannot be greater than 5 seconds"),
        ("delay=-1", "Delay cannot be negative"),
        ("delay=soon", "Invalid 'delay' - must be a number"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_a_bad_request(
    api: httpx.Client, asked: str, message: str
) -> None:
    response = api.get(f"/products?{asked}")

    assert response.status_code == 400
    assert response.json() == {"message": message}


def test_select_puts_the_id_first_and_misses_unknown_fields_silently(api: httpx.Client) -> None:
    answer = api.get("/products?select=price,title,colour&limit=1").json()

    assert list(answer["products"][0]) == ["id", "price", "title"]


def test_select_of_a_missing_brand_leaves_the_id_alone(api: httpx.Client) -> None:
    brandless = next(product["id"] for product in PRODUCTS if "brand" not in product)

    assert api.get(f"/products/{brandless}?select=brand").json() == {"id": brandless}


def test_a_list_is_sorted_before_it_is_cut(api: httpx.Client) -> None:
    dearest = max(PRODUCTS, key=lambda product: float(str(product["price"])))
    cheapest = min(PRODUCTS, key=lambda product: float(str(product["price"])))

    assert ids(api.get("/products?sortBy=price&order=desc&limit=1")) == [dearest["id"]]
    assert ids(api.get("/products?sortBy=price&limit=1")) == [cheapest["id"]]


def test_products_without_the_field_sorted_by_come_last(api: httpx.Client) -> None:
    answer = api.get("/products?sortBy=brand&order=desc&limit=0").json()

    brands = [product.get("brand", "") for product in answer["products"]]
    assert brands == sorted(brands, reverse=True)


@pytest.mark.parametrize("asked", ["sortBy=colour&order=desc", "sortBy=dimensions", "order=up"])
def test_an_order_by_nothing_that_can_be_ordered_is_ignored(api: httpx.Client, asked: str) -> None:
    assert ids(api.get(f"/products?{asked}")) == list(range(1, 31))


# Search, categories, one product


def test_search_looks_in_titles_and_descriptions_whatever_the_case(api: httpx.Client) -> None:
    found = api.get("/products/search", params={"q": "JALAPEÑO"}).json()

    assert [product["title"] for product in found["products"]] == ["Jalapeño Hot Honey"]
    assert found["total"] == 1
    assert api.get("/products/search?q=green+chillies").json()["products"] == found["products"]


def test_search_reads_a_hyphen_as_a_space(api: httpx.Client) -> None:
    assert ids(api.get("/products/search?q=night-oil")) == [2]
    assert ids(api.get("/products/search?q=slow cooks")) == [1]


def test_search_counts_every_match_and_shows_a_page_of_them(api: httpx.Client) -> None:
    everything = api.get("/products/search?q=the&limit=0").json()

    found = api.get("/products/search?q=the&limit=3&skip=2").json()

    assert found["total"] == everything["total"] > 5
    assert found["products"] == everything["products"][2:5]


def test_search_for_nothing_finds_everything(api: httpx.Client) -> None:
    assert api.get("/products/search").json()["total"] == 120
    assert api.get("/products/search?q=").json()["total"] == 120


def test_search_for_two_texts_is_a_bad_request(api: httpx.Client) -> None:
    response = api.get("/products/search?q=a&q=b")

    assert response.status_code == 400
    assert response.json() == {"message": "Invalid 'q' - must be a string"}


def test_categories_come_with_a_name_and_an_address_that_answers(api: httpx.Client) -> None:
    categories = api.get("/products/categories").json()

    assert [category["slug"] for category in categories] == api.get(
        "/products/category-list"
    ).json()
    textiles = next(category for category in categories if category["slug"] == "home-textiles")
    assert textiles["name"] == "Home Textiles"
    assert api.get(textiles["url"]).json()["total"] == 10


def test_a_category_lists_its_products_only(api: httpx.Client) -> None:
    answer = api.get("/products/category/books?limit=4").json()

    assert (answer["total"], answer["limit"]) == (10, 4)
    assert {product["category"] for product in answer["products"]} == {"books"}


def test_an_unknown_category_is_an_empty_list(api: httpx.Client) -> None:
    response = api.get("/products/category/submarines")

    assert response.status_code == 200
    assert response.json() == {"products": [], "total": 0, "skip": 0, "limit": 0}


def test_one_product_is_found_by_its_id(api: httpx.Client) -> None:
    assert api.get("/products/7").json() == PRODUCTS[6]


@pytest.mark.parametrize("product_id", ["0", "01", "121", "abc", "1.0"])
def test_an_id_that_no_product_has_is_not_found(api: httpx.Client, product_id: str) -> None:
    response = api.get(f"/products/{product_id}")

    assert response.status_code == 404
    assert response.json() == {"message": f"Product with id '{product_id}' not found"}


# HTTP


def test_text_is_sent_as_utf8_and_not_escaped(api: httpx.Client) -> None:
    assert "Jalapeño".encode() in api.get("/products/search?q=honey").content


def test_the_etag_of_an_answer_gets_a_304_until_the_answer_differs(api: httpx.Client) -> None:
    tag = api.get("/products?limit=2").headers["ETag"]

    same = api.get("/products?limit=2", headers={"If-None-Match": f'"old", {tag}'})
    different = api.get("/products?limit=3", headers={"If-None-Match": tag})

    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert different.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/nothing"), ("GET", "/products/1/2"), ("POST", "/products")],
)
def test_an_unknown_path_is_a_page_for_people(api: httpx.Client, method: str, path: str) -> None:
    response = api.request(method, path)

    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")


def test_a_trailing_slash_moves_permanently_and_keeps_the_query(api: httpx.Client) -> None:
    response = api.get("/products/?limit=2")

    assert response.status_code == 301
    assert response.headers["Location"] == "/products?limit=2"


@pytest.mark.parametrize("path", ["//elsewhere.example/", "/%2Felsewhere.example/"])
def test_a_trailing_slash_never_leads_to_another_host(api: httpx.Client, path: str) -> None:
    response = api.get(f"http://testserver{path}")

    assert response.headers["Location"] == "/elsewhere.example"


def test_a_delay_is_waited_for(api: httpx.Client) -> None:
    started = time.monotonic()

    response = api.get("/products/1?delay=60")

    assert response.status_code == 200
    assert time.monotonic() - started >= 0.06
