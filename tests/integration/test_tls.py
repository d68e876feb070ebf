"""The broker by mutual TLS, as rabbitmq/rabbitmq.conf has it, with our own certificates."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pika
import pytest
import uvloop

from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK, free_ports
from ops.state.certificates import Authority
from postroad.broker.interfaces import Broker
from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.auth import CreateSession
from postroad.contracts.errors import ServiceError
from postroad.messaging.client import Client
from postroad.security.keyring import KeyRing
from postroad.security.tls import client_context, public_context
from postroad.settings import MessagingSettings
from postroad.testing import calling, eventually, serving
from postroad.topology.definitions import definitions, with_passwords
from postroad.topology.manifest import find_services
from postroad.topology.names import VHOST
from tests.conftest import ROOT
from tests.support.proxy import Proxy
from tests.support.services import SESSION, SIGN_IN, sign_in
from tests.support.vhosts import PASSWORD

pytestmark = pytest.mark.integration

CONF = ROOT / "rabbitmq" / "rabbitmq.conf"
IN_CONTAINER = "/var/lib/postroad/broker/tls"
HEARTBEAT_S = 2
STALLED_S = 30.0  # heartbeats are missed after 14 s; then the goodbye, a pause, and a busy machine

Run = Callable[[Coroutine[Any, Any, None]], None]


class TlsNode:
    """A broker whose certificate is good for 127.0.0.1 and for no other name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.renew()
        (self.port,) = free_ports(1)
        topology = definitions(find_services(ROOT))
        passwords = {user["name"]: PASSWORD for user in topology["users"]}
        self.broker = PrivateBroker(
            folder / "node", with_passwords(topology, passwords), settings=self._settings()
        )
        (folder / "password").write_text(PASSWORD)

    def _settings(self) -> dict[str, str]:
        text = CONF.read_text().replace(IN_CONTAINER, str(self.folder / "broker"))
        lines = [line.split(" = ") for line in text.splitlines() if " = " in line]
        settings = {key: value for key, value in lines if key.startswith("ssl_options.")}
        return settings | {"listeners.ssl.1": f"{LOOPBACK}:{self.port}"}

    def certify(self, name: str, *, authority: str = "authority") -> None:
        """Give a service new credentials."""
        folder = self.folder / name
        for each in (folder, self.folder / authority):
            each.mkdir(exist_ok=True)
        (folder / "certificate.pem").unlink(missing_ok=True)
        Authority(self.folder / authority).keep(folder, name)

    def renew(self) -> None:
        for name in ("bridge", "auth"):
            self.certify(name)
        (self.folder / "broker").mkdir(exist_ok=True)
        Authority(self.folder / "authority").keep(
            self.folder / "broker", "broker", hosts=(LOOPBACK,)
        )

    def context(self, name: str) -> ssl.SSLContext:
        own = self.folder / name
        return client_context(own / "ca.pem", own / "certificate.pem", own / "key.pem")

    def as_somebody(
        self, context: ssl.SSLContext, *, user: str = "bridge", password: str = PASSWORD
    ) -> pika.BlockingConnection:
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                LOOPBACK,
                self.port,
                VHOST,
                pika.PlainCredentials(user, password),
                ssl_options=pika.SSLOptions(context, LOOPBACK),
            )
        )


class ByTls:
    """The way of our own services to the broker."""

    def __init__(self, node: TlsNode, *, host: str = LOOPBACK, port: int | None = None) -> None:
        self._node = node
        self._url = f"amqps://{host}:{port or node.port}/{VHOST}"

    def as_user(self, user: str) -> Broker:
        own = self._node.folder / user
        settings = MessagingSettings(
            broker_urls=(self._url,),
            broker_password_file=self._node.folder / "password",
            broker_ca_file=own / "ca.pem",
            broker_certificate_file=own / "certificate.pem",
            broker_key_file=own / "key.pem",
            broker_heartbeat_s=HEARTBEAT_S,
            identity_file=self._node.folder / "unused",
            trust_file=self._node.folder / "unused",
        )
        return RabbitBroker(settings, user)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNode]:
    node = TlsNode(tmp_path_factory.mktemp("tls"))
    asyncio.run(node.broker.start())
    yield node
    node.broker.kill()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test's story on the loop that Python has, and on the one that our services have."""
    module = {"asyncio": asyncio, "uvloop": uvloop}[request.param]

    def run(story: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=module.new_event_loop) as runner:
            runner.run(story)

    return run


@asynccontextmanager
async def unconnected(broker: ByTls, keys: KeyRing) -> AsyncIterator[Client]:
    client = Client(broker.as_user(keys.service), keys)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def is_answered(client: Client) -> bool:
    try:
        return await client.call(SIGN_IN, timeout_s=1) == SESSION
    except ServiceError:
        return False


