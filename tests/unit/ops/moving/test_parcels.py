"""How messages are packed for another broker."""

from datetime import UTC, datetime
from time import time
from typing import Any

import pytest
from pika import BasicProperties

from ops.moving.parcels import pack
from postroad.broker.dead_lettering import KEPT
from postroad.broker.interfaces import Delivery
from postroad.dead_letters.captured import copy_of_letter

WORK, DEAD = "work.catalog.sync", "dead.work.catalog.sync"
DEATH = {
    "queue": WORK,
    "reason": "delivery_limit",
    "time": datetime(2026, 11, 29, tzinfo=UTC),
    "routing-keys": ["catalog.pages.fetch"],
    "count": 1,
}


def packed(queue: str, headers: dict[str, Any], **others: Any) -> tuple[str, BasicProperties]:
    given = {"message_id": "m", "user_id": "catalog", "type": "catalog.pages.fetch", **others}
    return pack(queue, Delivery(b"{}", BasicProperties(headers=headers, **given)))


def test_work_goes_as_its_sender_sent_it() -> None:
    had = {"signature": "s", "attempt": 3, "traceparent": "t"}

    queue, properties = packed(
        WORK, {**had, "x-death": [DEATH], "x-delivery-count": 4}, expiration="600", priority=2
    )

    assert queue == WORK
    assert properties.headers == had
    assert (properties.user_id, properties.message_id) == ("catalog", "m")
    assert (properties.expiration, properties.priority) == ("600", 2)


def test_packing_leaves_the_delivery_as_it_is() -> None:
    delivery = Delivery(b"{}", BasicProperties(headers={"x-death": [DEATH]}))

    pack(WORK, delivery)

    assert delivery.properties.headers == {"x-death": [DEATH]}


def test_a_dead_letter_keeps_where_when_and_why_it_died() -> None:
    queue, properties = packed(DEAD, {"signature": "s", "x-death": [DEATH]})

    assert queue == DEAD
    letter = copy_of_letter(b"{}", properties)
    assert letter
    assert (letter.died_where, letter.died_of) == (WORK, "delivery_limit")
    assert letter.rejected_at == datetime(2026, 11, 29, tzinfo=UTC).timestamp()
    assert letter.headers["signature"] == "s"
    assert letter.properties.user_id == "catalog"


def test_the_keys_of_a_carbon_copy_are_kept_with_its_dead_letter() -> None:
    copied = DEATH | {"routing-keys": ["catalog.pages.fetch", "0.work.auth.audit"]}

    _, properties = packed(DEAD, {"x-death": [copied]})

    letter = copy_of_letter(b"{}", properties)
    assert letter
    assert letter.headers["CC"] == ["0.work.auth.audit"]
    assert "CC" not in properties.headers


def test_a_copy_that_its_reader_has_kept_goes_as_it_is() -> None:
    kept = {"queue": "rpc.auth", "reason": "unsigned", "since": 1, "headers": {}}

    queue, properties = packed("dead.rpc.auth", {KEPT: kept}, user_id="auth")

    assert (queue, properties.headers, properties.user_id) == (
        "dead.rpc.auth",
        {KEPT: kept},
        "auth",
    )


def test_a_sender_cannot_say_why_its_message_died() -> None:
    forged = {"queue": WORK, "reason": "expired", "since": 1, "headers": {"signature": "forged"}}

    _, properties = packed(DEAD, {KEPT: forged, "signature": "s", "x-death": [DEATH]})

    letter = copy_of_letter(b"{}", properties)
    assert letter
    assert (letter.died_of, letter.headers["signature"]) == ("delivery_limit", "s")


def test_a_message_with_a_carbon_copy_is_refused_and_sends_none_out() -> None:
    for name in ("CC", "BCC"):
        queue, properties = packed(WORK, {"signature": "s", name: ["0.work.auth.audit"]})

        assert queue == DEAD
        assert properties.headers.keys() == {KEPT}
        letter = copy_of_letter(b"{}", properties)
        assert letter
        assert letter.died_of == "carbon_copy"
        assert letter.rejected_at == pytest.approx(time(), abs=5)
