"""Waiting until the system answers, and one real sign-in and fetch through it."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import requests

_POLL_S = 0.2  # the bridge logs each
_TIMEOUT_S = 15.0

_SIGN_IN = {"username": "admin", "password": "admin"}  # the auth worker's, in development only


class SelfCheckError(Exception):
    """The running system does not do its job; the message says what it answered."""


class _RefusedError(SelfCheckError):
    """The auth service does its job, and lets nobody in: another password, or too many failures."""


async def answers(url: str, *, timeout_s: float, alive: Callable[[], None]) -> None:
    """Wait until a URL answers 200.

    Args:
        alive: raises when there is nothing left to wait for.

    Raises:
        SelfCheckError: it did not answer 200 in time; the message says what it did.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        alive()
        outcome = await asyncio.to_thread(why_not_ready, url)
        if outcome is None:
            return
        if loop.time() > deadline:
            raise SelfCheckError(f"{url} is not ready after {timeout_s:.0f} s: {outcome}")
        await asyncio.sleep(_POLL_S)


def check(url: str) -> str:
    """Sign in and fetch a product, as a user does; say what came of it.

    Whoever has changed the password, or failed to guess it, keeps nothing from starting.

    Raises:
        SelfCheckError: it went wrong.
    """
    with _session() as session:
        try:
            token = _expect(session, "POST", f"{url}/auth", json=_SIGN_IN)["access_token"]
        except _RefusedError as error:
            return f"no product was fetched, for admin / admin is refused: {error}"
        bearer = {"Authorization": f"Bearer {token}"}
        page = _expect(session, "GET", f"{url}/products?limit=1", headers=bearer)
    return f"signed in and fetched a product through the queue, one of {page.get('total', 0)}"


def _expect(
    session: requests.Session,
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    json: dict[str, str] | None = None,
) -> dict[str, Any]:
    try:
        response = session.request(method, url, timeout=_TIMEOUT_S, headers=headers, json=json)
        if response.status_code == HTTPStatus.NO_CONTENT:
            return {}
        body: dict[str, Any] = response.json()
    except requests.RequestException as error:  # a body that is not JSON is one too
        raise SelfCheckError(f"self-check: {method} {url} failed: {error}") from error
    if response.status_code != HTTPStatus.OK:
        refusals = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS)
        kind = _RefusedError if response.status_code in refusals else SelfCheckError
        raise kind(
            f"self-check: {method} {url} answered {response.status_code}: {body.get('detail')}"
        )
    return body


def why_not_ready(url: str) -> str | None:
    """Return why a URL does not answer 200, none when it does."""
    try:
        with _session() as session:
            response = session.get(url, timeout=5)
    except requests.RequestException as error:
        return type(error).__name__
    if response.status_code == HTTPStatus.OK:
        return None
    try:
        return f"status {response.status_code}: {response.json()['detail']}"
    except (requests.RequestException, KeyError, TypeError):  # it is no problem object
        return f"status {response.status_code}"


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a proxy does not know our loopback
    return session
