"""The limits that bound what one message can cost."""

from pathlib import Path
from typing import Any, cast

import pytest

from postroad.contracts.auth import CreateSession, Session
from postroad.contracts.errors import InternalError, InvalidRequest, PeerError
from postroad.contracts.registry import CONTRACTS
from postroad.contracts.syncs import FetchPage
from postroad.limits import MESSAGE_MAX_BYTES, REQUEST_MAX_BYTES
from postroad.messaging.publishing import MessagePublisher, NotPublished
from postroad.security import lasting_signatures
from postroad.security.claims import Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.lasting_signatures import EVENT_LIFETIME_S
from postroad.security.signatures import Verifier
from postroad.testing import calling, serving
from postroad.topology.names import dead_queue, rpc_queue
from tests.hostile.border import Land, NotLetIn
from tests.support.brokers import MemoryUnderTest
from tests.support.letters import write
from tests.support.services import SESSION, SIGN_IN
from tests.support.traffic import publishing, waiting_in

ROOT = Path(__file__).parents[2]
DEAD_LETTERS = dead_queue(rpc_queue("auth"))
TOO_LONG = "x" * MESSAGE_MAX_BYTES  # with quotes around it

Keys = dict[str, KeyRing]


async def sign_in_at_length(request: CreateSession) -> Session:
    return SESSION.model_copy(update={"access_token": TOO_LONG})


async def forget_to_answer(request: CreateSession) -> Session:
    return cast(Session, None)


async def answer_what_is_no_text(request: CreateSession) -> Session:
    return SESSION.model_copy(update={"access_token": "\ud800"})


@pytest.mark.parametrize("handler", [sign_in_at_length, forget_to_answer, answer_what_is_no_text])
async def test_what_cannot_be_sent_is_a_bug_that_is_answered(
    memory_broker: MemoryUnderTest, keys: Keys, handler: Any
) -> None:
    async with (
        serving(memory_broker, keys["auth"], {CreateSession: handler}) as worker,
        calling(memory_broker, keys["bridge"]) as client,
    ):
        with pytest.raises(InternalError):
            await client.call(SIGN_IN)

        assert await waiting_in(memory_broker, DEAD_LETTERS)
        assert worker.counts == {"internal": 1}


async def test_a_request_that_is_too_large_is_not_sent(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    async with calling(memory_broker, keys["bridge"]) as client:
        with pytest.raises(InvalidRequest, match="a body of"):
            await client.call(
                SIGN_IN.model_copy(update={"sealed_password": "x" * REQUEST_MAX_BYTES})
            )

    assert await memory_broker.depth(rpc_queue("auth")) == 0


async def test_a_job_that_is_too_large_is_not_sent(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    async with publishing(memory_broker, "catalog") as publisher:
        with pytest.raises(NotPublished, match="a body of"):
            await MessagePublisher(publisher, keys["catalog"]).publish(
                "job",
                FetchPage.name,
                TOO_LONG.encode() + b" ",
                message_id="m",
                correlation_id="c",
            )


@pytest.mark.parametrize(
    ("typ", "most"),
    [("request", REQUEST_MAX_BYTES), ("reply", MESSAGE_MAX_BYTES), ("event", MESSAGE_MAX_BYTES)],
    ids=["request", "reply", "event"],
)
def test_a_body_that_is_too_large_is_not_even_verified(keys: Keys, typ: str, most: int) -> None:
    signature = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.x").headers["signature"]

    with pytest.raises(Refused) as refusal:
        Verifier(keys["auth"]).verify(signature, b" " * (most + 1), typ=typ)

    assert refusal.value.reason is Reason.MALFORMED
    assert refusal.value.detail == "the body is too long"


def test_every_contract_s_largest_request_is_less_than_half_of_the_limit() -> None:
    for contract in CONTRACTS.values():
        assert largest(contract.model_json_schema()) < REQUEST_MAX_BYTES / 2


def largest(schema: dict[str, Any]) -> int:
    """Count the bytes of the largest JSON that a flat schema allows, each character escaped."""
    match schema:
        case {"anyOf": choices}:
            return max(map(largest, choices))
        case {"type": "object", "properties": fields}:
            return sum(2 * len(name) + 5 + largest(field) for name, field in fields.items())
        case {"type": "string", "maxLength": most, **more}:
            is_plain = more.get("pattern") == "^[A-Za-z0-9_-]+$"
            return 2 + int(most) * (1 if is_plain else 6)  # \\u0000
        case {"enum": values}:
            return 2 + max(len(str(value)) for value in values)
        case {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}:
            return 2 + 64
        case {"type": "integer" | "number" | "boolean" | "null" | "object"}:  # an empty one
            return 25
    pytest.fail(f"nothing bounds {schema}")


async def test_a_reply_that_breaks_its_contract_is_its_services_fault(
    memory_broker: MemoryUnderTest, keys: Keys
) -> None:
    async def answer_something_else(request: CreateSession) -> Session:
        return cast(Session, cast(Any, Session).model_construct())  # which checks nothing

    async with (
        serving(memory_broker, keys["auth"], {CreateSession: answer_something_else}),
        calling(memory_broker, keys["bridge"]) as client,
    ):
        with pytest.raises(PeerError, match="breaks its contract"):
            await client.call(SIGN_IN)


@pytest.mark.parametrize("kind", ["event", "job", "redrive"])
def test_work_that_would_outlive_the_memory_of_inboxes_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    land = Land()
    monkeypatch.setattr(lasting_signatures, "EVENT_LIFETIME_S", EVENT_LIFETIME_S + 86_460)
    crossing = land.crossings[kind]()

    with pytest.raises(NotLetIn, match=Reason.DEADLINE_TOO_FAR):
        crossing.border(crossing.honest)


@pytest.mark.parametrize("kind", ["event", "job", "redrive"])
def test_work_is_taken_by_a_reader_whose_clock_is_behind(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    land = Land()
    monkeypatch.setattr(lasting_signatures, "EVENT_LIFETIME_S", EVENT_LIFETIME_S + 90)
    crossing = land.crossings[kind]()

    crossing.border(crossing.honest)


@pytest.mark.parametrize("token", [7, b"token", ["token"], {}, True])
def test_a_token_that_is_no_text_is_refused_though_none_was_signed(token: object) -> None:
    crossing = Land().crossings["request without a user"]()

    with pytest.raises(NotLetIn, match=Reason.TOKEN_MISMATCH):
        crossing.border(crossing.honest.with_header("authorization", token))


@pytest.mark.parametrize("kind", ["request", "event"])
def test_a_signature_is_good_in_one_spelling_only(kind: str) -> None:
    crossing = Land().crossings[kind]()
    honest = crossing.honest.signature

    for respelt in (f"{honest}=", f"{honest}==", f"{honest}\n", _with_spare_bits(honest)):
        with pytest.raises(NotLetIn, match=Reason.BAD_SIGNATURE):
            crossing.border(crossing.honest.with_header("signature", respelt))


def _with_spare_bits(signature: str) -> str:
    """Set a bit that base64 has over at the end, which says nothing."""
    return signature[:-1] + chr(ord(signature[-1]) + 1)


@pytest.mark.parametrize("file", ["rabbitmq/rabbitmq.conf", "deploy/kubernetes/broker.yaml"])
def test_brokers_take_as_much_as_services_do(file: str) -> None:
    lines = (line.strip() for line in (ROOT / file).read_text().splitlines())

    assert f"max_message_size = {MESSAGE_MAX_BYTES}" in lines
