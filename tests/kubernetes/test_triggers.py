"""Each trigger of scaling.yaml, asked of a real RabbitMQ as KEDA does; what its user may not."""

import asyncio
import json
from base64 import b64encode
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote_plus
from urllib.request import Request, urlopen

import pytest
from pika.exceptions import ProbableAccessDeniedError

from postroad.testing import eventually
from postroad.topology.names import SCALER
from tests.kubernetes.manifests import Manifest, name_of, of_kind, trigger
from tests.support.brokers import RabbitUnderTest
from tests.support.nodes import ADMIN, ADMIN_PASSWORD
from tests.support.vhosts import PASSWORD

pytestmark = pytest.mark.integration

READY, UNACKED = 7, 3
STATISTICS_S = 20.0  # figures are renewed every 5 s


def ask(broker: RabbitUnderTest, path: str, *, method: str = "GET", body: object = None) -> Any:
    """Ask the management API as KEDA's user.

    Raises:
        HTTPError: the answer is no success.
    """
    url = broker.node.management._url.removesuffix("/api") + path
    data = None if body is None else json.dumps(body).encode()
    credentials = b64encode(f"{SCALER}:{PASSWORD}".encode()).decode()
    request = Request(url, data, {"Authorization": f"Basic {credentials}"}, method=method)
    with urlopen(request, timeout=10) as response:
        text = response.read()
    return json.loads(text) if text else None


def asked_by_keda(metadata: dict[str, str], vhost: str) -> str:
    """Give the path that KEDA 2.20 asks (its pkg/scalers/rabbitmq_scaler.go, without a regex)."""
    return f"/api/queues/{quote_plus(vhost)}/{quote_plus(metadata['queueName'])}"


def read_by_keda(metadata: dict[str, str], answer: dict[str, int]) -> int:
    """Take the depth out of the answer, as KEDA 2.20 does in mode QueueLength over HTTP."""
    is_partial = metadata["excludeUnacknowledged"] == "true"
    return answer["messages_ready" if is_partial else "messages"]


@pytest.mark.parametrize("scaled", of_kind("ScaledObject"), ids=name_of)
async def test_a_trigger_counts_what_waits_and_what_is_being_worked_on(
    rabbit_broker: RabbitUnderTest, scaled: Manifest
) -> None:
    metadata = trigger(scaled)
    path = asked_by_keda(metadata, rabbit_broker.vhost)

    with rabbit_broker.connect(ADMIN, ADMIN_PASSWORD) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(READY + UNACKED):
            channel.basic_publish("", metadata["queueName"], b"{}")
        for _ in range(UNACKED):
            channel.basic_get(metadata["queueName"])

        async def sees_all() -> bool:  # at first there are no figures, then perhaps older ones
            answer = await asyncio.to_thread(ask, rabbit_broker, path)
            counts = (answer.get("messages_ready"), answer.get("messages_unacknowledged"))
            return counts == (READY, UNACKED) and read_by_keda(metadata, answer) == READY + UNACKED

        await eventually(sees_all, timeout_s=STATISTICS_S)


async def test_the_scaler_may_not_so_much_as_connect_as_a_client(
    rabbit_broker: RabbitUnderTest,
) -> None:
    with pytest.raises(ProbableAccessDeniedError, match="connection limit"):
        rabbit_broker.connect(SCALER)


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
    rabbit_broker: RabbitUnderTest, method: str, path: str, body: object
) -> None:
    path = path.format(vhost=rabbit_broker.vhost)

    with pytest.raises(HTTPError) as refusal:
        ask(rabbit_broker, path, method=method, body=body)

    with refusal.value as answer:
        reason = answer.read()
    assert answer.code in (400, 401)
    assert b"not_authori" in reason or b"refused" in reason
    assert await rabbit_broker.depth("rpc.auth") == 0
