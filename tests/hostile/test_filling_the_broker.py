"""A service that was let in tries to use up the broker's disk and memory."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pika.exceptions import (
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
)

from postroad.broker.dead_lettering import KEPT, KEPT_BODY_BYTES, KEPT_HEADERS_BYTES
from postroad.broker.interfaces import Outcome
from postroad.contracts.catalog import GetProduct, Product
from postroad.contracts.events import LoginFailed
from postroad.dead_letters.captured import copy_of_letter
from postroad.limits import MESSAGE_MAX_BYTES
from postroad.messaging.publishing import MessagePublisher
from postroad.security.keyring import KeyRing
from postroad.testing import access_token, calling, eventually, serving
from postroad.topology.definitions import Definitions, definitions
from postroad.topology.names import (
    EVENTS_EXCHANGE,
    REPLIES_EXCHANGE,
    RPC_EXCHANGE,
    dead_queue,
    rpc_queue,
    work_queue,
)
from postroad.topology.services import Service, Services
from tests.support.brokers import BrokerUnderTest, RabbitUnderTest, rabbit_under_test
from tests.support.letters import write
from tests.support.services import LAMP
from tests.support.traffic import publish, publishing, send, waiting_in
from tests.support.vhosts import Vhosts

REQUEST = GetProduct(product_id=7)
QUEUE = rpc_queue("catalog")
DEAD_LETTERS = dead_queue(QUEUE)
METHOD = GetProduct.method
ADDRESS = "reply.bridge.x"

Keys = dict[str, KeyRing]


async def get_product(request: GetProduct) -> Product:
    return LAMP


async def break_down(request: GetProduct) -> Product:
    raise RuntimeError


async def test_a_large_message_that_nobody_signed_leaves_a_small_dead_letter(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    body = b"x" * MESSAGE_MAX_BYTES
    headers = {"junk": "x" * 50_000, "signature": "x", "n": 7, "list": ["x"] * 9}
    async with serving(broker, keys["catalog"], {GetProduct: get_product}) as worker:
        for _ in range(3):
            await publish(
                broker, "bridge", RPC_EXCHANGE, METHOD, body, headers=headers, user_id="bridge"
            )
        letters = await waiting_in(broker, DEAD_LETTERS, count=3)

    assert worker.counts == {"refused.malformed": 3}
    for letter in letters:
        assert letter.body == body[:KEPT_BODY_BYTES]
        assert len(str(letter.headers)) < 2 * KEPT_HEADERS_BYTES
        was = copy_of_letter(letter.body, letter.properties)
        assert was is not None
        assert (was.died_where, was.died_of, was.is_whole) == (QUEUE, "malformed", False)
        assert was.properties.user_id == "bridge"
        assert was.headers["signature"] == "x"
        assert was.headers["list"] == str(["x"] * 9)
    assert await broker.depth(QUEUE) == 0


@pytest.mark.parametrize("timeout_s", [120.0, 5.0])
async def test_signed_headers_are_cut_and_the_body_is_whole(
    broker: BrokerUnderTest, keys: Keys, timeout_s: float
) -> None:
    reason = "deadline_too_far" if timeout_s > 100 else "rejected"  # or its handler has a bug
    user = access_token(keys["bridge"], keys["auth"].identity)
    letter = write(keys["bridge"], REQUEST, reply_to=ADDRESS, timeout_s=timeout_s, user=user)
    letter.headers["junk"] = "x" * 100_000
    async with serving(broker, keys["catalog"], {GetProduct: break_down}):
        await letter.post(broker, "bridge")
        (dead,) = await waiting_in(broker, DEAD_LETTERS)

    was = copy_of_letter(dead.body, dead.properties)
    assert was is not None
    assert was.is_whole
    assert was.body == letter.body
    assert was.died_of == reason
    assert was.headers["signature"] == letter.headers["signature"]
    assert "junk" not in was.headers


async def test_whoever_writes_the_header_of_a_copy_deceives_nobody(
    broker: BrokerUnderTest, keys: Keys
) -> None:
    forged = {KEPT: {"queue": QUEUE, "reason": "expired", "user_id": "auth", "headers": {}}}
    async with serving(broker, keys["catalog"], {GetProduct: get_product}):
        await publish(broker, "bridge", RPC_EXCHANGE, METHOD, headers=forged, user_id="bridge")
        (dead,) = await waiting_in(broker, DEAD_LETTERS)

    was = copy_of_letter(dead.body, dead.properties)
    assert was is not None
    assert (was.died_of, was.properties.user_id) == ("unsigned", "bridge")


@pytest.mark.integration
async def test_no_header_of_a_sender_ends_the_queue(
    rabbit_broker: RabbitUnderTest, keys: Keys
) -> None:
    death = {"queue": QUEUE, "reason": "expired", "count": "x"}
    deaths: tuple[Any, ...] = (["x"], [death, 7], [death], {"x-death": []}, "x")

    async def write(**properties: Any) -> None:
        for each in deaths:
            await send(publisher, RPC_EXCHANGE, METHOD, headers={"x-death": each}, **properties)

    async def only_the_last_waits() -> bool:
        return await rabbit_broker.depth(QUEUE) == 1

    async with publishing(rabbit_broker, "bridge") as publisher:
        await write(expiration="500")  # once they wait, and once they are refused
        await send(publisher, RPC_EXCHANGE, METHOD)
        await eventually(only_the_last_waits)
        await write()

    async with (
        serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}) as worker,
        calling(rabbit_broker, keys["bridge"]) as client,
    ):
        letters = await waiting_in(rabbit_broker, DEAD_LETTERS, count=len(deaths) + 1)
        user = access_token(keys["bridge"], keys["auth"].identity)
        assert await client.call(REQUEST, user=user) == LAMP

    assert worker.counts["refused.unsigned"] == len(deaths) + 1
    assert all(copy_of_letter(each.body, each.properties) for each in letters)


@pytest.mark.integration
async def test_a_service_has_so_many_connections_and_channels_and_no_more(
    vhosts: Vhosts, services: Services, tmp_path: Path
) -> None:
    shop = Service(calls=("catalog.products.*",), connections=2)
    topology = definitions(Services(services.root | {"shop": shop}))
    async with rabbit_under_test(vhosts, topology, tmp_path) as broker:
        with ExitStack() as opened:
            first, second = (opened.enter_context(broker.connect("shop")) for _ in range(2))
            for _ in range(8):
                first.channel()

            with pytest.raises(ProbableAccessDeniedError, match="user connection limit"):
                broker.connect("shop")
            with pytest.raises(ConnectionClosedByBroker, match="maximum allowed user limit"):
                second.channel()


@pytest.mark.integration
async def test_a_listener_who_takes_no_event_keeps_none_from_others(
    rabbit_broker: RabbitUnderTest, keys: Keys
) -> None:
    takes_nothing = {"x-max-length": 0, "x-overflow": "reject-publish"}
    with rabbit_broker.connect("bridge") as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True, arguments=takes_nothing).method.queue
        channel.queue_bind(queue, EVENTS_EXCHANGE, LoginFailed.name)
        async with publishing(rabbit_broker, "auth") as publisher:
            await MessagePublisher(publisher, keys["auth"]).publish(
                "event", LoginFailed.name, b"{}", message_id="m", correlation_id="c"
            )

    kept = await waiting_in(rabbit_broker, work_queue("auth", "audit"), count=2)
    assert {each.properties.message_id for each in kept} == {"m"}


@pytest.mark.integration
async def test_a_queue_that_nobody_consumes_goes(
    vhosts: Vhosts, topology: Definitions, tmp_path: Path
) -> None:
    (policy,) = (each for each in topology["policies"] if each["name"] == "replies")
    policy["definition"]["expires"] //= 60  # to a second
    async with rabbit_under_test(vhosts, topology, tmp_path) as broker:
        with broker.connect("bridge") as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", durable=True).method.queue
            channel.queue_bind(queue, REPLIES_EXCHANGE, ADDRESS)

        async def is_gone() -> bool:
            outcome = await publish(broker, "catalog", REPLIES_EXCHANGE, ADDRESS)
            return outcome is Outcome.RETURNED

        assert not await is_gone()
        await eventually(is_gone)
