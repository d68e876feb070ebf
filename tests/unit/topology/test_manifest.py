"""What a service says of itself, and what follows from it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postroad.contracts import registry
from postroad.contracts.catalog import ListProducts
from postroad.topology.definitions import definitions
from postroad.topology.manifest import Manifest, find_manifests, find_services, services_of
from postroad.topology.services import ServicesFileError
from tests.conftest import ROOT

Write = Callable[..., Path]

PARCELS = """
name = "parcels"
contracts = ["parcels_worker.contracts"]

[rights]
answers = true
works = {labels = ["parcels.labels.print"]}

[programs.parcels_worker]
module = "parcels_worker"
scaling = {queue = "rpc.parcels", messages_per_process = 12}

[[http]]
method = "GET"
path = "/parcels/{number}"
contract = "parcels.parcels.find"
"""
CONTRACTS = """
from postroad.contracts.base import Event, Job, Message, Request

class Parcel(Message):
    number: int

class FindParcel(Request[Parcel], method="parcels.parcels.find"):
    number: int

class PrintLabel(Job, name="parcels.labels.print"):
    number: int

class ParcelEvent(Event, abstract=True):
    number: int

class ParcelSent(ParcelEvent, name="parcels.parcel.sent"): ...
"""
BRIDGE = 'name = "bridge"\n[rights]\noffers_http = true\n[programs.http_bridge]\nmodule = "b"\n'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write packages into an application of the test's own; what they register is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    for kind in ("CONTRACTS", "EVENTS", "JOBS"):
        monkeypatch.setattr(registry, kind, dict(getattr(registry, kind)))
    monkeypatch.setattr("postroad.topology.manifest.CONTRACTS", registry.CONTRACTS)
    monkeypatch.setattr("postroad.topology.services.CONTRACTS", registry.CONTRACTS)
    monkeypatch.setattr("postroad.topology.services.EVENTS", registry.EVENTS)
    monkeypatch.setattr("postroad.topology.services.JOBS", registry.JOBS)

    def write(package: str, text: str, contracts: str = "") -> Path:
        folder = tmp_path / package
        folder.mkdir(exist_ok=True)
        (folder / "service.toml").write_text(text)
        (folder / "__init__.py").touch()
        if contracts:
            (folder / "contracts.py").write_text(contracts)
        for name in [each for each in sys.modules if each.startswith(package)]:
            monkeypatch.delitem(sys.modules, name)
        return tmp_path

    return write


def test_a_package_with_the_file_is_a_service(write: Write) -> None:
    write("http_bridge_", BRIDGE)
    root = write("parcels_worker", PARCELS, CONTRACTS)

    parcels, bridge = find_manifests(root)

    assert (parcels.name, bridge.name) == ("parcels", "bridge")  # who offers HTTP is last
    assert parcels.folder == root / "parcels_worker"
    assert registry.CONTRACTS["parcels.parcels.find"].__name__ == "FindParcel"
    assert registry.JOBS["parcels.labels.print"].__name__ == "PrintLabel"
    assert registry.EVENTS["parcels.parcel.sent"].__name__ == "ParcelSent"


def test_who_offers_http_may_call_what_routes_pass_on_and_watch_all_work(write: Write) -> None:
    write("http_bridge_", BRIDGE)
    root = write("parcels_worker", PARCELS, CONTRACTS)

    bridge = find_services(root).root["bridge"]

    assert "parcels.parcels.find" in bridge.calls
    assert bridge.watches == ("work.parcels.labels",)
    assert "catalog.products.list" not in bridge.calls


def test_reading_an_application_again_changes_nothing(write: Write) -> None:
    root = write("parcels_worker", PARCELS, CONTRACTS)

    assert definitions(find_services(root)) == definitions(find_services(root))


def test_our_bridge_may_call_exactly_what_it_needs() -> None:
    calls = find_services(ROOT).root["bridge"].calls

    assert {"catalog.products.list", "auth.profiles.get", "catalog.syncs.probe"} <= set(calls)
    assert [each for each in calls if each.endswith("*")] == ["auth.passwords.*", "auth.sessions.*"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("name =", "nmae ="), "nmae: Extra inputs"),
        (('name = "parcels"', 'name = "Parcels"'), "'Parcels' is not a valid name"),
        (('"rpc.parcels"', '"rpc.catalog"'), "no queue rpc.catalog; it has rpc.parcels, work"),
        (("_process = 12", "_process = 0"), "process: Input should be greater than 0"),
        (
            ('contract = "parcels.parcels.find"', 'contract = "parcels.x.y"'),
            "no contract parcels.x",
        ),
        (('method = "GET"', 'method = "LOOK"'), "method: Input should be 'GET'"),
        (('["parcels.labels.print"]', '["parcels.none.print"]'), "no contract for works.labels"),
        (("parcels_worker.contracts", "parcels_worker.none"), "contracts: No module named"),
        (("[rights]", "[rights"), "Expected ']'"),
    ],
)
def test_what_is_wrong_is_a_sentence_that_names_it(
    write: Write, change: tuple[str, str], complaint: str
) -> None:
    assert change[0] in PARCELS
    root = write("parcels_worker", PARCELS.replace(*change, 1), CONTRACTS)

    with pytest.raises(ServicesFileError, match=complaint.replace("[", r"\[")) as raised:
        find_services(root)
    assert "parcels" in str(raised.value)


@pytest.mark.parametrize(
    ("contract", "complaint"),
    [
        (
            "class Other(Event, name='orders.order.placed'):\n    number: int\n",
            "Other: the first word of its name must be the service's, parcels, not orders",
        ),
        (
            "class Twice(Request[Parcel], method='parcels.parcels.find'):\n    number: int\n",
            "Twice: 'parcels.parcels.find' is FindParcel already",
        ),
    ],
)
def test_a_contract_that_is_not_the_services_is_refused(
    write: Write, contract: str, complaint: str
) -> None:
    root = write("parcels_worker", PARCELS, CONTRACTS + contract)

    with pytest.raises(ServicesFileError, match=complaint):
        find_manifests(root)


def test_two_services_of_one_name_are_refused(write: Write) -> None:
    write("a_worker", 'name = "parcels"')
    root = write("b_worker", 'name = "parcels"')

    with pytest.raises(ServicesFileError, match="there is a service parcels already"):
        find_manifests(root)


def test_two_programs_of_one_name_are_refused(write: Write) -> None:
    write("a_worker", 'name = "a"\n[programs.sender]\nmodule = "a"')
    root = write("b_worker", 'name = "b"\n[programs.sender]\nmodule = "b"')

    with pytest.raises(ServicesFileError, match="a has a program sender"):
        find_manifests(root)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServicesFileError, match=r"cannot read .*service\.toml: No such file"):
        Manifest.load(tmp_path / "service.toml")


def test_ours_have_a_database_where_they_migrate_one() -> None:
    databases = {each.name for each in find_manifests(ROOT) if each.database is not None}

    assert databases == {"auth", "catalog"}


def test_a_contract_of_the_library_needs_no_line(write: Write) -> None:
    route = f'[[http]]\nmethod = "GET"\npath = "/x"\ncontract = "{ListProducts.method}"\n'
    write("a_worker", f'name = "a"\n{route}')
    root = write("http_bridge_", BRIDGE)

    assert ListProducts.method in services_of(find_manifests(root)).root["bridge"].calls
