"""`postroad move-broker` on two real brokers; the old one is always the machine's own."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from ops.moving.overlays import OPEN, SHUT
from ops.moving.parcels import pack
from ops.moving.survey import login_at
from ops.services.operator import OPERATOR
from postroad.broker.interfaces import BasicProperties as Properties
from postroad.broker.interfaces import NotOpen, OnOutcome, Outcome
from postroad.broker.moving.carrier import Carrier
from postroad.broker.rabbitmq import RabbitBroker
from postroad.testing import eventually
from tests.integration.dead_letters.running import SYNC
from tests.integration.moving.brokers import Captured, Moving
from tests.integration.moving.messages import give_out

pytestmark = pytest.mark.integration


def test_a_program_that_knows_both_goes_over_by_itself(moving: Moving) -> None:
    async def goes_over() -> None:
        broker = RabbitBroker(moving.settings_of("auth"), "auth")
        publisher = broker.publisher()
        await publisher.start()
        try:
            assert await publisher.opened(10)
            assert moving.connections("auth") == 0
            await asyncio.to_thread(moving.switch)
            await eventually(lambda: broker.traffic.opened["publisher"] == 2, timeout_s=10)
            await eventually(lambda: moving.connections("auth") == 1)
        finally:
            await publisher.close()

    asyncio.run(goes_over())


def test_nothing_is_carried_while_the_old_broker_is_in_use(
    moving: Moving, capsys: Captured
) -> None:
    give_out(moving, "a")

    assert moving.command("carry") == 1

    assert "the old broker still lets services in: import move-shut.json" in capsys.readouterr().err
    assert (moving.old.depth(SYNC), moving.depth_at_new(SYNC)) == (1, 0)


def test_a_consumer_that_was_left_is_in_the_way(moving: Moving, capsys: Captured) -> None:
    with moving.old.connect("catalog") as connection:
        connection.channel().basic_consume(SYNC, lambda *_: None)
        moving.tell_old(SHUT)
        moving.tell_new(OPEN)

        assert moving.command("carry") == 1

    assert f"{SYNC} has 1 consumers at the old broker" in capsys.readouterr().err


def test_the_check_says_what_would_be_moved(moving: Moving, capsys: Captured) -> None:
    give_out(moving, "a", "b")

    assert moving.command("check") == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("open: lets every service in")
    assert lines[1].endswith("shut: lets no service in")
    assert [SYNC, "2", "0", "0,", "0"] in [line.split() for line in lines]
    assert lines[-1] == "nothing is in the way"


def test_the_check_names_a_right_that_the_new_broker_does_not_have(
    moving: Moving, capsys: Captured
) -> None:
    exported = json.loads(moving.overlay(SHUT).read_bytes())
    exported["topic_permissions"].pop()
    file = moving.overlay("exported.json")
    file.write_text(json.dumps(exported))

    assert moving.command("check", "--exported", str(file)) == 1

    assert "in the way: the new broker: the topic permission of" in capsys.readouterr().out


def test_a_wrong_url_is_named_without_a_traceback(moving: Moving, capsys: Captured) -> None:
    moving.new_url = "amqp://guest:secret@127.0.0.1/postroad"

    assert moving.command("check") == 1

    assert capsys.readouterr().err == (
        "postroad: operator cannot use amqp://127.0.0.1/postroad: must not have a user or a "
        "password: the user is the service's name\n"
    )


class Unwilling:
    """A publisher that loses some messages before it confirms them all."""

    def __init__(self, losses: Iterator[Outcome | None]) -> None:
        self._losses = losses
        self.taken: list[str] = []

    def publish(
        self, _: str, queue: str, _body: bytes, properties: Properties, on_outcome: OnOutcome
    ) -> None:
        outcome = next(self._losses, Outcome.CONFIRMED)
        if outcome is None:
            raise NotOpen
        if outcome is Outcome.CONFIRMED:
            self.taken.append(str(properties.message_id))
        on_outcome(outcome)


async def test_what_is_not_confirmed_stays_and_is_carried_again(moving: Moving) -> None:
    ids = [f"m{number}" for number in range(5)]
    await asyncio.to_thread(give_out, moving, *ids)
    publisher = Unwilling(iter([Outcome.LOST, Outcome.REFUSED, Outcome.RETURNED, None]))
    login = login_at(moving.old.state, moving.old_url, OPERATOR)
    carrier = Carrier(login, [SYNC], publisher=publisher, pack=pack)  # type: ignore[arg-type]

    await carrier.start()
    await eventually(lambda: carrier.refused[SYNC] == 4)
    await eventually(lambda: carrier.carried[SYNC] == 5)
    await eventually(lambda: carrier.in_hand == 0)
    await carrier.close()

    assert sorted(publisher.taken) == ids
    assert await asyncio.to_thread(moving.old.depth, SYNC) == 0


async def test_a_carrier_that_ends_early_leaves_the_rest(moving: Moving) -> None:
    ids = [f"m{number}" for number in range(5)]
    await asyncio.to_thread(give_out, moving, *ids)
    publisher = Unwilling(iter([Outcome.CONFIRMED, *[Outcome.REFUSED] * 1_000]))
    login = login_at(moving.old.state, moving.old_url, OPERATOR)
    carrier = Carrier(login, [SYNC], publisher=publisher, pack=pack)  # type: ignore[arg-type]

    await carrier.start()
    await eventually(lambda: carrier.refused[SYNC] >= 4)
    await carrier.close()

    await eventually(lambda: moving.old.depth(SYNC) == 4)
    left = {properties.message_id for properties, _ in moving.old.take_all(SYNC)}
    assert left | set(publisher.taken) == set(ids)
