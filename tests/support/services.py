"""Clients and workers, running for as long as a test needs them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import time
from typing import Any

import jwt

from postroad.broker.interfaces import ConnectionState
from postroad.contracts.auth import CreateSession, Session
from postroad.contracts.catalog import Product
from postroad.ids import new_id
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Handlers, Worker
from postroad.security.access_tokens import AUDIENCE, ISSUER, TOKEN_TYPE, AccessToken, TokenVerifier
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.revocations import Revocations
from tests.support.brokers import Reachable
from tests.support.waiting import eventually

START_TIMEOUT_S = 10.0

SIGN_IN = CreateSession(username="reader", sealed_password="sealed")
SESSION = Session(
    access_token="token",
    expires_in=900,
    sealed_refresh_token="sealed",
    refresh_expires_in=86_400,
    user_id=1,
)
SESSION_BODY = SESSION.model_dump_json().encode()
LAMP = Product(
    id=7,
    title="Lamp",
    brand=None,
    price=12.5,
    description="Gives light",
    category="lighting",
    thumbnail=None,
    rating=None,
    stock=3,
)


@asynccontextmanager
async def serving(
    broker: Reachable,
    keys: KeyRing,
    handlers: Handlers,
    *,
    prefetch: int = 10,
    drain_timeout_s: float = 2.0,
) -> AsyncIterator[Worker]:
    """Run a worker of the service whose keys these are; drain it at the end."""
    user = await broker.as_user(keys.service)
    publisher = user.publisher()
    worker = Worker(
        keys.service,
        handlers,
        broker=user,
        publisher=publisher,
        keys=keys,
        revocations=Revocations(),
        prefetch=prefetch,
    )
    await publisher.start()
    await worker.start()
    await eventually(lambda: is_ready(worker), timeout_s=START_TIMEOUT_S)
    try:
        yield worker
    finally:
        await worker.drain(drain_timeout_s)
        await publisher.close()


@asynccontextmanager
async def calling(
    broker: Reachable, keys: KeyRing, *, watches: tuple[str, ...] = ()
) -> AsyncIterator[Client]:
    """Run a client of the service whose keys these are."""
    client = Client(await broker.as_user(keys.service), keys, watches=watches)
    await client.start()
    await eventually(
        lambda: client.is_connected and not client.silent_services(), timeout_s=START_TIMEOUT_S
    )
    try:
        yield client
    finally:
        await client.close()


def in_the_background(client: Client, **options: Any) -> "asyncio.Task[Session]":
    """Begin a sign-in, without waiting for it."""
    return asyncio.create_task(client.call(SIGN_IN, **options))


def is_ready(worker: Worker) -> bool:
    return worker._consumer.state is worker._publisher.state is ConnectionState.OPEN


async def sign_in(request: CreateSession) -> Session:
    """Answer any sign-in: a handler."""
    return SESSION


def access_token(keys: KeyRing, issuer: Identity, **claims: Any) -> AccessToken:
    """Make a user's token, as the service that issues them does, and verify it."""
    return TokenVerifier(keys, Revocations()).verify(token_text(issuer, **claims))


def token_text(issuer: Identity, *, headers: Mapping[str, str] | None = None, **claims: Any) -> str:
    """Make a token's text; ``claims`` and ``headers`` replace the usual ones."""
    key, now = issuer.key("tokens"), int(time())
    usual = {
        "iss": ISSUER,
        "sub": "reader",
        "aud": AUDIENCE,
        "exp": now + 900,
        "iat": now,
        "jti": new_id(),
        "sid": new_id(),
        "scope": "catalog:read",
        "user_id": 1,
    }
    given = {name: value for name, value in (usual | claims).items() if value is not None}
    usual_headers = {"kid": key.kid, "typ": TOKEN_TYPE}
    return jwt.encode(given, key.signer(), "EdDSA", headers=usual_headers | dict(headers or {}))
