"""`postroad test-from`: a dead letter becomes a test that fails as its handler did."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ops.commands.dispatch import run_command
from ops.dead_letters.handler_search import find_handler
from ops.services.manifests import manifests
from postroad.asyncapi.examples import EXAMPLES
from postroad.contracts.base import Job
from postroad.contracts.errors import InternalError
from postroad.contracts.registry import CONTRACTS, EVENTS, JOBS
from postroad.dead_letters.captured import CapturedMessage, as_management
from postroad.security.claims import Reason
from postroad.testing import MemoryBroker, calling, eventually, make_keys, send, serving, working
from postroad.topology.definitions import definitions
from postroad.topology.names import dead_queue
from postroad.topology.services import load_services
from tests.integration.test_security import Scene
from tests.support.captures import captured

ROOT = Path(__file__).parents[4]
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJyZWFkZXIifQ.c2lnbmF0dXJlLW9mLWl0"

# a service with a fault in each handler

PACKAGE = "faulty_parcels"
SERVICES = """
[parcels]
answers = true
publishes = ["parcels.parcel.*"]
enqueues = ["parcels.labels.print", "parcels.vans.book"]
works.labels = ["parcels.labels.print", "parcels.vans.book"]

[shop]
calls = ["parcels.*"]
works.news = ["parcels.parcel.*"]
"""
CONTRACTS_TEXT = """
from postroad.contracts.base import Event, Job, Message, Request

class Parcel(Message):
    number: int

class FindParcel(Request[Parcel], method="parcels.parcels.find"):
    number: int
    password: str = ""

class WeighParcel(Request[Parcel], method="parcels.parcels.weigh"):
    number: int

class TrackParcel(Request[Parcel], method="parcels.parcels.track"):
    number: int

class PrintLabel(Job, name="parcels.labels.print"):
    number: int

class BookVan(Job, name="parcels.vans.book"):
    number: int

class ParcelSent(Event, name="parcels.parcel.sent"):
    number: int

class ParcelLost(Event, name="parcels.parcel.lost"):
    number: int
"""
FAULTY = f"""
import asyncio
from {PACKAGE}.contracts import *
from postroad.contracts.errors import UpstreamFailed

class Shelf:
    parcels = {{1: Parcel(number=1)}}

async def find_parcel(request: FindParcel, *, shelf: Shelf) -> Parcel:
    return shelf.parcels[request.number]

async def weigh_parcel(request: WeighParcel) -> Parcel:
    return {{"number": request.number}}

async def track_parcel(request: TrackParcel) -> Parcel:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(5)

def print_label(job: PrintLabel, *, shelf: Shelf) -> None:
    1 / (job.number - 7)

async def book_van(job: BookVan) -> None:
    raise UpstreamFailed("no van")

async def note_sent(event: ParcelSent) -> None:
    int("seven")

async def note_lost(event: ParcelLost) -> None: ...
"""
MENDED = f"""
from {PACKAGE}.contracts import *

class Shelf: ...

async def find_parcel(request: FindParcel, *, shelf: Shelf) -> Parcel:
    return Parcel(number=request.number)

async def weigh_parcel(request: WeighParcel) -> Parcel:
    return Parcel(number=request.number)

async def track_parcel(request: TrackParcel) -> Parcel:
    return Parcel(number=request.number)

