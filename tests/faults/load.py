"""Those who use the system meanwhile: people over HTTP, services over the broker."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import jwt

from postroad.contracts.auth import GetOwnUser
from postroad.contracts.catalog import GetProduct, ListProducts, ProductPage
from postroad.contracts.errors import ServiceError
from postroad.messaging.client import Client
from postroad.runtime.blocking import BlockingClient
from postroad.security.access_tokens import AccessToken
from postroad.security.signatures import token_hash
from tests.faults.expected import PAGE_LIMIT, digest
from tests.faults.records import OK, Accepted, Records, Request
from tests.faults.system import PRODUCTS

Answer = tuple[str, str]  # what it says it is about, and the digest of all that it says

PAUSE_S = 0.15  # on average, between two requests of one of them
PASSWORD = "one for all of them"


class Visitor:
    """A person with a browser: signs in, looks at products, signs out again."""

    def __init__(
        self,
        name: str,
        http: httpx.AsyncClient,
        records: Records,
        seed: int,
        *,
        stays: bool,
        timeout_s: float,
    ) -> None:
        """``stays`` is one who never signs out, so that others may act for them."""
        self._name = name
        self.stays = stays
        self._http = http
        self._records = records
        self._timeout_s = timeout_s
        self._chance = random.Random(f"{seed} {name}")
        self.token: AccessToken | None = None

    async def run(self) -> None:
        actions = [self._product] * 10 + [self._page] * 4 + [self._own_user] * 4
        actions += [self._no_product]
        actions += [self._sign_in] * 2 + [self._sign_out] * (not self.stays)
        while True:
            action = self._chance.choice(actions) if self.token else self._sign_in
            await action()
            await asyncio.sleep(self._chance.uniform(0.2, 1.8) * PAUSE_S)

    async def _product(self) -> None:
        number = self._chance.randint(1, PRODUCTS)

        def read(answer: Any) -> Answer:
            return f"product {answer['data']['id']}", digest(answer["data"])

        await self._ask(f"product {number}", "GET", f"/products/{number}", read)

    async def _no_product(self) -> None:
        number = PRODUCTS + self._chance.randint(1, PRODUCTS)
        await self._ask(
            f"no product {number}",
            *("GET", f"/products/{number}"),
            lambda problem: (str(problem["detail"]), ""),
            expects="product_not_found",
        )

    async def _page(self) -> None:
        skip = self._chance.randrange(PRODUCTS)

        def read(answer: Any) -> Answer:
            return f"page {answer['skip']}", digest(answer)

        path = f"/products?skip={skip}&limit={PAGE_LIMIT}"
        await self._ask(f"page {skip}", "GET", path, read)

    async def _own_user(self) -> None:
        def read(answer: Any) -> Answer:
            return f"user {answer['username']}", ""

        await self._ask(f"user {self._name}", "GET", "/auth/me", read)

    async def _sign_in(self) -> None:
        def read(answer: Any) -> Answer:
            self.token = read_token(answer["access_token"])
            self._accept("auth.login.succeeded")
            return f"session of {self.token.username}", self.token.session_id

        given = {"username": self._name, "password": PASSWORD}
        await self._ask(f"session of {self._name}", "POST", "/auth", read, json=given)

    async def _sign_out(self) -> None:
        def read(answer: Any) -> Answer:
            self._accept("auth.session.revoked")
            return str(answer["message"]), ""

        await self._ask("signed out", "POST", "/auth/logout", read)
        self.token = None  # even without an answer it may have happened

    def _accept(self, event: str) -> None:
        assert self.token is not None
        self._records.accepted.append(Accepted(event, self.token.session_id, time.monotonic()))

    async def _ask(
        self,
        about: str,
        method: str,
        path: str,
        read: Callable[[Any], Answer],
        *,
        expects: str = OK,
        **given: Any,
    ) -> None:
        headers = {"Authorization": f"Bearer {self.token.text}"} if self.token else {}
        began, answered, said = time.monotonic(), "", ""
        try:
            response = await self._http.request(method, path, headers=headers, **given)
        except httpx.TransportError as error:
            outcome = _end_without_answer(error)
        else:
            self._http.cookies.clear()  # the header is enough, and says whose it is
            outcome = _outcome(response)
            if outcome == expects:
                answered, said = read(response.json())
                outcome = OK
            elif outcome == "not_authenticated":
                self.token = None
        ended = time.monotonic()
        self._records.requests.append(
            Request(
                self._name, "http", about, began, ended, self._timeout_s, outcome, answered, said
            )
        )


def _end_without_answer(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectError):
        return "refused"
    return "silent" if isinstance(error, httpx.TimeoutException) else "cut"


def _outcome(response: httpx.Response) -> str:
    if response.status_code < 300:  # 204 is for an empty catalogue, which this one never is
        return OK if response.content else f"status {response.status_code}"
    if response.headers.get("content-type") == "application/problem+json":
        return str(response.json()["code"])
    return f"status {response.status_code}"


def read_token(text: str) -> AccessToken:
    """Read a token as whoever has it, not as one who must check it."""
    claims = jwt.decode(text, options={"verify_signature": False})
    return AccessToken(
        text=text,
        hash=token_hash(text),
        username=claims["sub"],
        user_id=claims.get("user_id", 0),  # as whoever it means nothing to
        session_id=claims["sid"],
        scopes=frozenset(),
        expires_at=claims["exp"],
    )


class Caller:
    """A service that calls without the bridge, now and then for a person."""

    def __init__(
        self, name: str, records: Records, visitors: list[Visitor], seed: int, *, timeout_s: float
    ) -> None:
        self._name = name
        self._records = records
        self._visitors = visitors
        self._timeout_s = timeout_s
        self._chance = random.Random(f"{seed} {name}")

    async def run(self, client: Client) -> None:
        while True:
            began = time.monotonic()
            about, call = self._choose(client)
            try:
                answer = await call
            except ServiceError as error:
                self._note("direct", about, began, error.code)
            else:
                self._note("direct", about, began, OK, answer)
            await asyncio.sleep(self._chance.uniform(0.2, 1.8) * PAUSE_S)

    def run_blocking(self, client: BlockingClient, is_over: Callable[[], bool]) -> None:
        """Do the same in a thread, as a script or a Flask application does."""
        while not is_over():
            began, number = time.monotonic(), self._chance.randint(1, PRODUCTS)
            about = f"product {number}"
            try:
                product = client.call(GetProduct(product_id=number), timeout_s=self._timeout_s)
            except ServiceError as error:
                self._note("blocking", about, began, error.code)
            else:
                answer = f"product {product.id}", digest(product.model_dump())
                self._note("blocking", about, began, OK, answer)
            time.sleep(self._chance.uniform(0.2, 1.8) * PAUSE_S)

    def _choose(self, client: Client) -> tuple[str, Coroutine[Any, Any, Answer]]:
        signed_in = [visitor.token for visitor in self._visitors if visitor.stays and visitor.token]
        kind = self._chance.randrange(4)
        if kind == 0 and signed_in:
            token = self._chance.choice(signed_in)
            return f"user {token.username}", _own_user(client, token, self._timeout_s)
        if kind == 1:
            skip = self._chance.randrange(PRODUCTS)
            return f"page {skip}", _page(client, skip, self._timeout_s)
        number = self._chance.randint(1, PRODUCTS)
        return f"product {number}", _product(client, number, self._timeout_s)

    def _note(
        self, way: str, about: str, began: float, outcome: str, answer: Answer = ("", "")
    ) -> None:
        ended = time.monotonic()
        self._records.requests.append(
            Request(self._name, way, about, began, ended, self._timeout_s, outcome, *answer)
        )


async def _own_user(client: Client, token: AccessToken, timeout_s: float) -> Answer:
    user = await client.call(GetOwnUser(), timeout_s=timeout_s, user=token)
    return f"user {user.username}", ""


async def _page(client: Client, skip: int, timeout_s: float) -> Answer:
    wanted = ListProducts(skip=skip, limit=PAGE_LIMIT)
    page: ProductPage = await client.call(wanted, timeout_s=timeout_s)
    return f"page {page.skip}", digest(page.model_dump())


async def _product(client: Client, number: int, timeout_s: float) -> Answer:
    product = await client.call(GetProduct(product_id=number), timeout_s=timeout_s)
    return f"product {product.id}", digest(product.model_dump())
