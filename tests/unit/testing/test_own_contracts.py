"""``postroad.testing`` with contracts of one's own package, and what it says of mistakes."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from postroad.contracts.base import Event, Job, Message, Request
from postroad.contracts.errors import InternalError, NotAuthorised, UpstreamFailed
from postroad.dead_letters.captured import CapturedMessage
from postroad.dead_letters.redriver import Redriver
from postroad.ids import new_id
from postroad.messaging.publishing import Kind, MessagePublisher, NotPublished
from postroad.security.keyring import KeyRing
from postroad.security.signatures import read_signature
from postroad.testing import MemoryBroker, calling, eventually, make_keys, serving, working
from postroad.topology.definitions import definitions
from postroad.topology.names import dead_queue, work_queue
from postroad.topology.services import Services, ServicesFileError, load_services
from tests.support.traffic import publishing


class Parcel(Message):
    number: int


class FindParcel(Request[Parcel], method="parcels.parcels.find"):
    number: int


class ParcelSent(Event, name="parcels.parcel.sent"):
    number: int


class PrintLabel(Job, name="parcels.label.print"):
    number: int


OWN = (FindParcel, ParcelSent, PrintLabel)
SERVICES = """
[parcels]
answers = true
publishes = ["parcels.parcel.*"]
enqueues = ["parcels.label.print"]
works.labels = ["parcels.label.print"]

[shop]
calls = ["parcels.*"]
listens = ["parcels.parcel.sent"]
works.news = ["parcels.parcel.*"]

