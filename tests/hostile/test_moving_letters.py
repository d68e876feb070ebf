"""Dead letters with headers of whatever type a sender chose: the operator can move each."""

from time import time
from typing import Any, cast

import pytest
from pika import BasicProperties

from ops.moving.parcels import pack
from postroad.broker.interfaces import Delivery, OnOutcome, Outcome, Publisher
from postroad.dead_letters.captured import CapturedMessage
from postroad.dead_letters.redriver import Redriver
from postroad.security.claims import Claims
from postroad.security.keyring import KeyRing
from postroad.topology.names import dead_queue
from tests.hostile.tables import RawHeaders, byte_array, decimal, double, nested, table, text

QUEUE = "work.catalog.sync"
CLAIMS = Claims(
    alg="EdDSA", b64=False, crit=["b64"], kid="k", typ="job", iss="catalog", aud="catalog",
    op="catalog.pages.fetch", iat=time(), exp=time(), jti="m", cid="c",
)  # fmt: skip
FIELDS = {
    "a number that pika cannot write": (b"h", double(1e308)),
    "one in a table": (b"h", table((b"n", double(-1e308)))),
    "a name that is no text": (b"\xff", text("x")),
    "a long one": (b"\xff" * 255, b"V"),
    "one in a table that is no text": (b"h", table((b"\xff" * 255, byte_array(b"\xff")))),
    "a decimal": (b"h", decimal(255, 2**31 - 1)),
    "tables in tables": (b"h", nested(100)),
}


class Encoder:
    """Takes messages as a publisher does, and writes them as they go on the wire."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def publish(
        self, _exchange: str, _key: str, _body: bytes, properties: Any, on_outcome: OnOutcome
    ) -> None:
        self.written.append(b"".join(properties.encode()))
        on_outcome(Outcome.CONFIRMED)


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
async def test_a_letter_with_any_headers_can_be_moved(
    keys: dict[str, KeyRing], field: tuple[bytes, bytes]
) -> None:
    properties = BasicProperties()
    properties.decode(b"".join(RawHeaders([field]).encode()))
    letter = CapturedMessage(b"{}", properties, "", "", is_whole=True)
    encoder = Encoder()
    redriver = Redriver(cast(Publisher, encoder), keys["catalog"])

    await redriver.quarantine(letter, QUEUE)
    await redriver.redrive(letter, CLAIMS, QUEUE, "catalog")

    for queue in (QUEUE, dead_queue(QUEUE)):  # to another broker
        _, packed = pack(queue, Delivery(b"{}", properties))
        encoder.publish("", queue, b"{}", packed, lambda _: None)

    assert len(encoder.written) == 4
