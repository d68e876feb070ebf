"""A TypeScript program calls Python services and hears their events, over the real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any

import pytest

from postroad.context import RequestContext, current_context
from postroad.contracts.auth import (
    REFRESH_CONTEXT,
    CreateSession,
    ListRevocations,
    Session,
    password_context,
)
from postroad.contracts.catalog import GetProduct, ListProducts, Product, ProductPage
from postroad.contracts.errors import UpstreamBusy
from postroad.contracts.events import LoginSucceeded
from postroad.messaging.publishing import MessagePublisher
from postroad.messaging.rpc_worker import Handlers
from postroad.security.access_tokens import AccessToken
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.sealing import seal, unseal
from postroad.security.signatures import Signer, Verifier
from postroad.testing import access_token, serving
from postroad.topology.definitions import Definitions
from postroad.topology.names import REPLIES_EXCHANGE, rpc_queue
from tests.conformance.queues import with_policy
from tests.integration.direct.conftest import ServiceFiles, files_of
from tests.integration.test_tls import ByTls, TlsNode
from tests.support.brokers import RabbitUnderTest, rabbit_under_test
from tests.support.services import LAMP, SESSION, sign_in
from tests.support.traffic import consuming, publish, publishing
from tests.support.typescript import TIMEOUT_S, Program, Workspace, needs_npm, running
from tests.support.vhosts import Vhosts

pytestmark = [pytest.mark.integration, needs_npm]

Keys = dict[str, KeyRing]
GET, LIST = GetProduct.method, ListProducts.method
PAGE = ProductPage(data=[LAMP], total=1, skip=0, limit=1)


@asynccontextmanager
async def caller(typescript: Workspace, files: ServiceFiles) -> AsyncIterator[Program]:
    environment = files.environment
    async with running(
        typescript.client, "dist/test/programs/caller.js", environment=environment
    ) as program:
        await program.read_until(message="connected", isConnected=True)
        yield program
        program.close_input()
        await program.end()


@pytest.fixture
async def bridge(
    typescript: Workspace, rabbit_broker: RabbitUnderTest, keys: Keys, tmp_path: Path
) -> AsyncIterator[Program]:
    """A caller with the bridge's identity, which acts for users."""
    port = rabbit_broker._proxies["bridge"].port
    files = files_of(keys["bridge"], tmp_path / "bridge", rabbit_broker, port=port)
    async with caller(typescript, files) as program:
        yield program


