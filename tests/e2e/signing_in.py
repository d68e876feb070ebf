"""Signing in as a client does, and what a client then holds."""

from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import httpx
import jwt

from tests.e2e.system import System

PASSWORD = "a password for the tests"


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
