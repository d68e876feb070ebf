"""Each forbidden act of each service user is refused by the broker itself.

Our own code does none of this, so these users speak raw AMQP.
"""

from collections.abc import Callable

import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from postroad.contracts.events import SessionRevoked, SyncRequested
from postroad.topology.names import (
    DEAD_WORK_EXCHANGE,
    EVENTS_EXCHANGE,
    REPLIES_EXCHANGE,
    RPC_EXCHANGE,
    WORK_EXCHANGE,
)
from tests.support.brokers import RabbitUnderTest

pytestmark = pytest.mark.integration

ACCESS_REFUSED, RESOURCE_LOCKED = 403, 405
USERS = ("bridge", "auth", "catalog")
REVOKED = SessionRevoked.name

Act = Callable[[BlockingChannel], object]


def publish(exchange: str, routing_key: str, **properties: str) -> Act:
    def act(channel: BlockingChannel) -> None:
        channel.confirm_delivery()
        channel.basic_publish(exchange, routing_key, b"{}", BasicProperties(**properties))

    return act


def declare_queue(name: str, *, exclusive: bool = False, durable: bool = False) -> Act:
    return lambda channel: channel.queue_declare(name, exclusive=exclusive, durable=durable)


def declare_exchange(name: str, **arguments: str) -> Act:
    return lambda channel: channel.exchange_declare(name, "topic", arguments=arguments)


def bind(queue: str, exchange: str, routing_key: str) -> Act:
    return lambda channel: channel.queue_bind(queue, exchange, routing_key)


def own_queue(channel: BlockingChannel) -> str:
    """Declare one, which the broker names."""
    return str(channel.queue_declare("", exclusive=True, auto_delete=True).method.queue)


def bind_own_queue(exchange: str, routing_key: str) -> Act:
    return lambda channel: channel.queue_bind(own_queue(channel), exchange, routing_key)


def unbind(queue: str, exchange: str, routing_key: str) -> Act:
    return lambda channel: channel.queue_unbind(queue, exchange, routing_key)


def bind_exchange(destination: str, source: str) -> Act:
    return lambda channel: channel.exchange_bind(destination, source, "#")


def consume(queue: str) -> Act:
    return lambda channel: channel.basic_consume(queue, lambda *_: None)


def get(queue: str) -> Act:
    return lambda channel: channel.basic_get(queue)


def purge(queue: str) -> Act:
    return lambda channel: channel.queue_purge(queue)


def delete_queue(queue: str) -> Act:
    return lambda channel: channel.queue_delete(queue)


def take_replies_from(queue: str) -> Act:
    """Have a queue take what is for its binder, in the names of any two who may bind."""
    return lambda channel: channel.queue_bind(queue, REPLIES_EXCHANGE, "reply.catalog.x")


def delete_exchange(exchange: str) -> Act:
    return lambda channel: channel.exchange_delete(exchange)


DETOURS: dict[str, Callable[[str], Act]] = {  # past topic permissions, by a name of one's own
    "an exchange": declare_exchange,
    "an exchange with an alternate": lambda name: declare_exchange(
        name, **{"alternate-exchange": RPC_EXCHANGE}
    ),
    "a durable queue": lambda name: declare_queue(name, durable=True),
    "an exclusive queue": lambda name: declare_queue(name, exclusive=True),
}

FORBIDDEN_TO_ALL: dict[str, Act] = {
    "declare a queue": declare_queue("mine"),
    "declare an exclusive queue": declare_queue("mine", exclusive=True),
    "declare a queue in a service's name": declare_queue("rpc.orders"),
    "declare an exchange": declare_exchange("mine"),
    "declare an exchange in the broker's name": declare_exchange("amq.gen-mine"),
    "declare a queue in the broker's name": declare_queue("amq.gen-mine", exclusive=True),
    "delete a request queue": delete_queue("rpc.catalog"),
    "delete a dead-letter queue": delete_queue("dead.rpc.catalog"),
    "delete an exchange": delete_exchange(RPC_EXCHANGE),
    "consume dead letters": consume("dead.rpc.catalog"),
    "purge dead letters": purge("dead.rpc.catalog"),
    "publish an event of nobody": publish(EVENTS_EXCHANGE, "orders.order.created"),
    "listen in another's name": declare_queue("listen.orders.x", exclusive=True),
    "bind a request queue to the events": bind("rpc.catalog", EVENTS_EXCHANGE, "#"),
    "publish to the dead-letter exchange": publish(DEAD_WORK_EXCHANGE, ""),
    "publish straight into a request queue": publish("", "rpc.catalog"),
    "publish straight into a dead-letter queue": publish("", "dead.rpc.catalog"),
    "bind a request queue to the requests": bind("rpc.catalog", RPC_EXCHANGE, "#"),
    "bind a request queue to the dead letters": bind("rpc.catalog", DEAD_WORK_EXCHANGE, ""),
    "bind a request queue to everybody's replies": bind("rpc.catalog", REPLIES_EXCHANGE, "#"),
    "bind a request queue to another's replies": bind(
        "rpc.catalog", REPLIES_EXCHANGE, "reply.orders.x"
    ),
    "unbind a request queue": unbind("rpc.catalog", RPC_EXCHANGE, "catalog.#"),
    "bind one exchange to another": bind_exchange(RPC_EXCHANGE, REPLIES_EXCHANGE),
}