def print_label(job: PrintLabel, *, shelf: Shelf) -> None: ...
async def book_van(job: BookVan) -> None: ...
async def note_sent(event: ParcelSent) -> None: ...
async def note_lost(event: ParcelLost) -> None: ...
"""
FAULTS = {  # by handler: its contract, what production's log says, and what the test fails with
    "find_parcel": ("FindParcel", "KeyError: 7", "KeyError: 7"),
    "weigh_parcel": ("WeighParcel", *["TypeError: weigh_parcel returned dict, not Parcel"] * 2),
    "track_parcel": ("TrackParcel", "TimeoutError", "TimeoutError"),
    "print_label": ("PrintLabel", *["ZeroDivisionError: division by zero"] * 2),
    "book_van": ("BookVan", "outcome=upstream_failed", "UpstreamFailed: no van"),
    "note_sent": ("ParcelSent", *["ValueError: invalid literal for int()"] * 2),
    "note_lost": ("ParcelLost", *["number: Field required"] * 2),
}


@dataclass
class Parcels:
    """The service, in a folder of its own, and what it has failed on."""

    folder: Path
    contracts: ModuleType
    handlers: ModuleType
    letters: dict[str, dict[str, Any]]  # by contract

    def write_tests(self) -> None:
        for name, (contract, *_) in FAULTS.items():
            letter = self.folder / f"{name}.json"
            letter.write_text(json.dumps(self.letters[contract]))
            arguments = ["--handler", f"{PACKAGE}.handlers:{name}", "--force"]
            arguments += ["--services", str(self.folder / "services.toml")]
            output = str(self.folder / f"test_{name}.py")
            assert run_command(["test-from", str(letter), "--output", output, *arguments]) == 0

    def run_tests(self) -> str:
        return run_pytest(self.folder, "-o", "asyncio_mode=strict")


def run_pytest(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "."],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}:{ROOT / 'shared'}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


async def fail(contracts: ModuleType, handlers: ModuleType, folder: Path) -> dict[str, Any]:
    """Let each handler fail in its worker; return the dead letters, as the management has them."""
    own = [getattr(contracts, contract) for contract, *_ in FAULTS.values()]
    services = load_services(folder / "services.toml", own)
    broker = MemoryBroker(definitions(services, wait_ttls_ms=(1, 1, 1, 1)))
    keys = make_keys(services)
    does = {contract: getattr(handlers, name) for contract, name in zip(own, FAULTS, strict=True)}
    for contract in (contracts.FindParcel, contracts.PrintLabel):
        does[contract] = partial(does[contract], shelf=handlers.Shelf())
    requests = {each: does[each] for each in own[:3]}
    jobs, events = {each: does[each] for each in own[3:5]}, {each: does[each] for each in own[5:]}
    queues = {
        "rpc.parcels": len(requests),
        "work.parcels.labels": len(jobs),
        "work.shop.news": len(events),
    }
    async with (
        serving(broker, keys["parcels"], requests),
        working(broker, keys["parcels"], "labels", jobs),
        working(broker, keys["shop"], "news", events),
        calling(broker, keys["shop"]) as client,
    ):
        for request in requests:
            with suppress(InternalError):
                await client.call(request(number=7))
        for message in (*jobs, *list(events)[:1]):
            await send(broker, keys["parcels"], message(number=7))
        await send(broker, keys["parcels"], contracts.ParcelLost.model_construct())
        await eventually(
            lambda: all(
                len(broker.messages(dead_queue(queue))) == count for queue, count in queues.items()
            )
        )
    dead = [each for queue in queues for each in broker.messages(dead_queue(queue))]
    named = {getattr(each, "method", None) or each.name: each.__name__ for each in own}
    return {
        named[str(each.properties.type)]: as_management(
            CapturedMessage(each.body, each.properties, "", "", is_whole=True)
        )
        for each in dead
    }


@pytest.fixture(scope="module")
def parcels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parcels]:
    folder = tmp_path_factory.mktemp("parcels")
    (folder / "services.toml").write_text(SERVICES)
    (folder / PACKAGE).mkdir()
    (folder / PACKAGE / "contracts.py").write_text(CONTRACTS_TEXT)
    (folder / PACKAGE / "handlers.py").write_text(FAULTY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        contracts = import_module(f"{PACKAGE}.contracts")
        handlers = import_module(f"{PACKAGE}.handlers")
        letters = asyncio.run(fail(contracts, handlers, folder))
        yield Parcels(folder, contracts, handlers, letters)
    for name in [each for each in sys.modules if each.startswith(PACKAGE)]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def failed(parcels: Parcels) -> str:
    parcels.write_tests()
    return parcels.run_tests()


@pytest.fixture(scope="module")
def mended(parcels: Parcels, failed: str) -> str:
    """Mend the handlers, and the contract that a sender older than it breaks."""
    (parcels.folder / PACKAGE / "handlers.py").write_text(MENDED)
    contracts = CONTRACTS_TEXT.replace('lost"):\n    number: int', 'lost"):\n    number: int = 0')
    (parcels.folder / PACKAGE / "contracts.py").write_text(contracts)
    return parcels.run_tests()


@pytest.mark.parametrize("name", FAULTS)
def test_it_fails_as_its_handler_did(failed: str, name: str) -> None:
    assert f"FAILED test_{name}.py::" in failed, failed
    story = failed.partition(f" test_{name}_handles_dead_letter_")[2].partition("\n____")[0]
    assert f"{FAULTS[name][2]}" in story, story


def test_it_passes_once_the_handler_is_mended(failed: str, mended: str) -> None:
    assert f"{len(FAULTS)} failed in" in failed, failed
    assert f"{len(FAULTS)} passed in" in mended, mended


async def test_its_handlers_failed_like_that_in_their_workers(
    parcels: Parcels, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "services.toml").write_text(SERVICES)

    await fail(parcels.contracts, parcels.handlers, tmp_path)

    log = capsys.readouterr().out
    for _, in_production, _ in FAULTS.values():
        assert in_production in log


# what is written


Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a test of a letter, and read it."""

    def write(letter: dict[str, Any], *arguments: str) -> str:
        file, output = tmp_path / "letter.json", tmp_path / "test_written.py"
        file.write_text(json.dumps(letter))
        arguments = ("test-from", str(file), "--output", str(output), "--force", *arguments)
        assert run_command(arguments) == 0
        return output.read_text()

    return write


