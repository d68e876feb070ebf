"""A worker trusts no message that fails one of its checks, even if the broker let it through.

It is refused: not answered, dead-lettered, and counted under its reason.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import time

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker

from postroad.broker.interfaces import Outcome
from postroad.contracts.auth import ListRevocations
from postroad.contracts.catalog import GetProduct, Product
from postroad.dead_letters.captured import copy_of_letter
from postroad.messaging.rpc_worker import Worker
from postroad.security.access_tokens import AccessToken
from postroad.security.claims import Reason
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.security.signatures import Signer, Verifier
from postroad.testing import access_token, eventually, serving
from postroad.topology.names import RPC_EXCHANGE, dead_queue, rpc_queue
from tests.support.brokers import RabbitUnderTest
from tests.support.letters import Letter, claims_of, forge, write
from tests.support.services import LAMP
from tests.support.traffic import ReplyInbox, replies_to, waiting_in

pytestmark = pytest.mark.integration

DEAD_LETTERS = dead_queue(rpc_queue("catalog"))
REQUEST = GetProduct(product_id=7)
ACCESS_REFUSED = 403


@dataclass(frozen=True)
class Scene:
    """A worker at work, and one who writes to it."""

    broker: RabbitUnderTest
    worker: Worker
    keys: dict[str, KeyRing]
    user: AccessToken
    inbox: ReplyInbox

    def letter(self, *, timeout_s: float = 5.0) -> Letter:
        """Write an honest request of the bridge."""
        return write(
            self.keys["bridge"],
            REQUEST,
            reply_to=self.inbox.address,
            timeout_s=timeout_s,
            user=self.user,
        )

    def forged(self, letter: Letter, **claims: object) -> str:
        """Sign a letter again, as the bridge, with other claims."""
        honest = claims_of(letter.headers["signature"])
        return forge(self.keys["bridge"], "catalog", letter.body, honest | claims)


async def get_product(request: GetProduct) -> Product:
    return LAMP


@pytest.fixture
def user(keys: dict[str, KeyRing], identities: dict[str, Identity]) -> AccessToken:
    return access_token(keys["bridge"], identities["auth"])


@pytest.fixture
async def scene(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], user: AccessToken
) -> AsyncIterator[Scene]:
    async with (
        serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}) as worker,
        replies_to(rabbit_broker, "bridge") as inbox,
    ):
        yield Scene(rabbit_broker, worker, keys, user, inbox)


def tamper_with_the_body(scene: Scene, letter: Letter) -> None:
    letter.body = letter.body.replace(b"7", b"8")


def tamper_with_the_signature(scene: Scene, letter: Letter) -> None:
    letter.headers["signature"] = letter.headers["signature"][:-4] + "AAAA"


def swap_the_reply_address(scene: Scene, letter: Letter) -> None:
    letter.properties["reply_to"] = "reply.bridge.somebody-else"


def ask_for_the_reply_to_go_to_a_third(scene: Scene, letter: Letter) -> None:
    letter.properties["reply_to"] = "reply.auth.x"
    letter.headers["signature"] = scene.forged(letter, rto="reply.auth.x")


def leave_the_reply_address_out(scene: Scene, letter: Letter) -> None:
    del letter.properties["reply_to"]


def address_another_service(scene: Scene, letter: Letter) -> None:
    letter.headers["signature"] = scene.forged(letter, aud="auth")


def use_the_key_for_another_service(scene: Scene, letter: Letter) -> None:
    claims = claims_of(letter.headers["signature"]) | {
        "aud": "auth",
        "kid": scene.keys["bridge"].sending_key("auth")[0],
    }
    letter.headers["signature"] = forge(scene.keys["bridge"], "auth", letter.body, claims)


def let_it_expire(scene: Scene, letter: Letter) -> None:
    letter.headers["signature"] = scene.forged(letter, exp=time() - 10)


def set_a_deadline_of_tomorrow(scene: Scene, letter: Letter) -> None:
    letter.headers["signature"] = scene.forged(letter, exp=time() + 86_400)


def leave_it_unsigned(scene: Scene, letter: Letter) -> None:
    del letter.headers["signature"]


def sign_with_nonsense(scene: Scene, letter: Letter) -> None:
    letter.headers["signature"] = "nonsense"


def sign_with_no_algorithm(scene: Scene, letter: Letter) -> None:
    letter.headers["signature"] = scene.forged(letter, alg="none")


def name_another_algorithm(scene: Scene, letter: Letter) -> None:
    letter.headers["signature"] = scene.forged(letter, alg="EdDSA")


def send_a_carbon_copy(scene: Scene, letter: Letter) -> None:
    letter.headers["CC"] = ["catalog.products.list"]


def sign_as_another(scene: Scene, letter: Letter) -> None:
    letter.properties["reply_to"] = "reply.auth.x"
    claims = claims_of(letter.headers["signature"]) | {
        "iss": "auth",
        "kid": scene.keys["auth"].sending_key("catalog")[0],
        "rto": "reply.auth.x",
    }
    letter.headers["signature"] = forge(scene.keys["auth"], "catalog", letter.body, claims)


def claim_to_be_another(scene: Scene, letter: Letter) -> None:
    letter.headers["signature"] = scene.forged(letter, iss="auth")


def withhold_the_user_id(scene: Scene, letter: Letter) -> None:
    del letter.properties["user_id"]


def exchange_the_token(scene: Scene, letter: Letter) -> None:
    letter.headers["authorization"] += "x"


def remove_the_token(scene: Scene, letter: Letter) -> None:
    del letter.headers["authorization"]


def pass_a_reply_off_as_a_request(scene: Scene, letter: Letter) -> None:
    honest = Verifier(scene.keys["catalog"]).verify(
        letter.headers["signature"], letter.body, typ="request"
    )
    letter.headers["signature"] = Signer(scene.keys["bridge"]).reply(
        honest.model_copy(update={"iss": "catalog"}),
        body=letter.body,
        message_id="m",
        is_error=False,
    )


def call_what_is_not_granted(scene: Scene, letter: Letter) -> None:
    letter.headers["signature"] = scene.forged(letter, op="auth.users.delete")


ATTACKS: list[tuple[Callable[[Scene, Letter], None], Reason]] = [
    (tamper_with_the_body, Reason.BAD_SIGNATURE),
    (tamper_with_the_signature, Reason.BAD_SIGNATURE),
    (swap_the_reply_address, Reason.WRONG_REPLY_ADDRESS),
    (ask_for_the_reply_to_go_to_a_third, Reason.WRONG_REPLY_ADDRESS),
    (leave_the_reply_address_out, Reason.WRONG_REPLY_ADDRESS),
    (address_another_service, Reason.WRONG_AUDIENCE),
    (use_the_key_for_another_service, Reason.UNKNOWN_KEY),
    (let_it_expire, Reason.EXPIRED),
    (set_a_deadline_of_tomorrow, Reason.DEADLINE_TOO_FAR),
    (leave_it_unsigned, Reason.UNSIGNED),
    (sign_with_nonsense, Reason.MALFORMED),
    (sign_with_no_algorithm, Reason.MALFORMED),
    (name_another_algorithm, Reason.BAD_SIGNATURE),
    (send_a_carbon_copy, Reason.CARBON_COPY),
    (sign_as_another, Reason.SENDER_MISMATCH),
    (claim_to_be_another, Reason.UNKNOWN_KEY),
    (withhold_the_user_id, Reason.SENDER_MISMATCH),
    (exchange_the_token, Reason.TOKEN_MISMATCH),
    (remove_the_token, Reason.TOKEN_MISMATCH),
    (pass_a_reply_off_as_a_request, Reason.WRONG_TYPE),
    (call_what_is_not_granted, Reason.CALLER_NOT_ALLOWED),
]


@pytest.mark.parametrize(
    ("attack", "reason"), [pytest.param(*case, id=case[0].__name__) for case in ATTACKS]
)
async def test_a_worker_refuses_one_who_would(
    scene: Scene, attack: Callable[[Scene, Letter], None], reason: Reason
) -> None:
    letter = scene.letter()
    attack(scene, letter)

    outcome = await letter.post(scene.broker, "bridge")

    assert outcome is Outcome.CONFIRMED  # the broker had no objection
    (dead,) = await waiting_in(scene.broker, DEAD_LETTERS)
    was = copy_of_letter(dead.body, dead.properties)
    assert was is not None
    assert (was.body, was.died_of) == (letter.body, reason)
    assert scene.worker.counts == {f"refused.{reason}": 1}
    await assert_first_answer_is_the_honest_ones(scene)


async def assert_first_answer_is_the_honest_ones(scene: Scene) -> None:
    honest = scene.letter()
    await honest.post(scene.broker, "bridge")
    answer = await scene.inbox.next()
    assert answer.properties.correlation_id == honest.properties["correlation_id"]


async def test_a_worker_answers_a_request_once_and_refuses_its_copy(scene: Scene) -> None:
    letter = scene.letter()

    await letter.post(scene.broker, "bridge")
    answer = await scene.inbox.next()
    await letter.post(scene.broker, "bridge")

    (dead,) = await waiting_in(scene.broker, DEAD_LETTERS)
    assert dead.body == letter.body
    assert answer.body == LAMP.model_dump_json().encode()
    counted = {"ok": 1, f"refused.{Reason.REPLAYED}": 1}
    await eventually(lambda: scene.worker.counts == counted)  # what is answered, once confirmed
    await assert_first_answer_is_the_honest_ones(scene)


async def test_a_worker_refuses_a_caller_without_the_right(
    rabbit_broker: RabbitUnderTest,
    keys: dict[str, KeyRing],
    identities: dict[str, Identity],
    trust: TrustBundle,
    user: AccessToken,
) -> None:
    bridge = trust.services["bridge"].model_copy(update={"calls": ("catalog.products.list",)})
    strict = KeyRing(
        identities["catalog"],
        TrustBundle(services=trust.services | {"bridge": bridge}),
    )
    letter = write(keys["bridge"], REQUEST, reply_to="reply.bridge.x", user=user)

    async with serving(rabbit_broker, strict, {GetProduct: get_product}) as worker:
        await letter.post(rabbit_broker, "bridge")
        (dead,) = await waiting_in(rabbit_broker, DEAD_LETTERS)

    assert dead.body == letter.body
    assert worker.counts == {f"refused.{Reason.CALLER_NOT_ALLOWED}": 1}


async def test_what_comes_by_a_hidden_copy_under_a_key_of_another_is_refused(
    rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]
) -> None:
    """The header BCC goes past topic permissions before RabbitMQ 4, and leaves no trace."""
    letter = write(keys["catalog"], REQUEST, reply_to="reply.catalog.x")
    headers = letter.headers | {"BCC": [REQUEST.method]}
    sent = BasicProperties(**(letter.properties | {"headers": headers}))

    def refused_by_broker() -> bool:
        with rabbit_broker.connect("catalog") as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            try:
                channel.basic_publish(RPC_EXCHANGE, ListRevocations.method, letter.body, sent)
            except ChannelClosedByBroker as refusal:
                return bool(refusal.reply_code == ACCESS_REFUSED)
            return False

    async with serving(rabbit_broker, keys["catalog"], {GetProduct: get_product}) as worker:
        if await asyncio.to_thread(refused_by_broker):  # RabbitMQ 4 checks these keys too
            return
        (dead,) = await waiting_in(rabbit_broker, DEAD_LETTERS)
        assert dead.body == letter.body
        await eventually(lambda: sum(worker.counts.values()) > 0)
        assert worker.counts == {f"refused.{Reason.CALLER_NOT_ALLOWED}": 1}


async def test_a_late_request_is_dropped_without_an_answer(scene: Scene) -> None:
    letter = scene.letter(timeout_s=-1)  # within the leeway for clocks: honest, but too late

    await letter.post(scene.broker, "bridge")

    await eventually(lambda: scene.worker.counts == {"late": 1})
    await assert_first_answer_is_the_honest_ones(scene)
    assert await scene.broker.depth(DEAD_LETTERS) == 0
