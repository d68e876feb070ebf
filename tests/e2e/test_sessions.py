"""Signing in, staying signed in and signing out, as a client and as a browser sees it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio

from postroad.contracts.catalog import GetProduct
from postroad.contracts.errors import NotAuthenticated, ServiceError
from postroad.ids import new_id
from postroad.messaging.client import Client
from postroad.security.access_tokens import ALGORITHM, AUDIENCE, ISSUER
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.testing import eventually
from tests.e2e.system import System
from tests.e2e.test_http import assert_problem

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = "a password for the tests"
HEARD_S = 2.0  # until everybody has heard that a session has ended


@dataclass(frozen=True)
class Tokens:
    """What a client holds after signing in."""

    access: str
    refresh: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access}"}

    @property
    def claims(self) -> dict[str, Any]:
        """Read the access token, unverified."""
        claims: dict[str, Any] = jwt.decode(self.access, options={"verify_signature": False})
        return claims


@pytest_asyncio.fixture(loop_scope="session")
async def app(system: System) -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps no cookies; its failures count against no other test's address."""
    async with client_at(system, "127.0.0.2") as http:
        yield http


@pytest.fixture
def username(system: System) -> str:
    """A user of this test alone."""
    name = f"reader-{new_id()}"
    system.add_user(name, PASSWORD)
    return name


@pytest_asyncio.fixture(loop_scope="session")
async def tokens(app: httpx.AsyncClient, username: str) -> Tokens:
    return await signed_in(app, username)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def past_the_bridge(system: System) -> AsyncIterator[Client]:
    """The way to the workers that does not pass the bridge's own check of tokens."""
    async with system.calling_as("bridge") as client:
        yield client


def client_at(system: System, address: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=address)
    return httpx.AsyncClient(base_url=system.url, timeout=10, transport=transport)


async def signed_in(http: httpx.AsyncClient, username: str) -> Tokens:
    return tokens_of(await sign_in(http, username))


async def sign_in(
    http: httpx.AsyncClient, username: str, password: str = PASSWORD
) -> httpx.Response:
    response = await http.post("/auth", json={"username": username, "password": password})
    http.cookies.clear()
    return response


async def refresh(http: httpx.AsyncClient, token: str) -> httpx.Response:
    response = await http.post("/auth/refresh", json={"refresh_token": token})
    http.cookies.clear()
    return response


def tokens_of(response: httpx.Response) -> Tokens:
    assert response.status_code == 200, response.text
    body = response.json()
    return Tokens(body["access_token"], body["refresh_token"])


def cookies_of(response: httpx.Response) -> SimpleCookie:
    """Read the cookies that a response sets, with what it says of each."""
    cookies = SimpleCookie()
    for header in response.headers.get_list("set-cookie"):
        cookies.load(header)
    return cookies


async def status(http: httpx.AsyncClient, tokens: Tokens, path: str = "/products/1") -> int:
    return (await http.get(path, headers=tokens.bearer)).status_code


async def worker_refuses(system: System, client: Client, tokens: Tokens) -> bool:
    """Ask the catalogue worker itself whether it refuses a token."""
    verifier = TokenVerifier(system.keys("bridge"), Revocations())
    try:
        await client.call(GetProduct(product_id=1), user=verifier.verify(tokens.access))
    except NotAuthenticated:
        return True
    except ServiceError as error:
        raise AssertionError(f"neither taken nor refused: {error}") from error
    return False


async def is_void_everywhere(
    app: httpx.AsyncClient, system: System, client: Client, tokens: Tokens
) -> None:
    """Wait until the bridge, the catalogue worker and the auth worker refuse an access token."""
    for path in ("/products/1", "/auth/me"):

        async def is_refused(path: str = path) -> bool:
            return await status(app, tokens, path) == 401

        await eventually(is_refused, timeout_s=HEARD_S)

    async def is_refused_by_worker() -> bool:
        return await worker_refuses(system, client, tokens)

    await eventually(is_refused_by_worker, timeout_s=HEARD_S)


# signing in and refreshing


async def test_signing_in_gives_both_tokens_in_the_body_and_as_cookies(
    app: httpx.AsyncClient, username: str
) -> None:
    response = await sign_in(app, username)

    body, cookies = response.json(), cookies_of(response)
    access, refresh_cookie = cookies["token"], cookies["refresh_token"]
    assert response.headers["cache-control"] == "no-store"
    assert access.value == body["access_token"]
    assert (access["path"], access["max-age"]) == ("/", str(body["expires_in"]))
    assert (access["httponly"], access["samesite"]) == (True, "Lax")
    assert refresh_cookie.value == body["refresh_token"]
    assert refresh_cookie["path"] == "/auth"
    assert refresh_cookie["max-age"] == str(body["refresh_expires_in"])
    assert (refresh_cookie["httponly"], refresh_cookie["samesite"]) == (True, "Strict")


