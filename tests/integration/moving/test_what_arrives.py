"""One move of everything that may wait at a broker: what is at the new one afterwards."""

from dataclasses import dataclass
from time import time

import pytest
from pika import BasicProperties

from ops.dead_letters.letter import DeadLetter
from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.syncs import FetchPage
from postroad.messaging.background_worker import ATTEMPT, BackgroundWorker
from postroad.testing import eventually
from postroad.topology.names import WORK_EXCHANGE, dead_queue
from tests.integration.dead_letters.running import ASKED, AUDIT, DEAD_SYNC, JOB, SYNC
from tests.integration.moving.brokers import Moving
from tests.integration.moving.messages import give_out, letters, put_aside, signature

pytestmark = pytest.mark.integration

JOBS = 300
WAITS_S = 10.0  # the second of the waits: before the third attempt
COPIED = "copied"


@dataclass(frozen=True)
class Moved:
    """What there was, and what is there."""

    signed: dict[str, str]
    dead: dict[str, DeadLetter]
    took_s: float  # from the put aside on
    jobs: list[tuple[BasicProperties, bytes]]
    letters: list[DeadLetter]
    requests: list[tuple[BasicProperties, bytes]]
    left: dict[str, int]
    audit: int


@pytest.fixture(scope="module")
def moved(brokers: Moving) -> Moved:
    brokers.begin()
    old = brokers.old
    old.bury(2)
    old.bury(1, signed_at=1.0)
    old.bury_request()
    dead = {each.message_id: each for each in letters(brokers, brokers.old_url)}
    signed = give_out(brokers, *(f"job{number}" for number in range(JOBS)))
    send_with_a_carbon_copy(brokers)
    began = time()
    put_aside(brokers, "late", attempt=3)
    brokers.switch()
    assert brokers.command("carry") == 0
    return Moved(
        signed,
        dead,
        time() - began,
        brokers.look_at_new(SYNC),
        letters(brokers, brokers.new_url),
        brokers.look_at_new(dead_queue(ASKED)),
        {queue: old.depth(queue) for queue in brokers.queues},
        brokers.depth_at_new(AUDIT),
    )


def send_with_a_carbon_copy(brokers: Moving) -> None:
    with brokers.old.connect() as connection:  # as one who may, on any version
        channel = connection.channel()
        channel.confirm_delivery()
        headers = {"signature": signature(brokers, COPIED), "CC": [f"0.{AUDIT}"]}
        properties = BasicProperties(headers=headers, message_id=COPIED, type=FetchPage.name)
        channel.basic_publish(WORK_EXCHANGE, FetchPage.name, JOB, properties, mandatory=True)


def test_jobs_arrive_as_they_were(moved: Moved) -> None:
    arrived = {properties.message_id: properties for properties, _ in moved.jobs}

    assert len(moved.jobs) == JOBS + 1
    assert {name: arrived[name].headers["signature"] for name in moved.signed} == moved.signed
    assert {(each.user_id, each.type, body) for each, body in moved.jobs} == {
        ("catalog", FetchPage.name, JOB)
    }


def test_nothing_is_left_at_the_old_broker(moved: Moved) -> None:
    assert {queue: count for queue, count in moved.left.items() if count} == {}


def test_what_waits_for_its_next_attempt_is_carried_when_it_is_due(moved: Moved) -> None:
    arrived = {properties.message_id: properties for properties, _ in moved.jobs}

    assert moved.took_s >= WAITS_S
    assert arrived["late"].headers[ATTEMPT] == 3


def test_dead_letters_keep_why_when_and_of_whom_they_died(moved: Moved) -> None:
    arrived = [each for each in moved.letters if each.message_id != COPIED]

    assert sorted(letter.reason for letter in arrived) == ["expired", "failed", "failed"]
    for letter in arrived:
        before = moved.dead[letter.message_id]
        assert (letter.reason, letter.died_at, letter.caller, letter.name) == (
            before.reason,
            before.died_at,
            before.caller,
            before.name,
        )


def test_a_carbon_copy_is_refused_and_copied_nowhere(moved: Moved) -> None:
    [letter] = [each for each in moved.letters if each.message_id == COPIED]

    assert (letter.queue, letter.message.died_of) == (DEAD_SYNC, "carbon_copy")
    assert letter.message.headers["CC"] == [f"0.{AUDIT}"]
    assert moved.audit == 0


def test_what_a_reader_of_requests_has_kept_arrives_as_it_was(moved: Moved) -> None:
    [(properties, _)] = moved.requests

    assert (properties.message_id, properties.user_id) == ("asked", "auth")


@pytest.mark.usefixtures("moved")
async def test_a_worker_does_what_has_arrived(brokers: Moving) -> None:
    broker = RabbitBroker(brokers.settings_of("catalog"), "catalog")
    publisher = broker.publisher()
    await publisher.start()
    done: list[FetchPage] = []
    worker = BackgroundWorker(
        "sync",
        {FetchPage: done.append},
        broker=broker,
        publisher=publisher,
        keys=brokers.old.keys("catalog"),
    )

    await worker.start()
    await eventually(lambda: len(done) == JOBS + 1)
    await worker.drain(2.0)
    await publisher.close()

    assert worker.counts == {"ok": JOBS + 1, "done": JOBS + 1}
