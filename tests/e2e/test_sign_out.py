"""The end of a session: what it voids, and from whose pages a sign-out is taken."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from postroad.contracts.catalog import GetProduct
from postroad.contracts.errors import NotAuthenticated, ServiceError
from postroad.messaging.client import Client
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.testing import eventually
from tests.e2e.signing_in import (
    Tokens,
    cookies_of,
    refresh,
    sign_in,
    signed_in,
    status,
    tokens_of,
)
from tests.e2e.system import System
from tests.e2e.test_http import assert_problem

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

HEARD_S = 10.0  # until everybody has heard that a session has ended, on a busy machine


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def past_the_bridge(system: System) -> AsyncIterator[Client]:
    """The way to the workers that does not pass the bridge's own check of tokens."""
    async with system.calling_as("bridge") as client:
        yield client


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


# how a session ends


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


async def test_whoever_is_disabled_is_out_at_once(
    app: httpx.AsyncClient, system: System, past_the_bridge: Client, tokens: Tokens, username: str
) -> None:
    assert await status(app, tokens) == 200

    await system.command("users", "disable", username)

    await is_void_everywhere(app, system, past_the_bridge, tokens)
    assert_problem(await refresh(app, tokens.refresh), 401, "invalid_refresh_token")
    assert_problem(await sign_in(app, username), 401, "invalid_credentials")


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


async def test_an_access_token_cookie_from_another_site_signs_nobody_out(
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