async def test_refreshing_gives_two_new_tokens_of_the_same_session(
    app: httpx.AsyncClient, tokens: Tokens
) -> None:
    response = await refresh(app, tokens.refresh)

    new, cookies = tokens_of(response), cookies_of(response)
    assert {new.access, new.refresh}.isdisjoint({tokens.access, tokens.refresh})
    assert new.claims["sid"] == tokens.claims["sid"]
    assert (cookies["token"].value, cookies["refresh_token"].value) == (new.access, new.refresh)
    assert await status(app, new) == await status(app, tokens) == 200


async def test_a_browser_stays_signed_in_by_its_cookies_alone(
    visitor: httpx.AsyncClient, username: str
) -> None:
    await visitor.post("/auth", json={"username": username, "password": PASSWORD})
    first = dict(visitor.cookies)

    refreshed = await visitor.post("/auth/refresh")

    assert refreshed.status_code == 200
    assert dict(visitor.cookies).keys() == first.keys() == {"token", "refresh_token"}
    assert visitor.cookies["refresh_token"] != first["refresh_token"]
    assert (await visitor.get("/auth/me")).json()["username"] == username


async def test_an_old_refresh_token_ends_the_session_with_all_its_tokens(
    app: httpx.AsyncClient, system: System, past_the_bridge: Client, tokens: Tokens
) -> None:
    newest = tokens_of(await refresh(app, tokens.refresh))
    assert await status(app, newest) == 200
    assert not await worker_refuses(system, past_the_bridge, newest)

    reused = await refresh(app, tokens.refresh)

    assert_problem(reused, 401, "invalid_refresh_token")
    assert_problem(await refresh(app, newest.refresh), 401, "invalid_refresh_token")
    for each in (tokens, newest):
        await is_void_everywhere(app, system, past_the_bridge, each)


async def test_an_access_token_is_not_taken_for_a_refresh_token(
    app: httpx.AsyncClient, tokens: Tokens
) -> None:
    in_body = await refresh(app, tokens.access)
    in_cookie = await app.post(
        "/auth/refresh", headers={"Cookie": f"refresh_token={tokens.access}"}
    )

    assert_problem(in_body, 401, "invalid_refresh_token")
    assert_problem(in_cookie, 401, "invalid_refresh_token")
    assert await status(app, tokens) == 200


async def test_a_refresh_token_is_not_taken_for_an_access_token(
    app: httpx.AsyncClient, tokens: Tokens
) -> None:
    in_header = await app.get("/auth/me", headers={"Authorization": f"Bearer {tokens.refresh}"})
    in_cookie = await app.get("/auth/me", headers={"Cookie": f"token={tokens.refresh}"})

    assert_problem(in_header, 401, "not_authenticated")
    assert_problem(in_cookie, 401, "not_authenticated")


async def test_without_a_refresh_token_nothing_is_refreshed(app: httpx.AsyncClient) -> None:
    assert_problem(await app.post("/auth/refresh"), 401, "invalid_refresh_token")
    assert_problem(await refresh(app, "made up"), 401, "invalid_refresh_token")


# signing out


def by_cookie(tokens: Tokens) -> dict[str, Any]:
    return {"headers": {"Cookie": f"token={tokens.access}; refresh_token={tokens.refresh}"}}


def by_bearer(tokens: Tokens) -> dict[str, Any]:
    return {"headers": tokens.bearer}


def by_access_cookie(tokens: Tokens) -> dict[str, Any]:
    return {"headers": {"Cookie": f"token={tokens.access}"}}


def by_body(tokens: Tokens) -> dict[str, Any]:
    return {"json": {"refresh_token": tokens.refresh}}


@pytest.mark.parametrize("way", [by_cookie, by_bearer, by_access_cookie, by_body])
async def test_signing_out_voids_every_token_of_the_session_everywhere(
    app: httpx.AsyncClient, system: System, past_the_bridge: Client, tokens: Tokens, way: Any
) -> None:
    assert await status(app, tokens) == 200
    assert not await worker_refuses(system, past_the_bridge, tokens)

    response = await app.post("/auth/logout", **way(tokens))

    cookies = cookies_of(response)
    assert response.status_code == 200
    assert {name: (each.value, each["max-age"]) for name, each in cookies.items()} == {
        "token": ("", "0"),
        "refresh_token": ("", "0"),
    }
    assert_problem(await refresh(app, tokens.refresh), 401, "invalid_refresh_token")
    await is_void_everywhere(app, system, past_the_bridge, tokens)
    refused = await app.get("/products/1", headers=tokens.bearer)
    assert_problem(refused, 401, "not_authenticated")
    assert "revoked" in refused.json()["detail"]


async def test_signing_out_leaves_the_users_other_sessions(
    app: httpx.AsyncClient, system: System, past_the_bridge: Client, username: str
) -> None:
    here, elsewhere = await signed_in(app, username), await signed_in(app, username)

    await app.post("/auth/logout", headers=here.bearer)

    await is_void_everywhere(app, system, past_the_bridge, here)
    assert await status(app, elsewhere) == 200
    assert (await refresh(app, elsewhere.refresh)).status_code == 200


async def test_signing_out_takes_a_token(app: httpx.AsyncClient) -> None:
    assert_problem(await app.post("/auth/logout"), 401, "not_authenticated")


