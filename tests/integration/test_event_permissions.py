"""Who may tell and hear events is the broker's to enforce, whatever a service's code does."""

import pytest
from pika.exceptions import ChannelClosedByBroker

from postroad.contracts.auth import CreateSession
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked, SyncRequested
from postroad.security.keyring import KeyRing
from postroad.security.lasting_signatures import LastingSigner
from postroad.testing import serving
from postroad.topology.names import EVENTS_EXCHANGE, dead_queue, rpc_queue
from tests.integration.test_permissions import (
    ACCESS_REFUSED,
    USERS,
    Act,
    bind,
    bind_own_queue,
    declare_queue,
    delete_exchange,
    own_queue,
    publish,
)
from tests.support.brokers import RabbitUnderTest
from tests.support.services import sign_in
from tests.support.traffic import publish as send
from tests.support.traffic import waiting_in

pytestmark = pytest.mark.integration

REVOKED = SessionRevoked.name
LISTENERS = ("bridge", "catalog")


def listen(routing_key: str) -> Act:
    return bind_own_queue(EVENTS_EXCHANGE, routing_key)


FORBIDDEN: list[tuple[str, str, Act]] = [
    *(
        (user, "tell of a sign-in", publish(EVENTS_EXCHANGE, LoginSucceeded.name))
        for user in LISTENERS
    ),
    ("auth", "tell what is the catalogue's", publish(EVENTS_EXCHANGE, "catalog.product.changed")),
    ("auth", "tell by a name that only begins like its own", publish(EVENTS_EXCHANGE, "author.x")),
    ("auth", "listen", listen(REVOKED)),
    (
        "auth",
        "have its requests' queue hear events",
        bind(rpc_queue("auth"), EVENTS_EXCHANGE, REVOKED),
    ),
    *(
        (user, f"listen to {key}", listen(key))
        for user in LISTENERS
        for key in ("auth.session.*", "auth.#", "*.session.revoked", SyncRequested.name, "#")
    ),
    ("catalog", "listen to who signs in", listen(LoginFailed.name)),
    ("bridge", "listen in the catalogue's name", declare_queue("listen.catalog.x")),
    ("catalog", "listen in the bridge's name", declare_queue("listen.bridge.x")),
    *((user, "listen in nobody's name", declare_queue("listen.x")) for user in USERS),
    *((user, "keep events in a queue", declare_queue("work.audit")) for user in USERS),
    *(
        (user, f"have {queue} hear events", bind(queue, EVENTS_EXCHANGE, REVOKED))
        for user in USERS
        for queue in (dead_queue(rpc_queue("auth")), dead_queue(rpc_queue("catalog")))
    ),
    (
        "catalog",
        "have its own requests' queue hear events",
        bind("rpc.catalog", EVENTS_EXCHANGE, REVOKED),
    ),
    *((user, "delete the events", delete_exchange(EVENTS_EXCHANGE)) for user in USERS),
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


@pytest.mark.parametrize("user", LISTENERS)
async def test_the_broker_lets_a_service_hear_what_it_may(
    rabbit_broker: RabbitUnderTest, user: str
) -> None:
    with rabbit_broker.connect(user) as listener, rabbit_broker.connect("auth") as teller:
        channel = listener.channel()
        queue = own_queue(channel)
        channel.queue_bind(queue, EVENTS_EXCHANGE, REVOKED)

        publish(EVENTS_EXCHANGE, REVOKED, user_id="auth")(teller.channel())

        _, properties, _ = channel.basic_get(queue)
        assert properties.user_id == "auth"


async def test_nobody_tells_in_anothers_name(rabbit_broker: RabbitUnderTest) -> None:
    with (
        rabbit_broker.connect("auth") as connection,
        pytest.raises(ChannelClosedByBroker, match="user_id"),
    ):
        publish(EVENTS_EXCHANGE, REVOKED, user_id="catalog")(connection.channel())


async def test_an_event_led_into_a_workers_queue_is_refused_there(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]
) -> None:
    """A caller's permission to ask whether a worker listens lets it bind that worker's queue."""
    queue, body = rpc_queue("auth"), b"{}"
    signature = LastingSigner(keys["auth"]).event(
        name=REVOKED, body=body, message_id="1", correlation_id="1"
    )
    with rabbit_broker.connect("bridge") as connection:
        bind(queue, EVENTS_EXCHANGE, REVOKED)(connection.channel())
    async with serving(rabbit_broker, keys["auth"], {CreateSession: sign_in}) as worker:
        await send(
            *(rabbit_broker, "auth", EVENTS_EXCHANGE, REVOKED, body),
            headers={"signature": signature},
            user_id="auth",
        )

        await waiting_in(rabbit_broker, dead_queue(queue))

    assert worker.counts == {"refused.wrong_type": 1}
