"""A service that was let in turns on the others: what it sends costs nobody an answer."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from time import time
from typing import Any

import pika
import pytest
from pika import BasicProperties

from postroad.broker.dead_lettering import KEPT_BODY_BYTES
from postroad.contracts.catalog import GetProduct, Product
from postroad.limits import MESSAGE_MAX_BYTES
from postroad.messaging.rpc_worker import Worker
from postroad.security.access_tokens import AccessToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.signatures import SIGNATURE_MAX_BYTES
from postroad.testing import access_token, calling, eventually, serving
from postroad.topology.names import REPLIES_EXCHANGE, RPC_EXCHANGE, dead_queue, rpc_queue
from tests.hostile.tables import (
    RawHeaders,
    array,
    byte_array,
    decimal,
    double,
    nested,
    table,
    text,
    timestamp,
)
from tests.support.brokers import RabbitUnderTest
from tests.support.letters import Letter, claims_of, forge, write
from tests.support.services import LAMP

pytestmark = pytest.mark.integration

QUEUE = rpc_queue("catalog")
DEAD_LETTERS = dead_queue(QUEUE)
REQUEST = GetProduct(product_id=7)
METHOD = GetProduct.method
FRAME_MAX_BYTES = 131_072  # RabbitMQ's own limit; headers go in one frame

ODD_CLAIMS: dict[str, tuple[Any, ...]] = {
    "alg": ("none", "RS256", "ES256", "hs256", "EdDSA", None, 7, ["HS256"]),
    "b64": (True, None, "false", []),
    "crit": ([], ["exp"], ["b64", "b64"], "b64", None, [["b64"]]),
    "kid": ("", ".", "a.b", "x" * 2000, "\0", "../../identity.json", None, 7, {}),
    "typ": ("reply", "event", "job", "redrive", "JWT", "", None),
    "iss": ("auth", "catalog", "operator", "nobody", "", "bridge\0", "BRIDGE", None, 7),
    "aud": ("auth", "events", "bridge", "", "catalog ", ["catalog"], None),
    "op": ("auth.users.delete", "catalog", "", "*", "catalog.#", "a" * 200, "a\nb", None),
    "exp": (0, -1, True, "9e9", 1e15, 1e300, 10**400, math.inf, math.nan, None, [time()]),
    "iat": (-1, True, "now", 1e300, 10**400, math.inf, math.nan, None),
    "jti": ("", "a b", 'x","aud":"auth', "a" * 129, "\u0661", None, 7),
    "cid": ("", "two\nlines", "a" * 129, "\ud800", None, 7, {}),
    "rto": ("reply.auth.x", "reply.bridge.y", "rpc.catalog", "", "reply.bridge.", None, 7),
    "ath": ("", "x", "\0", None, 7),
    "org": (7, [], {}),
    "nth": (-1, 10**7, 10**400, 0.5, "1", None),
    "dat": (-1, "x", math.nan, 1e300, True),
    "old": (1, "true", None),
}
ODD_BODIES = (
    b"",
    b"\0",
    b"null",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"product_id":' + b"9" * 5000 + b"}",
    b'{"product_id":NaN}',
    b'{"product_id":1e999}',
    b'{"product_id":7,"product_id":"x"}',
    b'{"product_id":7.5}',
    b'"\\ud800"',
    b"\xff\xfe{\0}\0",
    b"\xef\xbb\xbf{}",
    b" " * MESSAGE_MAX_BYTES,
)
ODD_SIGNATURES: tuple[Any, ...] = (
    *(None, True, 7, -(2**40), [], ["x"] * 100, {}, {"a": {"b": []}}, b"\xff", ""),
    *("x" * (SIGNATURE_MAX_BYTES + 1), "x" * 100_000, "..", "e30..", "\u00e9..\u00e9"),
)
ODD_PROPERTIES: tuple[tuple[str, Any], ...] = (
    *[("reply_to", odd) for odd in ("", "rpc.catalog", "a" * 255, "\0", b"\xff")],
    *[("headers", odd) for odd in ({}, {f"h{n}": n for n in range(8_000)})],
    *[("type", odd) for odd in ("", "auth.users.delete", b"\xff", "\0")],
    *[("correlation_id", odd) for odd in ("", "a" * 255, b"\xff", "\n\x1b[2J")],
    *[("message_id", odd) for odd in ("", b"\xff")],
    *[("timestamp", 2**64 - 1), ("priority", 255), ("content_type", b"\xff"), ("user_id", None)],
)
ODD_TABLE_VALUES = (
    b"V",
    timestamp(2**64 - 1),  # pika can read no such day
    timestamp(2**40),
    decimal(255, 2**31 - 1),
    double(1e308),
    text(b"\xff\xfe"),
    byte_array(b"\0\xff"),
    text("x" * 100_000),
    array(*[b"V"] * 10_000),
    table((b"", b"V"), (b"\xff", text("x")), (b"a" * 255, b"t\1")),
    nested(50),
    nested(5_000),  # nor so deep
)
ODD_NAMES = (b"", b"\0", b"\xff", b"\xff" * 255, b"a" * 255, b"dead-letter", b"\xc3\xa9" * 127)
LARGE_BODY = b"x" * 2 * KEPT_BODY_BYTES  # of which nobody keeps the whole


Message = tuple[bytes, BasicProperties]


async def get_product(request: GetProduct) -> Product:
    return LAMP


class Attacker:
    """Publishes as a granted service may, with a client of its own."""

    def __init__(self, broker: RabbitUnderTest, user: str) -> None:
        self._broker = broker
        self._user = user
        self._connection: pika.BlockingConnection | None = None
        self._channel: Any = None
        self.taken = 0  # by the broker
        self.refused: Counter[str] = Counter()  # by the broker, which ends the channel

    def _send(self, exchange: str, key: str, body: bytes, properties: BasicProperties) -> None:
        if self._channel is None or self._channel.is_closed:
            if self._connection is None or self._connection.is_closed:
                self._connection = self._broker.connect(self._user)
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        try:
            self._channel.basic_publish(exchange, key, body, properties)
        except (pika.exceptions.AMQPChannelError, pika.exceptions.AMQPConnectionError) as error:
            self.refused[type(error).__name__] += 1
        else:
            self.taken += 1

    async def send_all(self, exchange: str, key: str, messages: Iterable[Message]) -> None:
        await asyncio.to_thread(self._send_all, exchange, key, messages)

    def _send_all(self, exchange: str, key: str, messages: Iterable[Message]) -> None:
        for body, properties in messages:
            self._send(exchange, key, body, properties)
        if self._connection is not None and self._connection.is_open:
            self._connection.close()


def messages(keys: KeyRing, user: AccessToken, *, sender: str = "bridge") -> Iterator[Message]:
    """Give messages of many shapes, most of them signed as the bridge signs a request."""

    def letter() -> Letter:
        honest = write(keys, REQUEST, reply_to="reply.bridge.nobody", timeout_s=50, user=user)
        honest.properties["user_id"] = sender
        return honest

    for name, values in ODD_CLAIMS.items():
        for value in values:
            changed = letter()
            claims = claims_of(changed.headers["signature"]) | {name: value}
            changed.headers["signature"] = forge(keys, "catalog", changed.body, claims)
            yield changed.body, changed.as_sent()
    for body in ODD_BODIES:
        changed = letter()
        yield body, changed.as_sent()  # with the signature of another
        claims = claims_of(changed.headers["signature"])
        changed.headers["signature"] = forge(keys, "catalog", body, claims)
        yield body, changed.as_sent()
    for signature in ODD_SIGNATURES:
        changed = letter()
        changed.headers["signature"] = signature
        yield changed.body, changed.as_sent()
    for respelling in ("{0}..{1}=", "{0}..{1}\n", "{0}.{1}", " {0}..{1}", "{0}..{1}..{1}"):
        changed = letter()
        protected, _, code = changed.headers["signature"].partition("..")
        changed.headers["signature"] = respelling.format(protected, code)
        yield changed.body, changed.as_sent()
    for name, odd in ODD_PROPERTIES:
        changed = letter()
        changed.properties[name] = odd
        yield changed.body, changed.as_sent()
    for odd_value in ODD_TABLE_VALUES:
        for header in (b"signature", b"authorization", b"CC\0", b"\xff"):
            changed = letter()
            fields = [(b"signature", text(changed.headers["signature"])), (header, odd_value)]
            yield changed.body, RawHeaders(fields, **(changed.properties | {"headers": None}))
    plain = letter().properties | {"headers": None}
    yield from ((LARGE_BODY, RawHeaders([(name, b"V")], **plain)) for name in ODD_NAMES)


@pytest.fixture
def user(keys: dict[str, KeyRing], identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


def settled(worker: Worker) -> int:
    """Count the deliveries that had an end."""
    return sum(n for name, n in worker.counts.items() if not name.startswith("reply."))


async def arrived(broker: RabbitUnderTest, queue: str, wanted: int) -> None:
    """Wait until so many messages, and no more, are in a queue: dead-lettering takes a while."""

    async def is_there() -> bool:
        return await broker.depth(queue) == wanted

    await eventually(is_there)


async def ask_until(is_over: Callable[[], bool], ask: Callable[[], Any]) -> int:
    """Ask one question after the other, and count the answers."""
    answers = 0
    while not is_over():
        assert await ask() == LAMP
        answers += 1
    return answers


async def test_some_hundred_hostile_messages_cost_nobody_an_answer(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], user: AccessToken
) -> None:
    attacker = Attacker(rabbit_broker, "bridge")
    async with (
        serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}) as worker,
        calling(rabbit_broker, keys["bridge"]) as client,
    ):
        channel = worker._core.consumer._channel  # type: ignore[attr-defined]

        attacking = asyncio.create_task(
            attacker.send_all(RPC_EXCHANGE, METHOD, messages(keys["bridge"], user))
        )
        answers = await ask_until(attacking.done, lambda: client.call(REQUEST, user=user))
        await eventually(lambda: settled(worker) == attacker.taken + answers, timeout_s=20)

        assert not attacker.refused  # the broker had no objection
        assert answers > 1
        assert worker._core.consumer._channel is channel  # type: ignore[attr-defined]
        refused = {name: n for name, n in worker.counts.items() if name.startswith("refused.")}
        assert len(refused) >= 9
        await arrived(rabbit_broker, DEAD_LETTERS, sum(refused.values()))
        assert worker.counts["ok"] + worker.counts["invalid_request"] > answers  # what was in order
        assert await client.call(REQUEST, user=user) == LAMP


async def test_a_worker_that_turns_on_its_callers_costs_nobody_an_answer(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], user: AccessToken
) -> None:
    attacker = Attacker(rabbit_broker, "auth")
    async with (
        serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}),
        calling(rabbit_broker, keys["bridge"]) as client,
    ):
        address = client._replies.address or ""

        attacking = asyncio.create_task(
            attacker.send_all(
                REPLIES_EXCHANGE, address, messages(keys["bridge"], user, sender="auth")
            )
        )
        answers = await ask_until(attacking.done, lambda: client.call(REQUEST, user=user))
        await eventually(lambda: sum(client.counts.values()) == attacker.taken, timeout_s=20)

        assert answers > 1
        assert client._replies.address == address
        assert all(name.startswith("refused.") for name in client.counts)


async def test_headers_over_the_limit_are_refused_by_the_broker(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], user: AccessToken
) -> None:
    attacker = Attacker(rabbit_broker, "bridge")
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.nobody", user=user)
    letter.headers["h"] = "x" * FRAME_MAX_BYTES
    async with (
        serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}) as worker,
        calling(rabbit_broker, keys["bridge"]) as client,
    ):
        await attacker.send_all(RPC_EXCHANGE, METHOD, [(letter.body, letter.as_sent())])

        assert await client.call(REQUEST, user=user) == LAMP
        assert sum(attacker.refused.values()) == 1
        await eventually(lambda: worker.counts == {"ok": 1})  # counted after it has answered


async def test_a_body_over_the_limit_is_refused_by_broker_or_worker(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], user: AccessToken
) -> None:
    attacker = Attacker(rabbit_broker, "bridge")
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.nobody", user=user)
    async with (
        serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}) as worker,
        calling(rabbit_broker, keys["bridge"]) as client,
    ):
        body = b" " * (MESSAGE_MAX_BYTES + 1)
        await attacker.send_all(RPC_EXCHANGE, METHOD, [(body, letter.as_sent())])

        assert await client.call(REQUEST, user=user) == LAMP
        assert attacker.refused["ChannelClosedByBroker"] + worker.counts["refused.malformed"] == 1