@pytest.fixture
def user(keys: Keys, identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


async def test_it_calls_for_a_user_and_gets_replies_and_errors_as_they_are(
    bridge: Program, rabbit_broker: RabbitUnderTest, keys: Keys, user: AccessToken
) -> None:
    seen: list[RequestContext] = []

    async def get_product(request: GetProduct) -> Product:
        seen.append(current_context.get())
        if request.product_id == 2:
            raise UpstreamBusy("later, please", retry_after_s=3)
        return LAMP

    async def list_products(request: ListProducts) -> ProductPage:
        await asyncio.Event().wait()
        return PAGE

    handlers: Handlers = {GetProduct: get_product, ListProducts: list_products}
    async with serving(rabbit_broker, keys["catalog"], handlers, drain_timeout_s=0.1):
        bridge.ask("call", method=GET, body={"product_id": 7}, user=user.text, correlationId="c:1")
        done = await bridge.read_until(message="done")
        bridge.ask("call", method=GET, body={"product_id": 2}, user=user.text)
        busy = await bridge.read_until(message="failed")
        bridge.ask("call", method=GET, body={"product_id": 7})
        nobody = await bridge.read_until(message="failed")
        bridge.ask("call", method=LIST, user=user.text, timeoutS=0.2)
        late = await bridge.read_until(message="failed")

    assert done["reply"] == LAMP.model_dump()
    assert (seen[0].caller, seen[0].correlation_id) == ("bridge", "c:1")
    assert seen[0].user is not None
    assert seen[0].user.text == user.text
    assert (busy["code"], busy["said"]) == ("upstream_busy", "later, please")
    assert (busy["isRetryable"], busy["mayHaveHappened"], busy["retryAfterS"]) == (True, False, 3)
    assert nobody["code"] == "not_authenticated"
    assert (late["code"], late["isRetryable"], late["mayHaveHappened"]) == (
        "reply_timeout",
        True,
        True,
    )


async def test_a_call_that_was_not_granted_takes_no_other_along(
    typescript: Workspace, rabbit_broker: RabbitUnderTest, keys: Keys, shop: ServiceFiles
) -> None:
    async def list_products(request: ListProducts) -> ProductPage:
        return PAGE

    async with (
        serving(rabbit_broker, keys["catalog"], {ListProducts: list_products}),
        caller(typescript, shop) as program,
    ):
        program.ask("call", method="auth.revocations.list")
        refused = await program.read_until(message="failed")
        program.ask("call", method=LIST)
        done = await program.read_until(message="done")

    assert refused["code"] == "not_authorised"
    assert refused["said"] == "shop may not call auth.revocations.list"
    assert done["reply"]["total"] == 1


async def test_what_the_broker_does_not_take_was_not_done(
    typescript: Workspace, vhosts: Vhosts, topology: Definitions, keys: Keys, tmp_path: Path
) -> None:
    full = with_policy(topology, "rpc", max_length=0)
    async with rabbit_under_test(vhosts, full, tmp_path) as broker:
        files = files_of(keys["shop"], tmp_path / "shop", broker)
        async with caller(typescript, files) as program:
            program.ask("call", method=LIST)
            refused = await program.read_until(message="failed")
            await asyncio.to_thread(broker.delete_queue, rpc_queue("catalog"))
            program.ask("call", method=LIST)
            returned = await program.read_until(message="failed")

    for failed, code, said in (
        (refused, "overloaded", "the queue of catalog is full"),
        (returned, "unavailable", "there is no queue for catalog"),
    ):
        assert (failed["code"], failed["said"]) == (code, said)
        assert (failed["isRetryable"], failed["mayHaveHappened"]) == (True, False)


async def test_a_lost_connection_ends_calls_as_unknown_and_comes_back(
    bridge: Program, rabbit_broker: RabbitUnderTest, keys: Keys, user: AccessToken
) -> None:
    async with consuming(rabbit_broker, "catalog", rpc_queue("catalog")) as requests:
        bridge.ask("call", method=GET, body={"product_id": 7}, user=user.text, tag=1)
        (await requests.next()).ack()
        await asyncio.to_thread(rabbit_broker.delete_queue, rpc_queue("auth"))
        bridge.ask("call", method=ListRevocations.method, tag=2)
        await bridge.read_until(tag=2)  # it is returned, so the first one has been confirmed
        rabbit_broker.cut("bridge")
        failed = await bridge.read_until(tag=1)
        await rabbit_broker.go_away()
        await bridge.read_until(message="broker connection lost", role="replies")
        bridge.ask("call", method=GET, body={"product_id": 7}, user=user.text)
        away = await bridge.read_until(message="failed")
        await rabbit_broker.come_back()

    async def get_product(request: GetProduct) -> Product:
        return LAMP

    async with serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}):
        again = {"message": "failed"}
        async with asyncio.timeout(TIMEOUT_S):
            while again["message"] != "done":
                bridge.ask("call", method=GET, body={"product_id": 7}, user=user.text, tag=3)
                again = await bridge.read_until(tag=3)

    assert (failed["code"], failed["mayHaveHappened"]) == ("outcome_unknown", True)
    assert (away["code"], away["mayHaveHappened"]) == ("unavailable", False)


async def test_a_password_is_sealed_for_its_request_and_the_refresh_token_opens(
    bridge: Program, rabbit_broker: RabbitUnderTest, keys: Keys
) -> None:
    passwords = []

    async def create(request: CreateSession) -> Session:
        context = current_context.get()
        bound = password_context(
            request.username,
            caller=context.caller,
            message_id=context.message_id,
            deadline=context.deadline,
        )
        identity = keys["auth"].identity
        passwords.append(unseal(request.sealed_password, context=bound, identity=identity))
        token = seal("refresh", to="bridge", context=REFRESH_CONTEXT, trust=keys["auth"].trust)
        return SESSION.model_copy(update={"sealed_refresh_token": token})

    async with serving(rabbit_broker, keys["auth"], {CreateSession: create}):
        bridge.ask("signIn", username="reader", password="pässword")
        done = await bridge.read_until(message="done")

    assert passwords == ["pässword"]
    assert done["reply"] == "refresh"


