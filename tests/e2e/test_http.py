"""What a client sees when all is well, and when it is the client who is wrong."""

import socket
from time import time

import httpx
import jwt
import pytest

from postroad.security.access_tokens import AUDIENCE, ISSUER, TOKEN_TYPE
from postroad.security.keys import Identity
from postroad.testing import eventually
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.system import System, log_lines

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

PROBLEM_FIELDS = {"type", "title", "status", "detail", "code", "request_id", "error"}


def assert_problem(response: httpx.Response, status: int, code: str) -> None:
    """Every error has one shape."""
    body = response.json()
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert set(body) == PROBLEM_FIELDS
    assert (body["status"], body["code"]) == (status, code)
    assert body["error"] == body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]


def forge(system: System, service: str, **changes: object) -> str:
    """Make a token as the auth worker does, but with a service's own key and other claims."""
    key = Identity.load(system.state.identity_file(service)).key("tokens")
    claims = {
        "iss": ISSUER,
        "sub": "admin",
        "aud": AUDIENCE,
        "scope": "catalog:read",
        "iat": int(time()),
        "exp": int(time()) + 60,
        "jti": "1",
        "user_id": 1,
        "sid": "1",
        **changes,
    }
    headers = {"typ": TOKEN_TYPE, "kid": key.kid}
    return jwt.encode(claims, key.signer(), algorithm="EdDSA", headers=headers)


async def test_signing_in_gives_a_token_and_a_cookie_that_scripts_cannot_read(
    visitor: httpx.AsyncClient,
) -> None:
    response = await visitor.post("/auth", json=CREDENTIALS)

    body = response.json()
    assert response.status_code == 200
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    assert body["message"]
    cookie = next(
        header
        for header in response.headers.get_list("set-cookie")
        if header.startswith(f"token={body['access_token']};")
    )
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


async def test_a_wrong_password_is_answered_like_an_unknown_user(
    visitor: httpx.AsyncClient,
) -> None:
    wrong = await visitor.post("/auth", json={"username": "admin", "password": "nimda"})
    unknown = await visitor.post("/auth", json={"username": "nobody", "password": "nimda"})

    assert_problem(wrong, 401, "invalid_credentials")
    assert_problem(unknown, 401, "invalid_credentials")
    assert wrong.json()["detail"] == unknown.json()["detail"]


async def test_credentials_that_are_not_json_are_415(visitor: httpx.AsyncClient) -> None:
    response = await visitor.post("/auth", data=CREDENTIALS)

    assert_problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[]", b'{"username":"admin"}', b'{"username":"admin","password":1}', b"\xff\xfe"],
)
async def test_a_broken_or_incomplete_body_is_400_and_does_not_quote_it(
    visitor: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}

    response = await visitor.post("/auth", content=body, headers=headers)

    assert_problem(response, 400, "invalid_request")


async def test_a_body_over_the_limit_is_413(visitor: httpx.AsyncClient) -> None:
    response = await visitor.post("/auth", json={**CREDENTIALS, "more": "x" * 20_000})

    assert_problem(response, 413, "body_too_large")


async def test_headers_over_the_limit_end_the_connection_with_a_problem(system: System) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n"

    with socket.create_connection(("127.0.0.1", system.port), timeout=5) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\ncontent-type: application/problem+json\r\n" in answer


async def test_products_come_as_a_page_of_the_asked_size(user: httpx.AsyncClient) -> None:
    response = await user.get("/products", params={"limit": 5, "skip": 10})

    body = response.json()
    assert response.status_code == 200
    assert [product["id"] for product in body["data"]] == [11, 12, 13, 14, 15]
    assert (body["total"], body["skip"], body["limit"]) == (120, 10, 5)
    assert {"id", "title", "brand", "price", "description"} <= set(body["data"][0])


async def test_a_product_without_a_brand_has_a_null_one(user: httpx.AsyncClient) -> None:
    response = await user.get("/products", params={"limit": 100})

    brands = [product["brand"] for product in response.json()["data"]]
    assert None in brands
    assert any(brands)


async def test_products_are_found_by_text_category_and_order(user: httpx.AsyncClient) -> None:
    found = await user.get("/products", params={"q": "river"})
    books = await user.get("/products", params={"category": "books", "limit": 100})
    cheap = await user.get("/products", params={"sort_by": "price", "order": "asc", "limit": 100})

    prices = [product["price"] for product in cheap.json()["data"]]
    assert "A Field Guide to Small Rivers" in [each["title"] for each in found.json()["data"]]
    assert {product["category"] for product in books.json()["data"]} == {"books"}
    assert prices == sorted(prices)


async def test_a_search_that_finds_nothing_is_an_empty_page(user: httpx.AsyncClient) -> None:
    response = await user.get("/products", params={"q": "no such thing anywhere"})

    assert response.status_code == 200
    assert response.json() == {"data": [], "total": 0, "skip": 0, "limit": 0}


async def test_one_product_and_the_categories_can_be_read(user: httpx.AsyncClient) -> None:
    product = await user.get("/products/3")
    categories = await user.get("/products/categories")

    assert product.json()["data"]["id"] == 3
    assert {"slug": "books", "name": "Books"} in categories.json()["data"]


async def test_an_unknown_product_is_404(user: httpx.AsyncClient) -> None:
    response = await user.get("/products/9999")

    assert_problem(response, 404, "product_not_found")
    assert response.json()["detail"] == "no product 9999"


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=1000", "limit=abc", "limit=", "skip=-1", "skip=1.5"),
        *("sort_by=nothing", "order=up", "category=No%20such", "q=", "q=a&category=books"),
    ],
)
async def test_parameters_out_of_range_are_400(user: httpx.AsyncClient, query: str) -> None:
    response = await user.get(f"/products?{query}")

    assert_problem(response, 400, "invalid_request")