FORBIDDEN: list[tuple[str, str, Act]] = [
    *(
        (user, f"declare {what} for {purpose}", declare(f"{kind}.{user}.x"))
        for user in USERS
        for kind, purpose in (("reply", "replies"), ("listen", "events"))
        for what, declare in DETOURS.items()
    ),
    *((user, what, act) for user in USERS for what, act in FORBIDDEN_TO_ALL.items()),
    ("bridge", "publish another's event", publish(EVENTS_EXCHANGE, REVOKED)),
    (
        "bridge",
        "listen to events by a wildcard",
        bind_own_queue(EVENTS_EXCHANGE, "auth.*"),
    ),
    ("bridge", "call what it may not", publish(RPC_EXCHANGE, "auth.users.delete")),
    ("bridge", "answer in a worker's place", publish(REPLIES_EXCHANGE, "reply.bridge.x")),
    ("bridge", "consume requests", consume("rpc.catalog")),
    ("bridge", "get a request", get("rpc.catalog")),
    ("bridge", "purge requests", purge("rpc.catalog")),
    *(
        ("bridge", f"{what} a work queue that it may look at", act)
        for queue in ("work.auth.audit", "work.catalog.sync")
        for what, act in (
            ("consume", consume(queue)),
            ("get from", get(queue)),
            ("purge", purge(queue)),
            ("delete", delete_queue(queue)),
            ("publish straight into", publish("", queue)),
            ("give jobs to", bind(queue, WORK_EXCHANGE, "catalog.pages.fetch")),
        )
    ),
    (
        "bridge",
        "keep requests for a sync from their queue",
        unbind("work.catalog.sync", EVENTS_EXCHANGE, SyncRequested.name),
    ),
    (
        "bridge",
        "keep sign-ins from the audit",
        unbind("work.auth.audit", EVENTS_EXCHANGE, "auth.#"),
    ),
    (
        "bridge",
        "keep jobs from their queue",
        unbind("work.catalog.sync", WORK_EXCHANGE, "catalog.pages.fetch"),
    ),
    ("bridge", "have a reply queue in another's name", declare_queue("reply.auth.x")),
    (
        "bridge",
        "listen to another's replies",
        bind_own_queue(REPLIES_EXCHANGE, "reply.auth.x"),
    ),
    ("bridge", "listen to all replies", bind_own_queue(REPLIES_EXCHANGE, "#")),
    (
        "bridge",
        "listen to replies by a wildcard",
        bind_own_queue(REPLIES_EXCHANGE, "reply.*.x"),
    ),
    ("bridge", "listen to requests", bind_own_queue(RPC_EXCHANGE, "catalog.#")),
    ("bridge", "listen to events", bind_own_queue(EVENTS_EXCHANGE, "#")),
    ("bridge", "listen to dead letters", bind_own_queue(DEAD_WORK_EXCHANGE, "")),
    ("catalog", "call anybody", publish(RPC_EXCHANGE, "auth.sessions.create")),
    ("catalog", "call itself", publish(RPC_EXCHANGE, "catalog.products.get")),
    ("catalog", "reply to a queue that is no reply queue", publish(REPLIES_EXCHANGE, "catalog.x")),
    ("catalog", "consume another's requests", consume("rpc.auth")),
    ("catalog", "publish another's event", publish(EVENTS_EXCHANGE, REVOKED)),
    ("catalog", "listen to all events", bind_own_queue(EVENTS_EXCHANGE, "#")),
    (
        "catalog",
        "listen to events by a wildcard",
        bind_own_queue(EVENTS_EXCHANGE, "auth.*"),
    ),
    (
        "catalog",
        "listen to another's replies",
        bind_own_queue(REPLIES_EXCHANGE, "reply.bridge.x"),
    ),
    ("catalog", "have a reply queue in another's name", declare_queue("reply.bridge.x")),
    ("catalog", "write to another's queue directly", publish("", "rpc.auth")),
    ("auth", "call anybody", publish(RPC_EXCHANGE, "catalog.products.get")),
    ("auth", "consume another's requests", consume("rpc.catalog")),
    ("auth", "publish another's event", publish(EVENTS_EXCHANGE, "catalog.product.created")),
    ("auth", "consume a queue of its own", lambda channel: consume(own_queue(channel))(channel)),
    ("auth", "bind a queue of its own", bind_own_queue(EVENTS_EXCHANGE, "auth.#")),
    ("auth", "write to another's queue directly", publish("", "rpc.catalog")),
]


@pytest.mark.parametrize(
    ("user", "act"),
    [pytest.param(user, act, id=f"{user} may not {what}") for user, what, act in FORBIDDEN],
)
def test_the_broker_refuses(unchanged_broker: RabbitUnderTest, user: str, act: Act) -> None:
    with (
        unchanged_broker.connect(user) as connection,
        pytest.raises(ChannelClosedByBroker) as refusal,
    ):
        act(connection.channel())

    assert refusal.value.reply_code == ACCESS_REFUSED


@pytest.mark.parametrize("act", [consume, purge, delete_queue, take_replies_from])
@pytest.mark.parametrize("user", USERS)
async def test_nobody_touches_anothers_own_queue(
    rabbit_broker: RabbitUnderTest, user: str, act: Callable[[str], Act]
) -> None:
    with rabbit_broker.connect("bridge") as owner, rabbit_broker.connect(user) as connection:
        queue = own_queue(owner.channel())
        with pytest.raises(ChannelClosedByBroker) as refusal:
            act(queue)(connection.channel())

    assert refusal.value.reply_code in (ACCESS_REFUSED, RESOURCE_LOCKED)


@pytest.mark.parametrize("user", USERS)
async def test_nobody_takes_anothers_name(rabbit_broker: RabbitUnderTest, user: str) -> None:
    own_key = {"bridge": (RPC_EXCHANGE, "catalog.products.get")}.get(
        user, (REPLIES_EXCHANGE, "reply.bridge.x")
    )
    with (
        rabbit_broker.connect(user) as connection,
        pytest.raises(ChannelClosedByBroker, match="user_id"),
    ):
        publish(*own_key, user_id="orders")(connection.channel())