def dead(
    name: str = "catalog.products.get",
    queue: str = "rpc.catalog",
    body: object = None,
    reason: str = "rejected",
) -> dict[str, Any]:
    """Return a dead letter without a signature."""
    death = {"queue": queue, "reason": reason, "time": 1767225600}
    return {
        "payload": json.dumps({"product_id": 7} if body is None else body),
        "properties": {
            "type": name,
            "message_id": "0199c1d2-5e02-7d44-b1c9-0f7a6e3d2c18",
            "headers": {"x-death": [death]},
        },
    }


OURS = {
    **{name: f"rpc.{contract.service}" for name, contract in CONTRACTS.items()},
    **{name: "work.auth.audit" for name, each in EVENTS.items() if each.service == "auth"},
    "catalog.sync.requested": "work.catalog.sync",
    **dict.fromkeys(JOBS, "work.catalog.sync"),
}


def test_a_test_of_each_message_of_ours_runs_and_is_formatted(tmp_path: Path) -> None:
    for number, (name, queue) in enumerate(OURS.items()):
        example = EXAMPLES[{**CONTRACTS, **EVENTS, **JOBS}[name]]
        letter = tmp_path / "letter.json"
        letter.write_text(json.dumps(dead(name, queue, example.model_dump(mode="json"))))
        output = str(tmp_path / f"test_{number}.py")
        assert run_command(["test-from", str(letter), "--output", output]) == 0
    for command in ("format --check --diff", "check --ignore ARG002,S101"):
        ruff = [sys.executable, "-m", "ruff", *command.split(), "--config"]
        done = subprocess.run(
            [*ruff, str(ROOT / "pyproject.toml"), str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    for each in manifests():
        (tmp_path / each.folder.name).symlink_to(each.folder)

    said = run_pytest(tmp_path, "-o", "asyncio_mode=auto")

    assert f"1 failed, {len(OURS) - 1} passed in" in said, said
    assert "InvalidRequest: sealed_password: not sealed to a key of ours" in said


def test_a_request_in_a_users_name_has_one_that_is_made_up(written: Written) -> None:
    text = written(dead())

    assert 'access_token(keys["bridge"], keys["auth"].identity, scope="catalog:read")' in text


def test_no_secret_is_written(written: Written, scene: Scene) -> None:
    letter = captured(scene.letter())
    death = {"queue": "rpc.catalog", "reason": "rejected", "time": 1767225600}
    letter["properties"]["headers"]["x-death"] = [death]
    body = {
        "product_id": 7,
        "password": "open sesame",
        "pins": {"secret_pin": 4711},
        "sealed_refresh_token": "c2VhbGVk",
        "note": f"Bearer {TOKEN}",
        TOKEN: True,
        "nested": [{"api_token": ["t0k3n"]}],
    }

    text = written({**letter, "payload": json.dumps(body), "payload_bytes": 1})

    signature = letter["properties"]["headers"]["signature"]
    hidden = ["open sesame", "4711", "c2VhbGVk", TOKEN, "t0k3n", scene.user.text, signature]
    assert not [each for each in hidden if each in text]
    assert '"product_id": 7' in text


@pytest.mark.parametrize("message_id", ['"""\nimport os', "x\ny", "\\", "é" * 99])
def test_what_a_sender_chose_stays_text(written: Written, message_id: str) -> None:
    letter = dead(body={"product_id": 7, 'a"""\n': 'it\'s \\ "x" \u2028 \ud83d\ude00 \ud800'})
    letter["properties"]["message_id"] = message_id

    text = written(letter)

    names: dict[str, Any] = {}
    line = next(each for each in text.splitlines() if each.startswith("BODY"))
    exec(line, names)
    assert names["BODY"] == json.loads(letter["payload"])
    compile(text, "test_written.py", "exec")
    assert "import os" not in text


def test_a_body_that_fills_many_lines_is_still_the_same(written: Written) -> None:
    body = {"product_id": 7, "list": [{"of": ["many words"] * 9, "and": None}] * 3, "x": 1e300}

    text = written(dead(body=body))

    names: dict[str, Any] = {}
    exec(text.partition("\nBODY")[1] + text.partition("\nBODY")[2].partition("\n\n")[0], names)
    assert names["BODY"] == body
    assert max(map(len, text.splitlines())) <= 100


HANDLER_OF_MUCH = """
from typing import Protocol
from postroad.contracts.catalog import GetProduct, Product
from postroad.messaging.client import Client

class Shelf(Protocol): ...
class Counter: ...

def get_product(
    request: GetProduct, *, client: Client, shelf: Shelf, counter: Counter, note: str | None
) -> Product: ...
"""


def test_what_a_handler_is_given_besides_is_a_fixture(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "handler_of_much.py").write_text(HANDLER_OF_MUCH)
    monkeypatch.syspath_prepend(tmp_path)

    text = written(dead(), "--handler", "handler_of_much:get_product")

    assert 'calling(broker, keys["catalog"]) as client,' in text
    assert "partial(get_product, client=client, shelf=shelf, counter=counter, note=note)" in text
    for kind, name, made in (
        ("Shelf", "shelf", 'raise NotImplementedError("return the shelf of get_product")'),
        ("Counter", "counter", "return Counter()"),
        ("object", "note", 'raise NotImplementedError("return the note of get_product")'),
    ):
        assert f"@pytest.fixture\ndef {name}() -> {kind}:\n    {made}\n" in text


# what it does not write


@pytest.mark.parametrize("reason", [*Reason, "maxlen"])
def test_what_no_handler_had_is_no_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    letter = tmp_path / "letter.json"
    letter.write_text(json.dumps(dead(reason=reason)))

    assert run_command(["test-from", str(letter)]) == 1

    said = capsys.readouterr()
    assert not said.out
    assert f"it died of {reason}; 'postroad explain' says why" in said.err


ALIVE = {**dead(), "properties": {"type": "catalog.products.get"}}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (ALIVE, "this is not a dead letter"),
        ([dead(), dead()], "there are 2 messages in it"),
        ({**dead(), "payload": '{"product_id": '}, "its body is not JSON"),
        ({**dead(), "payload": '{"product_id": NaN}'}, "its body is not JSON"),
        ({**dead(), "payload": "[" * 99_999}, "its body is not JSON"),
        (dead("catalog.products.eat"), "no handler here is for catalog.products.eat"),
        (dead(queue="rpc.nobody"), "no handler here is for"),
        (dead(body=json.loads("[" * 250 + "]" * 250)), "nested too deep"),
    ],
)
def test_what_can_be_no_test_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, complaint: str
) -> None:
    letter = tmp_path / "letter.json"
    letter.write_text(json.dumps(content))

    assert run_command(["test-from", str(letter)]) == 1

    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("postroad: ")
    assert complaint in said.err


