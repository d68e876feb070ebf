"""Each trigger of scaling.yaml, asked as KEDA does: of the broker of broker.yaml, by TLS."""

import asyncio
import json
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import pika
import pytest
from pika.exceptions import ProbableAccessDeniedError

from ops.commands.dispatch import run_command
from ops.local.ports import LOOPBACK, free_ports
from ops.state.folder import StateFolder
from postroad.testing import eventually
from postroad.topology.definitions import with_passwords
from postroad.topology.names import VHOST
from tests.kubernetes.manifests import (
    SECRETS_FOLDER,
    Manifest,
    kustomization,
    name_of,
    of_kind,
    queue_of,
    trigger,
)
from tests.kubernetes.test_encryption import conf
from tests.support.nodes import ADMIN, ADMIN_PASSWORD
from tests.support.provisioned import ProvisionedBroker, Setup, provisioned_broker

pytestmark = pytest.mark.integration

READY, UNACKED = 7, 3
KNOWN_S = 20.0
PAGE_SIZE = 100  # KEDA's default
OURS = re.compile(r"management")  # of broker.yaml's settings; the rest are for RabbitMQ 4 alone


@dataclass(frozen=True, slots=True)
class Answer:
    """What the management API answers."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Keda:
    """KEDA's HTTP client, with what it reads of the secret `scaler`."""

    def __init__(self, secret: dict[str, str], port: int) -> None:
        self.username, self.password = secret["username"], secret["password"]
        assert secret["tls"] == "enable"  # or `ca` is not read
        self._context = ssl.create_default_context(cadata=secret["ca"])
        host = urlsplit(secret["host"])
        assert host.scheme == "https"
        self.host = str(host.hostname)
        self._port = port  # where the test's broker has it

    def ask(self, path: str, *, method: str = "GET", body: object = None) -> Answer:
        connection = HTTPSConnection(self.host)
        plain = socket.create_connection((LOOPBACK, self._port), timeout=10)
        connection.sock = self._context.wrap_socket(plain, server_hostname=self.host)
        credentials = b64encode(f"{self.username}:{self.password}".encode()).decode()
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Authorization": f"Basic {credentials}"})
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()


def read_secret(name: str, state: Path) -> dict[str, str]:
    """Read what kustomize makes of a secret, `postroad provision` having made its files."""
    secrets = kustomization(SECRETS_FOLDER)["secretGenerator"]
    (entry,) = [each for each in secrets if each["name"] == name]
    literals = dict(each.split("=", 1) for each in entry["literals"])
    files = dict(each.split("=", 1) for each in entry["files"])
    contents = {
        key: (state / Path(file).relative_to("state")).read_text() for key, file in files.items()
    }
    return literals | contents


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateFolder:
    folder = tmp_path_factory.mktemp("secrets") / "state"
    assert run_command(["provision", "--cluster", "--state", str(folder)]) == 0
    return StateFolder(folder)


@pytest.fixture(scope="module")
def tls_port() -> int:
    (port,) = free_ports(1)
    return port


