"""A service in TypeScript is held to what a Python one does, over the real broker."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from time import time

import pytest
from structlog.testing import capture_logs

from postroad.contracts.auth import ListRevocations, Revocation, RevocationList
from postroad.contracts.catalog import GetProduct
from postroad.contracts.errors import (
    InternalError,
    InvalidRequest,
    NotAuthenticated,
    NotAuthorised,
    ProductNotFound,
    ReplyTimeout,
    ServiceError,
    UpstreamBusy,
)
from postroad.contracts.events import SessionRevoked
from postroad.dead_letters.captured import copy_of_letter
from postroad.security.access_tokens import AccessToken
from postroad.security.claims import Reason
from postroad.security.files import write_private
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.rotation import rotate, trust_rotated
from postroad.testing import access_token, calling, eventually, serving
from postroad.topology.names import RPC_EXCHANGE, dead_queue, rpc_queue
from tests.conformance.listening import telling
from tests.hostile.test_on_rabbitmq import Attacker, arrived, get_product, messages, settled
from tests.integration.direct.conftest import files_of
from tests.integration.test_security import ATTACKS, Scene
from tests.support.brokers import RabbitUnderTest
from tests.support.nodes import ADMIN, ADMIN_PASSWORD
from tests.support.traffic import replies_to, waiting_in
from tests.support.typescript import TIMEOUT_S, Program, Workspace, needs_npm, running

pytestmark = [pytest.mark.integration, needs_npm]

Keys = dict[str, KeyRing]
DEAD_LETTERS = dead_queue(rpc_queue("catalog"))
LAMP = "Stehlampe, weiß"
PROGRAM = "dist/test/programs/catalog.js"


@pytest.fixture
def user(keys: Keys, identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


@pytest.fixture
async def server(
    typescript: Workspace, rabbit_broker: RabbitUnderTest, keys: Keys, tmp_path: Path
) -> AsyncIterator[Program]:
    """The catalogue in TypeScript, at work; it has no complaints in the end."""
    port = rabbit_broker._proxies["catalog"].port
    files = files_of(keys["catalog"], tmp_path / "catalog", rabbit_broker, port=port)
    async with running(typescript.client, PROGRAM, environment=files.environment) as program:
        await program.read_until(message="serving")
        yield program
        if program.process.returncode is None:
            await program.end()


async def test_a_python_service_calls_a_typescript_one(
    server: Program, rabbit_broker: RabbitUnderTest, keys: Keys, user: AccessToken
) -> None:
    async with calling(rabbit_broker, keys["bridge"]) as client:
        product = await client.call(GetProduct(product_id=7), user=user, correlation_id="c:1")

    assert product.title == LAMP
    asked = await server.read_until(message="asked")
    assert (asked["caller"], asked["username"]) == ("bridge", "reader")
    assert asked["correlationId"] == "c:1"


ENDS: list[tuple[int, str | None, type[ServiceError], str]] = [
    (1, "catalog:read", InternalError, "Something went wrong on our side"),  # it throws
    (2, "catalog:read", UpstreamBusy, "later, please"),
    (3, "catalog:read", InternalError, "Something went wrong on our side"),  # no `Product`
    (8, "catalog:read", ProductNotFound, "no product 8"),
    (-1, "catalog:read", InvalidRequest, "product_id: must be >= 1"),
    (7, "orders:read", NotAuthorised, "the token lacks the scope catalog:read"),
    (7, None, NotAuthenticated, "no token"),
]


async def test_its_errors_arrive_as_what_they_are(
    server: Program, rabbit_broker: RabbitUnderTest, keys: Keys, identities: dict[str, Identity]
) -> None:
    async with calling(rabbit_broker, keys["bridge"]) as client:
        for product_id, scope, error, said in ENDS:
            user = access_token(keys["bridge"], identities["auth"], scope=scope) if scope else None
            request = GetProduct.model_construct(product_id=product_id)
            with pytest.raises(error) as raised:
                await client.call(request, user=user)
            assert str(raised.value) == said
            assert raised.value.retry_after_s == (3 if error is UpstreamBusy else None)

    dead = await waiting_in(rabbit_broker, DEAD_LETTERS, count=2)  # a bug keeps its request
    letters = [copy_of_letter(each.body, each.properties) for each in dead]
    assert [letter and letter.died_of for letter in letters] == ["rejected"] * 2


async def test_it_follows_which_sessions_have_ended(
    server: Program, rabbit_broker: RabbitUnderTest, keys: Keys, identities: dict[str, Identity]
) -> None:
    until = time() + 60
    early, late = (access_token(keys["bridge"], identities["auth"]) for _ in range(2))

    async def list_revocations(request: ListRevocations) -> RevocationList:
        return RevocationList(data=[Revocation(session_id=early.session_id, until=until)])

    async def is_refused(user: AccessToken) -> bool:
        try:
            await client.call(GetProduct(product_id=7), user=user)
        except NotAuthenticated as error:
            return str(error) == "the token was revoked"
        return False

    async with (
        serving(rabbit_broker, keys["auth"], {ListRevocations: list_revocations}),
        calling(rabbit_broker, keys["bridge"]) as client,
        telling(rabbit_broker, keys["auth"]) as publisher,
    ):
        await eventually(lambda: is_refused(early))
        assert not await is_refused(late)
        ended = SessionRevoked(session_id=late.session_id, user_id=1, until=until)
        await publisher.publish(
            "event", ended.name, ended.as_json, message_id="m", correlation_id="c"
        )
        await eventually(lambda: is_refused(late))


async def test_what_is_under_way_is_answered_before_it_ends(
    server: Program, rabbit_broker: RabbitUnderTest, keys: Keys, user: AccessToken
) -> None:
    async with calling(rabbit_broker, keys["bridge"]) as client:
        under_way = asyncio.create_task(client.call(GetProduct(product_id=4), user=user))
        await server.read_until(message="asked", id=4)
        server.process.terminate()
        await nobody_consumes(rabbit_broker, rpc_queue("catalog"))
        too_late = asyncio.create_task(client.call(GetProduct(product_id=7), user=user))
        await waiting_in(rabbit_broker, rpc_queue("catalog"))
        server.process.send_signal(signal.SIGUSR2)

        assert (await under_way).title == LAMP
        assert await server.process.wait() == 0
        too_late.cancel()
        await asyncio.gather(too_late, return_exceptions=True)

    assert await rabbit_broker.depth(rpc_queue("catalog")) == 1


async def nobody_consumes(broker: RabbitUnderTest, queue: str) -> None:
    def consumers() -> int:
        with broker.connect(ADMIN, ADMIN_PASSWORD) as connection:
            declared = connection.channel().queue_declare(queue, passive=True)
            return int(declared.method.consumer_count)

    async def is_so() -> bool:
        return await asyncio.to_thread(consumers) == 0

    await eventually(is_so)


async def test_it_answers_when_its_connections_have_come_back(
    server: Program, rabbit_broker: RabbitUnderTest, keys: Keys, user: AccessToken
) -> None:
    async with calling(rabbit_broker, keys["bridge"]) as client:
        under_way = asyncio.create_task(
            client.call(GetProduct(product_id=4), user=user, timeout_s=20)
        )
        await server.read_until(message="asked", id=4)
        await rabbit_broker.lose("catalog")
        await server.read_until(message="broker connection lost", role="publisher")
        server.process.send_signal(signal.SIGUSR2)
        await server.read_until(message="released")
        await rabbit_broker._proxies["catalog"].open()

        assert (await under_way).title == LAMP
        await server.read_until(message="asked", id=4)  # again, for it had not been settled
        server.process.send_signal(signal.SIGUSR2)
        await server.read_until(message="released")


async def test_it_takes_up_new_keys(
    server: Program, rabbit_broker: RabbitUnderTest, keys: Keys, tmp_path: Path, user: AccessToken
) -> None:
    new = {name: rotate(keys[name].identity, lead_s=0) for name in ("bridge", "catalog")}
    trust = keys["bridge"].trust
    for identity in new.values():
        trust = trust_rotated(trust, identity)
    bridge = KeyRing(new["bridge"], trust)
    new["catalog"].save(tmp_path / "catalog" / "identity.json")
    write_private(tmp_path / "catalog" / "trust.json", trust.model_dump_json())

    async def is_answered() -> bool:
        try:
            product = await client.call(GetProduct(product_id=7), user=user, timeout_s=1)
        except ReplyTimeout:  # it has not looked at its files since
            return False
        return product.title == LAMP

    async with calling(rabbit_broker, bridge) as client:
        await eventually(is_answered)


async def test_it_refuses_whatever_a_python_service_refuses(
    server: Program, rabbit_broker: RabbitUnderTest, keys: Keys, user: AccessToken
) -> None:
    async with replies_to(rabbit_broker, "bridge") as inbox:
        scene = Scene(rabbit_broker, None, keys, user, inbox)  # type: ignore[arg-type]
        found: dict[str, str | None] = {}
        for attack, _ in ATTACKS:
            letter = scene.letter()
            attack(scene, letter)
            await letter.post(rabbit_broker, "bridge")
            refused = await server.read_until(message="request refused")
            found[attack.__name__] = refused["reason"]
        honest = scene.letter()
        await honest.post(rabbit_broker, "bridge")
        answer = await inbox.next()
        await honest.post(rabbit_broker, "bridge")
        copy = await server.read_until(message="request refused")

    assert found == {attack.__name__: reason for attack, reason in ATTACKS}
    assert answer.properties.correlation_id == honest.properties["correlation_id"]
    assert copy["reason"] == Reason.REPLAYED
    dead = await waiting_in(rabbit_broker, DEAD_LETTERS, count=len(ATTACKS) + 1)
    letters = [copy_of_letter(each.body, each.properties) for each in dead]
    assert {letter.died_of for letter in letters if letter} == {*found.values(), Reason.REPLAYED}


async def test_hundreds_of_hostile_messages_end_as_with_a_python_service(
    typescript: Workspace,
    rabbit_broker: RabbitUnderTest,
    keys: Keys,
    user: AccessToken,
    tmp_path: Path,
) -> None:
    attacker = Attacker(rabbit_broker, "bridge")
    attack = list(messages(keys["bridge"], user))
    with capture_logs() as logs:
        async with serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}) as worker:
            await attacker.send_all(RPC_EXCHANGE, GetProduct.method, attack)
            await eventually(lambda: settled(worker) == attacker.taken, timeout_s=TIMEOUT_S)
            by_python = [log["reason"] for log in logs if log["event"] == "request refused"]
            await arrived(rabbit_broker, DEAD_LETTERS, len(by_python))
    files = files_of(keys["catalog"], tmp_path / "catalog", rabbit_broker)
    async with running(typescript.client, PROGRAM, environment=files.environment) as program:
        await program.read_until(message="serving")
        await attacker.send_all(RPC_EXCHANGE, GetProduct.method, attack)
        await program.read(len(attack), "request refused", "request")
        await program.end()

    refused = [line["reason"] for line in program.lines if line["message"] == "request refused"]
    ends = Counter(line["outcome"] for line in program.lines if line["message"] == "request")
    assert attacker.taken == 2 * len(attack)  # the broker had no objection
    assert dict(ends) == {name: worker.counts[name] for name in ("ok", "invalid_request")}
    differing = [pair for pair in zip(by_python, refused, strict=True) if pair[0] != pair[1]]
    assert {reason for reason, _ in differing} <= {Reason.UNSIGNED}  # what pika cannot read
    assert len(differing) < 10
    assert not [line for line in program.lines if line["message"] == "broker connection lost"]
    assert await rabbit_broker.depth(DEAD_LETTERS) == 2 * len(refused)