async def test_it_takes_the_honest_reply_and_no_other(
    typescript: Workspace, rabbit_broker: RabbitUnderTest, keys: Keys, shop: ServiceFiles
) -> None:
    def page(title: str) -> bytes:
        product = LAMP.model_copy(update={"title": title})
        return PAGE.model_copy(update={"data": [product]}).as_json

    honest = page("Honest")
    async with (
        consuming(rabbit_broker, "catalog", rpc_queue("catalog")) as requests,
        caller(typescript, shop) as program,
    ):
        ends = []
        for body in (honest, b"{}", b'{"data":'):  # the last two break their contract
            program.ask("call", method=LIST)
            request = await requests.next()
            claims = Verifier(keys["catalog"]).verify(
                (request.properties.headers or {})["signature"], request.body, typ="request"
            )
            for sender, signed, sent, changes in (
                ("auth", page("By another service"), page("By another service"), {}),
                ("catalog", page("As signed"), page("Changed"), {}),
                ("catalog", page("To another"), page("To another"), {"jti": "other"}),
                ("catalog", page("By another method"), page("By another method"), {"op": "other"}),
                ("catalog", body, body, {}),
                ("catalog", page("A second time"), page("A second time"), {}),
            ):
                signature = Signer(keys[sender]).reply(
                    claims.model_copy(update=changes), body=signed, message_id="m"
                )
                address = request.properties.reply_to or ""
                headers = {"signature": signature}
                await publish(
                    rabbit_broker, sender, REPLIES_EXCHANGE, address, sent, headers=headers
                )
            request.ack()
            ends.append(await an_end(program))

    titles = [end["reply"]["data"][0]["title"] for end in ends if end["message"] == "done"]
    codes = [end["code"] for end in ends if end["message"] == "failed"]
    refused = [line["reason"] for line in program.lines if line["message"] == "reply refused"]
    assert (titles, codes) == (["Honest"], ["peer_error", "peer_error"])
    assert refused == ["wrong_reply", "bad_signature", "wrong_reply"] * 3


async def an_end(program: Program) -> dict[str, Any]:
    """Read until a call ends."""
    while True:
        line = await program.read_until()
        if line["message"] in ("done", "failed"):
            return line


async def test_it_hears_events_and_drops_what_it_cannot_trust(
    typescript: Workspace, rabbit_broker: RabbitUnderTest, keys: Keys, shop: ServiceFiles
) -> None:
    event = LoginSucceeded(user_id=1, session_id="s", at=time(), client_network=None)
    async with (
        caller(typescript, shop) as program,
        publishing(rabbit_broker, "auth") as publisher,
    ):
        program.ask("listen", rights=["auth.*"])
        await program.read_until(message="listening")
        for signed_by, name, body, message_id in (
            ("catalog", event.name, event.as_json, "forged"),
            ("auth", event.name, b'{"user_id":"x"}', "broken"),
            ("auth", event.name, event.as_json, "honest"),
        ):
            events = MessagePublisher(publisher, keys[signed_by])
            events._service = "auth"  # the broker lets nobody name another user
            await events.publish("event", name, body, message_id=message_id, correlation_id="c:1")
        heard = await program.read_until(message="event")

    refused = [line["reason"] for line in program.lines if line["message"] == "event refused"]
    assert (heard["name"], heard["messageId"]) == (event.name, "honest")
    assert (heard["sender"], heard["correlationId"]) == ("auth", "c:1")
    assert heard["body"] == event.model_dump()
    assert len(refused) == 2
    assert refused[0].startswith("sender_mismatch")


@pytest.fixture
async def tls_node(tmp_path: Path) -> AsyncIterator[TlsNode]:
    node = TlsNode(tmp_path)
    await node.broker.start()
    yield node
    node.broker.kill()


async def test_it_calls_by_mutual_tls(
    typescript: Workspace, tls_node: TlsNode, keys: Keys, shop: ServiceFiles
) -> None:
    own = tls_node.folder / "bridge"
    keys["bridge"].identity.save(own / "identity.json")
    url = f"amqps://127.0.0.1:{tls_node.port}/postroad"
    files = {"CA": "ca.pem", "CERTIFICATE": "certificate.pem", "KEY": "key.pem"}
    environment = shop.environment | {
        "BROKER_URLS": url,
        "IDENTITY_FILE": str(own / "identity.json"),
        **{f"BROKER_{name}_FILE": str(own / file) for name, file in files.items()},
    }
    strange = environment | {"BROKER_URLS": url.replace("127.0.0.1", "localhost")}

    async with serving(ByTls(tls_node), keys["auth"], {CreateSession: sign_in}):
        async with caller(typescript, ServiceFiles(environment)) as program:
            body = {"username": "x", "sealed_password": "x"}
            program.ask("call", method=CreateSession.method, body=body)
            done = await program.read_until(message="done")
        arguments = ("dist/test/programs/caller.js",)
        async with running(typescript.client, *arguments, environment=strange) as program:
            refused = await program.read_until(message="broker connection lost")

    assert done["reply"]["access_token"] == SESSION.access_token
    assert "does not match certificate" in str(refused["reason"])