@pytest.fixture(scope="module")
def broker(
    state: StateFolder, tls_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProvisionedBroker]:
    """The broker of the manifests, and somebody who may publish to it."""
    (cluster,) = of_kind("RabbitmqCluster")
    configuration = cluster["spec"]["rabbitmq"]
    settings = conf(configuration["additionalConfig"])
    admin = with_passwords({"users": [{"name": ADMIN, "tags": []}]}, {ADMIN: ADMIN_PASSWORD})
    every = {"user": ADMIN, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
    definitions = json.loads(state.definitions_file.read_text())
    definitions["users"] += admin["users"]
    definitions["permissions"].append(every)
    setup = Setup(
        definitions,
        {key: value for key, value in settings.items() if OURS.match(key)},
        configuration["advancedConfig"],
        (state.broker_folder / "tls", tls_port),
    )
    with provisioned_broker(tmp_path_factory.mktemp("broker"), setup) as broker:
        yield broker


@pytest.fixture
def keda(broker: ProvisionedBroker, state: StateFolder, tls_port: int) -> Keda:
    return Keda(read_secret("scaler", state.folder), tls_port)


def connect(broker: ProvisionedBroker, user: str, password: str) -> pika.BlockingConnection:
    credentials = pika.PlainCredentials(user, password)
    return pika.BlockingConnection(
        pika.ConnectionParameters(LOOPBACK, broker.ports.amqp, VHOST, credentials)
    )


def asked_by_keda(metadata: dict[str, str]) -> str:
    """Return the path that KEDA 2.20 asks (its pkg/scalers/rabbitmq_scaler.go, with a regex)."""
    assert metadata["useRegex"] == "true"
    vhost, name = quote_plus(metadata["vhostName"]), quote_plus(metadata["queueName"])
    which = f"page=1&use_regex=true&pagination=false&name={name}&page_size={PAGE_SIZE}"
    return f"/api/queues/{vhost}?{which}"


def read_by_keda(metadata: dict[str, str], answer: Any) -> int:
    """Take the depth out of the answer, as KEDA 2.20 does in mode QueueLength over HTTP."""
    assert answer["page_count"] <= 1  # or KEDA gives up
    is_partial = metadata["excludeUnacknowledged"] == "true"
    field = "messages_ready" if is_partial else "messages"
    return sum(queue.get(field, 0) for queue in answer["items"])


@pytest.mark.parametrize("scaled", of_kind("ScaledObject"), ids=name_of)
async def test_a_trigger_counts_what_waits_and_what_is_being_worked_on(
    broker: ProvisionedBroker, keda: Keda, scaled: Manifest
) -> None:
    metadata, queue = trigger(scaled), queue_of(scaled)
    path = asked_by_keda(metadata)

    with connect(broker, ADMIN, ADMIN_PASSWORD) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(READY + UNACKED):
            channel.basic_publish("", queue, b"{}")
        for _ in range(UNACKED):
            channel.basic_get(queue)

        async def sees_all() -> bool:
            answer = (await asyncio.to_thread(keda.ask, path)).json()
            (found,) = answer["items"]
            assert found["name"] == queue
            counts = (found["messages_ready"], found["messages_unacknowledged"])
            return counts == (READY, UNACKED) and read_by_keda(metadata, answer) == READY + UNACKED

        await eventually(sees_all, timeout_s=KNOWN_S)
        channel.basic_ack(0, multiple=True)
        channel.queue_purge(queue)


async def test_a_depth_is_known_without_statistics(broker: ProvisionedBroker) -> None:
    assert (await broker.ctl("eval", "ets:whereis(queue_stats).")).strip() == "undefined"


async def test_the_broker_is_verified_by_the_authority_of_the_secret(
    broker: ProvisionedBroker, state: StateFolder, tls_port: int, tmp_path: Path
) -> None:
    assert run_command(["provision", "--cluster", "--state", str(tmp_path / "other")]) == 0
    ca = (tmp_path / "other" / "broker" / "tls" / "ca.pem").read_text()
    stranger = Keda(read_secret("scaler", state.folder) | {"ca": ca}, tls_port)

    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.ask("/api/queues/postroad")


async def test_the_scaler_may_not_so_much_as_connect_as_a_client(
    broker: ProvisionedBroker, keda: Keda
) -> None:
    with pytest.raises(ProbableAccessDeniedError, match="connection limit"):
        connect(broker, keda.username, keda.password)


GET = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
PUBLISH = {"properties": {}, "routing_key": "rpc.auth", "payload": "", "payload_encoding": "string"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("POST", "/api/queues/{vhost}/rpc.auth/get", GET, id="read a message"),
        pytest.param(
            "POST", "/api/exchanges/{vhost}/amq.default/publish", PUBLISH, id="publish a message"
        ),
        pytest.param("DELETE", "/api/queues/{vhost}/rpc.auth/contents", None, id="purge"),
        pytest.param("DELETE", "/api/queues/{vhost}/rpc.auth", None, id="delete a queue"),
        pytest.param("GET", "/api/users", None, id="see the users"),
        pytest.param("GET", "/api/nodes", None, id="see the nodes"),
        pytest.param("GET", "/api/permissions", None, id="see the permissions"),
        pytest.param("GET", "/api/definitions", None, id="take the password hashes"),
    ],
)
async def test_the_scaler_may_not_by_the_management_api(
    broker: ProvisionedBroker, keda: Keda, method: str, path: str, body: object
) -> None:
    with connect(broker, ADMIN, ADMIN_PASSWORD) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "rpc.auth", b"{}")

        answer = keda.ask(path.format(vhost=VHOST), method=method, body=body)

        kept = channel.queue_purge("rpc.auth").method.message_count
    assert answer.status in (400, 401)
    assert b"not_authori" in answer.body or b"refused" in answer.body
    assert kept == 1