@pytest.mark.parametrize(
    ("handler", "complaint"),
    [
        ("no_such_module:handle", "no handler no_such_module:handle: No module named"),
        ("json", "no handler json: "),
        ("json:dumps", "json:dumps is not a handler"),
        ("catalog_worker.handlers:get_sync", "is for catalog.syncs.get, and this is catalog.prod"),
    ],
)
def test_a_handler_that_is_none_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], handler: str, complaint: str
) -> None:
    letter = tmp_path / "letter.json"
    letter.write_text(json.dumps(dead()))

    assert run_command(["test-from", str(letter), "--handler", handler]) == 1
    assert complaint in capsys.readouterr().err


def test_a_file_that_is_there_is_replaced_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letter, output = tmp_path / "letter.json", tmp_path / "test_mine.py"
    letter.write_text(json.dumps(dead()))
    output.write_text("mine")
    command = ["test-from", str(letter), "--output", str(output)]

    assert run_command(command) == 1
    assert "is there already (--force)" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert run_command([*command, "--force"]) == 0
    assert "async def test_get_product" in output.read_text()


def test_each_queue_of_a_service_has_its_own_handler() -> None:
    handler = find_handler("catalog", "catalog.pages.fetch", "work.catalog.sync")

    assert issubclass(handler.contract, Job)
    assert handler.function.__name__ == "fetch_page"
    assert list(handler.needs) == ["listing", "syncs"]
