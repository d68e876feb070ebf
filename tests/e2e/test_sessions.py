"""Signing in and staying signed in, as a client and as a browser sees it."""

import httpx
import jwt
import pytest

from postroad.ids import new_id
from postroad.security.access_tokens import ALGORITHM, AUDIENCE, ISSUER
from tests.e2e.signing_in import (
    PASSWORD,
    Tokens,
    client_at,
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
    assert dict(visitor.cookies).keys() == first.keys() == {"token", "refresh_token", "device"}
    assert visitor.cookies["refresh_token"] != first["refresh_token"]
    assert (await visitor.get("/auth/me")).json()["username"] == username


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


async def test_without_a_token_nobody_has_a_profile(app: httpx.AsyncClient) -> None:
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


# guessing


async def test_after_too_many_failures_even_the_right_password_is_not_confirmed(
    system: System, username: str
) -> None:
    async with client_at(system, "127.0.0.3") as http, client_at(system, "127.0.0.4") as other:
        failures = [await sign_in(http, username, f"wrong {number}") for number in range(5)]

        wrong, right = await sign_in(http, username, "wrong again"), await sign_in(http, username)
        from_elsewhere = await sign_in(other, username)

    assert [each.status_code for each in failures] == [401] * 5
    assert from_elsewhere.status_code == 200
    for response in (wrong, right):
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
