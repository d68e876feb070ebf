"""What autoscaler and status know of queues, without RabbitMQ's statistics."""

from collections.abc import Iterator
from time import monotonic

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from ops.local.ports import LOOPBACK
from ops.scaling.management_api import Depth, DepthUnknown, Management
from ops.scaling.traffic import Traffic
from postroad.testing import eventually
from postroad.topology.definitions import definitions, with_passwords
from postroad.topology.manifest import find_services
from postroad.topology.names import VHOST
from tests.conftest import ROOT
from tests.support.nodes import ADMIN
from tests.support.provisioned import ProvisionedBroker, Setup, provisioned_broker
from tests.support.vhosts import PASSWORD

pytestmark = pytest.mark.integration

FRESH_S = 1.0
MESSAGES, TAKEN, ROUNDS = 10, 3, 7
CLASSIC, QUORUM = "rpc.auth", "work.auth.audit"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisionedBroker]:
    topology = definitions(find_services(ROOT))
    topology["users"].append({"name": ADMIN, "tags": []})
    topology["permissions"].append(
        {"user": ADMIN, "vhost": VHOST, "configure": "", "write": ".*", "read": ".*"}
    )
    passwords = {user["name"]: PASSWORD for user in topology["users"]}
    setup = Setup(with_passwords(topology, passwords))
    with provisioned_broker(tmp_path_factory.mktemp("broker"), setup) as broker:
        yield broker


@pytest.fixture
def management(broker: ProvisionedBroker) -> Management:
    return Management(broker.management_url, PASSWORD)


@pytest.fixture
def traffic(broker: ProvisionedBroker) -> Traffic:
    return Traffic(broker.metrics_url)


@pytest.fixture
def channel(broker: ProvisionedBroker) -> Iterator[BlockingChannel]:
    """A channel whose messages are in their queues as soon as they are published."""
    credentials = pika.PlainCredentials(ADMIN, PASSWORD)
    parameters = pika.ConnectionParameters(LOOPBACK, broker.ports.amqp, VHOST, credentials)
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for queue in (CLASSIC, QUORUM):
            channel.queue_purge(queue)
        yield channel


def publish(channel: BlockingChannel, queue: str) -> None:
    for _ in range(MESSAGES):
        channel.basic_publish("", queue, b"{}")


async def age_s(management: Management, channel: BlockingChannel, queue: str) -> float:
    """Fill a queue; return after how long its depth is known to have been that."""

    async def is_known(depth: int) -> bool:
        return await management.depth(queue) == depth

    channel.queue_purge(queue)
    await eventually(lambda: is_known(0), timeout_s=20)
    publish(channel, queue)
    began_s = monotonic()
    await eventually(lambda: is_known(MESSAGES), timeout_s=20)
    return monotonic() - began_s


@pytest.mark.parametrize("queue", [CLASSIC, QUORUM])
async def test_a_depth_is_no_older_than_a_second(
    management: Management, channel: BlockingChannel, queue: str
) -> None:
    ages = [await age_s(management, channel, queue) for _ in range(ROUNDS)]

    assert sorted(ages)[-2] <= FRESH_S, ages  # one may be late: the machine has other work, too


async def test_a_depth_counts_what_waits_and_what_is_held(
    management: Management, channel: BlockingChannel
) -> None:
    publish(channel, CLASSIC)
    for _ in range(TAKEN):
        channel.basic_get(CLASSIC)

    assert management.depths()[CLASSIC] == Depth(ready=MESSAGES - TAKEN, unacked=TAKEN)


@pytest.mark.parametrize("queue", [CLASSIC, QUORUM])
async def test_what_comes_and_goes_is_counted_for_each_queue(
    traffic: Traffic, channel: BlockingChannel, queue: str
) -> None:
    channel.basic_get(queue)  # nothing is there: that counts as no delivery
    before = traffic.read()
    publish(channel, queue)
    for _ in range(TAKEN):
        channel.basic_get(queue, auto_ack=True)
    channel.basic_get(queue)

    after = traffic.read()

    elapsed_s = after.at_s - before.at_s
    rates = after.rates(before)[queue]
    assert (round(rates.into * elapsed_s), round(rates.out * elapsed_s)) == (MESSAGES, TAKEN + 1)
    other = QUORUM if queue == CLASSIC else CLASSIC
    still = after.rates(before).get(other)
    assert still is None or (still.into, still.out) == (0, 0)


@pytest.mark.parametrize("queue", [CLASSIC, QUORUM])
async def test_consumers_are_counted_and_their_deliveries_too(
    traffic: Traffic, channel: BlockingChannel, queue: str
) -> None:
    before = traffic.read()
    channel.basic_consume(queue, lambda *_: None)
    publish(channel, queue)

    async def are_known() -> bool:
        channel.connection.process_data_events(time_limit=0)
        now = traffic.read()
        rates = now.rates(before).get(queue)
        delivered = rates and round(rates.out * (now.at_s - before.at_s))
        return (now.consumers()[queue], delivered) == (1, MESSAGES)

    await eventually(are_known, timeout_s=20)


async def test_no_statistics_are_collected(broker: ProvisionedBroker) -> None:
    assert (await broker.ctl("eval", "ets:whereis(queue_stats).")).strip() == "undefined"


async def test_nobody_is_told_a_depth_for_a_wrong_password(broker: ProvisionedBroker) -> None:
    with pytest.raises(DepthUnknown, match="answers 401"):
        await Management(broker.management_url, "guess").depth(CLASSIC)
