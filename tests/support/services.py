"""Clients and workers, running for as long as a test needs them."""

import asyncio
from typing import Any

from postroad.contracts.auth import CreateSession, Session
from postroad.contracts.catalog import Product
from postroad.messaging.client import Client

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


def in_the_background(client: Client, **options: Any) -> "asyncio.Task[Session]":
    """Begin a sign-in, without waiting for it."""
    return asyncio.create_task(client.call(SIGN_IN, **options))


async def sign_in(request: CreateSession) -> Session:
    """Answer any sign-in: a handler."""
    return SESSION
