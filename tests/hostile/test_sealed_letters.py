"""What was sealed for a service alone is in no dead letter, where others may look."""

from typing import Any

import pytest

from postroad.broker.dead_lettering import KEPT
from postroad.contracts.auth import CreateSession, Session
from postroad.dead_letters.captured import copy_of_letter
from postroad.security.keyring import KeyRing
from postroad.testing import serving
from postroad.topology.names import dead_queue, rpc_queue
from tests.support.brokers import BrokerUnderTest
from tests.support.letters import write
from tests.support.traffic import waiting_in

SIGN_IN = CreateSession(username="reader", sealed_password="c2VhbGVk")


async def break_down(request: CreateSession) -> Session:
    raise RuntimeError


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({}, "rejected"), ({"user_id": None}, "sender_mismatch"), ({"headers": {}}, "unsigned")],
)
async def test_a_sealed_password_is_not_in_a_dead_letter(
    broker: BrokerUnderTest, keys: dict[str, KeyRing], changes: dict[str, Any], reason: str
) -> None:
    letter = write(keys["bridge"], SIGN_IN, reply_to="reply.bridge.x")
    letter.properties |= changes
    async with serving(broker, keys["auth"], {CreateSession: break_down}):
        await letter.post(broker, "bridge")
        (dead,) = await waiting_in(broker, dead_queue(rpc_queue("auth")))

    assert KEPT in dead.headers
    assert b"c2VhbGVk" not in dead.body
    assert b'"username":"reader"' in dead.body
    was = copy_of_letter(dead.body, dead.properties)
    assert was is not None
    assert (was.is_whole, was.died_of) == (False, reason)