def test_calls_are_answered(node: TlsNode, keys: dict[str, KeyRing], run: Run) -> None:
    async def story() -> None:
        broker = ByTls(node)
        async with (
            serving(broker, keys["auth"], {CreateSession: sign_in}),
            calling(broker, keys["bridge"]) as client,
        ):
            replies = await asyncio.gather(*(client.call(SIGN_IN) for _ in range(200)))

        assert replies == [SESSION] * 200

    run(story())


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_a_broker_that_falls_silent_is_left_and_found_again(
    node: TlsNode, keys: dict[str, KeyRing], run: Run
) -> None:
    async def story() -> None:
        proxy = Proxy(node.port)
        await proxy.open()
        async with (
            serving(ByTls(node), keys["auth"], {CreateSession: sign_in}),
            calling(ByTls(node, port=proxy.port), keys["bridge"]) as client,
        ):
            assert await client.call(SIGN_IN) == SESSION
            began = monotonic()

            proxy.stall()

            await eventually(lambda: not client.is_connected, timeout_s=STALLED_S)
            await eventually(lambda: is_answered(client), timeout_s=STALLED_S)
            assert monotonic() - began < STALLED_S
        await proxy.shut()

    run(story())


def test_new_certificates_are_taken_up_with_the_next_connection(
    node: TlsNode, keys: dict[str, KeyRing], run: Run
) -> None:
    async def story() -> None:
        proxy = Proxy(node.port)
        await proxy.open()
        async with (
            serving(ByTls(node), keys["auth"], {CreateSession: sign_in}),
            calling(ByTls(node, port=proxy.port), keys["bridge"]) as client,
        ):
            (node.folder / "bridge" / "key.pem").unlink()
            proxy.cut()
            await eventually(lambda: not client.is_connected)
            assert not await client._publisher.opened(1)

            node.certify("bridge")

            await eventually(lambda: is_answered(client), timeout_s=STALLED_S)
        await proxy.shut()

    try:
        run(story())
    finally:
        node.certify("bridge")


@pytest.mark.parametrize("host", ["localhost", LOOPBACK])
def test_a_server_is_refused_that_is_not_the_one_it_was_called(
    node: TlsNode, keys: dict[str, KeyRing], run: Run, host: str
) -> None:
    async def story() -> None:
        async with unconnected(ByTls(node, host=host), keys["bridge"]) as client:
            patience_s = 10 if host == LOOPBACK else 3
            assert await client._publisher.opened(patience_s) == (host == LOOPBACK)

    run(story())


def test_a_server_of_another_authority_is_refused(
    node: TlsNode, keys: dict[str, KeyRing], run: Run
) -> None:
    async def story() -> None:
        ours = (node.folder / "bridge" / "ca.pem").read_bytes()
        node.certify("catalog", authority="another")
        theirs = (node.folder / "catalog" / "ca.pem").read_bytes()
        (node.folder / "bridge" / "ca.pem").write_bytes(theirs)  # our own certificate is good
        try:
            async with unconnected(ByTls(node), keys["bridge"]) as client:
                assert not await client._publisher.opened(2)
        finally:
            (node.folder / "bridge" / "ca.pem").write_bytes(ours)

    run(story())


def test_who_has_no_certificate_or_a_strangers_is_refused(node: TlsNode) -> None:
    nobody = ssl.create_default_context(cafile=str(node.folder / "bridge" / "ca.pem"))
    node.certify("stranger", authority="another")
    (node.folder / "stranger" / "ca.pem").write_bytes(
        (node.folder / "bridge" / "ca.pem").read_bytes()
    )

    for context in (nobody, node.context("stranger")):
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            node.as_somebody(context)
    with node.as_somebody(node.context("bridge")) as connection:
        assert connection.is_open


def test_without_files_of_ours_it_must_be_a_server_that_the_system_trusts(
    node: TlsNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(node.folder / "bridge" / "ca.pem"))
    assert greet(node, LOOPBACK) in ("TLSv1.2", "TLSv1.3")

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        greet(node, "localhost")

    node.certify("catalog", authority="another")
    monkeypatch.setenv("SSL_CERT_FILE", str(node.folder / "catalog" / "ca.pem"))
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        greet(node, LOOPBACK)


def greet(node: TlsNode, name: str, context: ssl.SSLContext | None = None) -> str | None:
    """Shake hands with the broker as one that is called by this name; give the version of TLS."""
    with (
        socket.create_connection((LOOPBACK, node.port), timeout=5) as plain,
        (context or public_context()).wrap_socket(plain, server_hostname=name) as encrypted,
    ):
        return encrypted.version()


@pytest.mark.parametrize(
    ("ciphers", "is_taken"), [("ECDHE+AESGCM", True), ("ECDHE+AES:!AESGCM", False)]
)
def test_the_broker_takes_ciphers_that_authenticate_alone(
    node: TlsNode, ciphers: str, is_taken: bool
) -> None:
    context = node.context("bridge")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)

    refusal = pytest.raises(ssl.SSLError, match=r"INSUFFICIENT_SECURITY|HANDSHAKE_FAILURE")
    with nullcontext() if is_taken else refusal:
        assert greet(node, LOOPBACK, context) == "TLSv1.2"


def test_a_certificate_does_not_do_instead_of_the_password(node: TlsNode) -> None:
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        node.as_somebody(node.context("bridge"), password="guess")


def test_a_service_cannot_speak_for_the_broker(node: TlsNode) -> None:
    """Its certificate is a client's, even where its name would fit."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(
        node.folder / "auth" / "certificate.pem", node.folder / "auth" / "key.pem"
    )
    client = node.context("bridge")
    client.check_hostname = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )

    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        shake_hands(*ends)


def shake_hands(*ends: ssl.SSLObject) -> None:
    for end in ends * 4:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