[operator]
redrives = true
"""


@pytest.fixture
def shop_services(tmp_path: Path) -> Services:
    file = tmp_path / "services.toml"
    file.write_text(SERVICES)
    return load_services(file, OWN)


@pytest.fixture
def shop_keys(shop_services: Services) -> dict[str, KeyRing]:
    return make_keys(shop_services)


@pytest.fixture
def shop_broker(shop_services: Services) -> MemoryBroker:
    return MemoryBroker(definitions(shop_services))


async def send(broker: MemoryBroker, keys: KeyRing, kind: Kind, message: Event | Job) -> None:
    publisher = broker.as_user(keys.service).publisher()
    await publisher.start()
    await publisher.opened(1.0)
    try:
        await MessagePublisher(publisher, keys).publish(
            *(kind, message.name, message.as_json), message_id=new_id(), correlation_id=new_id()
        )
    finally:
        await publisher.close()


async def find_parcel(request: FindParcel) -> Parcel:
    return Parcel(number=request.number)


async def test_a_request_of_ones_own_is_answered(
    shop_broker: MemoryBroker, shop_keys: dict[str, KeyRing]
) -> None:
    async with (
        serving(shop_broker, shop_keys["parcels"], {FindParcel: find_parcel}),
        calling(shop_broker, shop_keys["shop"]) as client,
    ):
        assert await client.call(FindParcel(number=7)) == Parcel(number=7)


async def test_an_event_of_ones_own_is_worked_off(
    shop_broker: MemoryBroker, shop_keys: dict[str, KeyRing]
) -> None:
    done: list[ParcelSent] = []

    async with working(shop_broker, shop_keys["shop"], "news", {ParcelSent: done.append}):
        await send(shop_broker, shop_keys["parcels"], "event", ParcelSent(number=7))
        await eventually(lambda: done)

    assert done == [ParcelSent(number=7)]


async def test_a_job_of_ones_own_is_worked_off(
    shop_broker: MemoryBroker, shop_keys: dict[str, KeyRing]
) -> None:
    done: list[PrintLabel] = []

    async with working(shop_broker, shop_keys["parcels"], "labels", {PrintLabel: done.append}):
        await send(shop_broker, shop_keys["parcels"], "job", PrintLabel(number=7))
        await eventually(lambda: done)

    assert done == [PrintLabel(number=7)]


async def test_a_job_of_ones_own_is_put_back_to_work(
    shop_services: Services, shop_keys: dict[str, KeyRing]
) -> None:
    def give_up(_: PrintLabel) -> None:
        raise UpstreamFailed

    broker = MemoryBroker(definitions(shop_services, wait_ttls_ms=(1, 1, 1, 1)))
    queue = work_queue("parcels", "labels")
    async with working(broker, shop_keys["parcels"], "labels", {PrintLabel: give_up}):
        await send(broker, shop_keys["parcels"], "job", PrintLabel(number=7))
        await eventually(lambda: broker.messages(dead_queue(queue)))
    (dead,) = broker.messages(dead_queue(queue))
    letter = CapturedMessage(dead.body, dead.properties, "", "", is_whole=True)
    claims = read_signature(letter.headers["signature"]).claims
    done: list[PrintLabel] = []

    async with (
        working(broker, shop_keys["parcels"], "labels", {PrintLabel: done.append}),
        publishing(broker, "operator") as publisher,
    ):
        await Redriver(publisher, shop_keys["operator"]).redrive(letter, claims, queue, "parcels")
        await eventually(lambda: done)

    assert done == [PrintLabel(number=7)]


def test_a_queue_of_what_no_contract_is_named_is_refused() -> None:
    services = Services.read(SERVICES)

    with pytest.raises(ServicesFileError, match=r"work\.parcels\.labels: there is no event or job"):
        definitions(services)


def test_a_right_to_what_no_contract_is_named_is_refused() -> None:
    with pytest.raises(ServicesFileError, match="publishes = 'parcels"):
        Services.parse(SERVICES, [FindParcel, PrintLabel])


def test_a_contract_of_ones_own_does_not_take_a_name_that_is_taken() -> None:
    class Impostor(Event, name="auth.user.logged_in"):
        """Has the name of another event below."""

    class Twin(Job, name="auth.user.logged_in"):
        """Has the same."""

    with pytest.raises(TypeError, match=r"Twin: 'auth\.user\.logged_in' is Impostor already"):
        Services.parse("", [Impostor, Twin])


async def test_one_that_may_not_answer_hears_which_right_it_lacks(
    shop_broker: MemoryBroker, shop_keys: dict[str, KeyRing]
) -> None:
    with pytest.raises(NotAuthorised, match=r"^shop lacks .*service\.toml: answers = true$"):
        async with serving(shop_broker, shop_keys["shop"], {}):
            pass


async def test_one_that_may_not_call_hears_which_right_it_lacks(
    shop_broker: MemoryBroker, shop_keys: dict[str, KeyRing]
) -> None:
    with pytest.raises(NotAuthorised, match=r"^parcels lacks .*service\.toml: calls$"):
        async with calling(shop_broker, shop_keys["parcels"]):
            pass


@pytest.mark.parametrize(
    ("queue", "right"),
    [("returns", "works.returns"), ("news", "works.news with 'parcels.label.print'")],
)
async def test_one_that_may_not_work_off_hears_which_right_it_lacks(
    shop_broker: MemoryBroker, shop_keys: dict[str, KeyRing], queue: str, right: str
) -> None:
    with pytest.raises(NotAuthorised, match=f"^shop lacks .*: {right}$"):
        async with working(shop_broker, shop_keys["shop"], queue, {PrintLabel: print}):
            pass


async def test_what_one_may_not_publish_is_named_in_the_log(
    shop_broker: MemoryBroker,
    shop_keys: dict[str, KeyRing],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(NotPublished):
        await send(shop_broker, shop_keys["shop"], "event", ParcelSent(number=7))

    assert "403 shop may not write events" in capsys.readouterr().out


async def test_a_handler_for_another_service_is_refused(
    shop_broker: MemoryBroker, shop_keys: dict[str, KeyRing]
) -> None:
    with pytest.raises(ValueError, match=r"parcels\.parcels\.find is for parcels, not shop"):
        async with serving(shop_broker, shop_keys["shop"], {FindParcel: find_parcel}):
            pass


async def answers_a_dict(_request: FindParcel, **_bound: object) -> dict[str, int]:
    return {"number": 7}


def answers_nothing(_request: FindParcel) -> None: ...


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (answers_a_dict, "answers_a_dict returned dict, not Parcel"),
        (partial(answers_a_dict, bound=1), "answers_a_dict returned dict, not Parcel"),
        (answers_nothing, "answers_nothing returned NoneType, not Parcel"),
    ],
)
async def test_a_handler_that_returns_no_reply_is_named(
    shop_broker: MemoryBroker,
    shop_keys: dict[str, KeyRing],
    capsys: pytest.CaptureFixture[str],
    handler: Callable[..., Awaitable[Message]],
    said: str,
) -> None:
    async with (
        serving(shop_broker, shop_keys["parcels"], {FindParcel: handler}),
        calling(shop_broker, shop_keys["shop"]) as client,
    ):
        with pytest.raises(InternalError):
            await client.call(FindParcel(number=7))

    assert said in capsys.readouterr().out