async def test_whoever_is_disabled_is_out_at_once(
    app: httpx.AsyncClient, system: System, past_the_bridge: Client, tokens: Tokens, username: str
) -> None:
    assert await status(app, tokens) == 200

    await system.command("users", "disable", username)

    await is_void_everywhere(app, system, past_the_bridge, tokens)
    assert_problem(await refresh(app, tokens.refresh), 401, "invalid_refresh_token")
    assert_problem(await sign_in(app, username), 401, "invalid_credentials")


# who one is, and what one may do


async def test_a_user_may_read_the_catalogue_and_no_more(
    app: httpx.AsyncClient, tokens: Tokens, username: str
) -> None:
    response = await app.get("/auth/me", headers=tokens.bearer)

    profile = response.json()
    assert profile.pop("user_id") == tokens.claims["user_id"]
    assert profile == {"username": username, "roles": ["user"], "scopes": ["catalog:read"]}
    assert tokens.claims["scope"] == "catalog:read"


async def test_an_operator_may_sync_and_an_admin_may_also_manage_users(
    app: httpx.AsyncClient, system: System
) -> None:
    names = {role: f"{role}-{new_id()}" for role in ("operator", "admin")}
    for role, name in names.items():
        system.add_user(name, PASSWORD, roles=(role,))

    scopes = {
        role: (await signed_in(app, name)).claims["scope"].split() for role, name in names.items()
    }

    assert scopes == {
        "operator": ["catalog:read", "catalog:sync", "operations:read"],
        "admin": ["catalog:read", "catalog:sync", "operations:read", "users:admin"],
    }


async def test_nobody_is_anybody_without_a_token(app: httpx.AsyncClient) -> None:
    assert_problem(await app.get("/auth/me"), 401, "not_authenticated")


async def test_the_published_keys_verify_a_token_and_are_public(
    app: httpx.AsyncClient, tokens: Tokens
) -> None:
    response = await app.get("/.well-known/jwks.json")

    keys = {key["kid"]: key for key in response.json()["keys"]}
    key = jwt.PyJWK.from_dict(keys[jwt.get_unverified_header(tokens.access)["kid"]])
    claims = jwt.decode(
        tokens.access, key, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE
    )
    assert claims["sid"] == tokens.claims["sid"]
    assert not [key for key in keys.values() if "d" in key]
    assert {(key["kty"], key["crv"], key["use"]) for key in keys.values()} == {
        ("OKP", "Ed25519", "sig")
    }


# requests that another site's page makes with a browser's cookies

ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # another host of our domain
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
async def test_cookies_are_not_taken_from_another_sites_page(
    app: httpx.AsyncClient, tokens: Tokens, path: str, headers: dict[str, str]
) -> None:
    cookies = by_cookie(tokens)["headers"]

    response = await app.post(path, headers=cookies | headers)

    assert_problem(response, 403, "cross_site")
    assert "set-cookie" not in response.headers
    assert await status(app, tokens) == 200
    assert (await refresh(app, tokens.refresh)).status_code == 200


async def test_nor_is_the_access_tokens_cookie_taken_to_sign_out(
    app: httpx.AsyncClient, tokens: Tokens
) -> None:
    headers = by_access_cookie(tokens)["headers"] | {"Sec-Fetch-Site": "cross-site"}

    assert_problem(await app.post("/auth/logout", headers=headers), 403, "cross_site")
    assert await status(app, tokens) == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": ""}]
)
@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
async def test_cookies_are_taken_from_our_own_pages_and_from_no_browser(
    app: httpx.AsyncClient, system: System, tokens: Tokens, path: str, headers: dict[str, str]
) -> None:
    own = {name: value or system.url for name, value in headers.items()}

    response = await app.post(path, headers=by_cookie(tokens)["headers"] | own)

    assert response.status_code == 200


# guessing


async def test_after_too_many_failures_even_the_right_password_is_not_confirmed(
    system: System, username: str
) -> None:
    async with client_at(system, "127.0.0.3") as http, client_at(system, "127.0.0.4") as other:
        failures = [await sign_in(http, username, f"wrong {number}") for number in range(5)]

        wrong, right = await sign_in(http, username, "wrong again"), await sign_in(http, username)
        from_elsewhere = await sign_in(other, username)

    assert [each.status_code for each in failures] == [401] * 5
    for response in (wrong, right, from_elsewhere):
        assert_problem(response, 429, "too_many_attempts")
        assert 0 < int(response.headers["retry-after"]) <= 900
        assert "set-cookie" not in response.headers
    assert right.json()["detail"] == wrong.json()["detail"]


async def test_an_address_that_guesses_is_stopped_whatever_names_it_tries(
    system: System, username: str
) -> None:
    async with client_at(system, "127.0.0.5") as http:
        answers = [await sign_in(http, f"nobody-{number}", "x") for number in range(51)]

        right = await sign_in(http, username)
    async with client_at(system, "127.0.0.6") as other:
        from_elsewhere = await sign_in(other, username)

    assert [each.status_code for each in answers] == [401] * 50 + [429]
    assert_problem(right, 429, "too_many_attempts")
    assert from_elsewhere.status_code == 200