async def test_a_product_id_that_is_no_number_is_400(user: httpx.AsyncClient) -> None:
    assert_problem(await user.get("/products/abc"), 400, "invalid_request")


async def test_the_cookie_is_as_good_as_the_header(visitor: httpx.AsyncClient, token: str) -> None:
    response = await visitor.get("/products/1", headers={"Cookie": f"a=b; token={token}; c=d"})

    assert response.status_code == 200


async def test_no_token_is_401_and_says_how_to_get_in(visitor: httpx.AsyncClient) -> None:
    response = await visitor.get("/products")

    assert_problem(response, 401, "not_authenticated")
    assert response.headers["www-authenticate"] == 'Bearer realm="postroad"'


@pytest.mark.parametrize(
    "authorization",
    ["Bearer not.a.token", "Bearer", "Basic YWRtaW46YWRtaW4=", "Bearer " + "x" * 5000],
)
async def test_a_malformed_token_is_401(visitor: httpx.AsyncClient, authorization: str) -> None:
    response = await visitor.get("/products", headers={"Authorization": authorization})

    assert_problem(response, 401, "not_authenticated")
    assert "www-authenticate" in response.headers


async def test_an_expired_token_is_401(visitor: httpx.AsyncClient, system: System) -> None:
    expired = forge(system, "auth", exp=int(time()) - 1)

    response = await visitor.get("/products", headers={"Authorization": f"Bearer {expired}"})

    assert_problem(response, 401, "not_authenticated")
    assert "expired" in response.json()["detail"]


async def test_a_token_signed_by_another_service_is_401(
    visitor: httpx.AsyncClient, system: System
) -> None:
    forged = forge(system, "catalog")

    response = await visitor.get("/products", headers={"Authorization": f"Bearer {forged}"})

    assert_problem(response, 401, "not_authenticated")


async def test_a_token_without_the_scope_is_403(visitor: httpx.AsyncClient, system: System) -> None:
    narrow = forge(system, "auth", scope="something:else")

    response = await visitor.get("/products", headers={"Authorization": f"Bearer {narrow}"})

    assert_problem(response, 403, "not_authorised")


async def test_an_unknown_address_is_404_and_a_wrong_method_405(
    visitor: httpx.AsyncClient,
) -> None:
    unknown = await visitor.get("/nothing/here")
    wrong = await visitor.delete("/products")

    assert_problem(unknown, 404, "not_found")
    assert_problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD"


async def test_head_is_answered_like_get_without_a_body(visitor: httpx.AsyncClient) -> None:
    response = await visitor.head("/healthz")

    assert response.status_code == 200
    assert response.content == b""


async def test_the_front_page_says_what_this_is(visitor: httpx.AsyncClient) -> None:
    response = await visitor.get("/")

    assert response.json()["name"] == "Postroad"


async def test_the_front_page_is_html_for_a_browser_and_kept_by_it(
    visitor: httpx.AsyncClient,
) -> None:
    page = await visitor.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    again = await visitor.get(
        "/", headers={"Accept": "text/html", "If-None-Match": page.headers["etag"]}
    )
    script = await visitor.get("/page/main.js")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == "Accept"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert (again.status_code, again.content) == (304, b"")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_the_docs_need_nothing_from_elsewhere(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/docs")
    script = await visitor.get("/docs/swagger-ui-bundle.js")
    document = await visitor.get("/openapi.json")

    assert page.status_code == script.status_code == 200
    assert "://" not in page.text
    assert "/products/{product_id}" in document.json()["paths"]


async def test_the_messages_are_documented_on_a_page_that_runs_nothing(
    visitor: httpx.AsyncClient,
) -> None:
    links = (await visitor.get("/")).json()["links"]
    page = await visitor.get(links["messages"])
    style = await visitor.get("/docs/messages.css")
    document = await visitor.get(links["asyncapi"])

    assert page.status_code == style.status_code == 200
    assert style.headers["content-type"] == "text/css"
    assert page.headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'self'"
    )
    assert "catalog.products.list" in page.text
    assert document.json()["asyncapi"] == "3.0.0"


async def test_a_request_id_is_taken_and_found_in_the_log_of_every_service(
    user: httpx.AsyncClient, system: System
) -> None:
    request_id = f"my-request-{time()}"

    response = await user.get("/products/1", headers={"X-Request-ID": request_id})

    def services_that_log_it() -> set[object]:
        lines = log_lines(system.state.folder)
        return {line["service"] for line in lines if line.get("request_id") == request_id}

    assert response.headers["x-request-id"] == request_id
    await eventually(lambda: services_that_log_it() == {"bridge", "catalog"})


async def test_a_request_id_that_is_not_plain_is_replaced(visitor: httpx.AsyncClient) -> None:
    response = await visitor.get("/healthz", headers={"X-Request-ID": 'a"b{}'})

    assert response.headers["x-request-id"] != 'a"b{}'
    assert len(response.headers["x-request-id"]) == 36


async def test_no_secret_is_in_any_log(
    visitor: httpx.AsyncClient, system: System, token: str
) -> None:
    password = "a password that should be nowhere"
    await visitor.post("/auth", json={"username": "admin", "password": password})

    log = (system.state.folder / "services.log").read_text()

    assert password not in log
    assert token not in log
