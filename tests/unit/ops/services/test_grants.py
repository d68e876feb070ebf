"""Services that are added to a state folder while nothing runs on it."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.commands.dispatch import run_command
from ops.local.broker import BrokerError, PrivateBroker
from ops.local.running import addresses, running_broker
from ops.services import grants, programs
from ops.services.grants import GrantError
from ops.services.manifests import our_services
from ops.state import credentials
from ops.state.folder import StateError, StateFolder
from postroad.security.keys import TrustBundle
from postroad.topology.definitions import definitions
from postroad.topology.names import SCALER
from postroad.topology.services import Service, Services, ServicesFileError
from tests.unit.ops.services.conftest import SHOP


def command(state: StateFolder, *arguments: str) -> int:
    """Run `postroad services`; give its exit status."""
    return run_command(["services", *arguments, "--state", str(state.folder)])


async def test_an_added_service_has_keys_a_password_and_its_rights(state: StateFolder) -> None:
    begins_at_once = await grants.add(state, "shop", SHOP)

    trusted = TrustBundle.load(state.trust_file).services["shop"]
    assert not begins_at_once
    assert trusted.calls == SHOP.calls
    assert trusted.keys == tuple(key.public() for key in credentials.identity(state, "shop").keys)
    assert state.password_file("shop").exists()


async def test_the_next_start_knows_it(state: StateFolder) -> None:
    await grants.add(state, "shop", SHOP)

    allowed = programs.allowed_services(StateFolder(state.folder))

    ours = our_services()
    assert allowed == Services(ours.root | {"shop": SHOP})
    users = programs.broker_definitions(state, allowed)["users"]
    assert [user["name"] for user in users] == [*allowed.names, SCALER]


async def test_adding_it_again_changes_its_rights_and_keeps_its_keys(state: StateFolder) -> None:
    await grants.add(state, "shop", SHOP)
    identity = credentials.identity(state, "shop")

    await grants.add(state, "shop", Service(calls=("catalog.*",), acts_for_users=True))

    trusted = TrustBundle.load(state.trust_file).services["shop"]
    assert (trusted.calls, trusted.acts_for_users) == (("catalog.*",), True)
    assert credentials.identity(state, "shop") == identity


async def test_what_was_written_by_hand_is_kept(state: StateFolder) -> None:
    await grants.add(state, "shop", SHOP)
    state.write_services('[feed]\npublishes = ["auth.login.*"]\nanswers = true\n')

    await grants.add(state, "shop", SHOP)

    feed = Service(publishes=("auth.login.*",), answers=True)
    assert programs.added_services(state).root == {"feed": feed, "shop": SHOP}


async def test_its_user_may_do_at_the_broker_what_was_granted(state: StateFolder) -> None:
    await grants.add(state, "shop", SHOP)

    generated = definitions(programs.allowed_services(state))

    (permission,) = (each for each in generated["permissions"] if each["user"] == "shop")
    topics = {
        each["exchange"]: (each["write"], each["read"])
        for each in generated["topic_permissions"]
        if each["user"] == "shop"
    }
    assert permission["configure"] == r"^(amq\.gen-.*)$"
    assert topics == {
        "rpc": (r"^(catalog\.products\..*)$", "^$"),
        "rpc.replies": ("^$", r"^reply\.shop\."),
        "events": ("^$", r"^(auth\.login\..*)$"),
        **dict.fromkeys(("events.work", "work", "wait", "retry", "refused"), ("^$", "^$")),
    }


@pytest.mark.parametrize(
    ("name", "service", "reason"),
    [
        ("bridge", SHOP, "bridge is one of our own services"),
        ("Orders", SHOP, "'Orders' is not a valid name"),
        ("shop", Service(calls=("shop.*",)), "no contract for calls = 'shop"),
        ("shop", Service(listens=("shop.*",)), "no contract for listens = 'shop"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    state: StateFolder, name: str, service: Service, reason: str
) -> None:
    with pytest.raises((GrantError, ServicesFileError), match=reason):
        await grants.add(state, name, service)

    assert not state.services_file.exists()
    assert not state.trust_file.exists()


@pytest.mark.parametrize(
    "name", ["a" * 300, "a" * 64, "Shop", "shop-2", "1shop", "../shop", "köln"]
)
def test_a_name_that_is_none_is_refused_and_leaves_nothing_behind(
    state: StateFolder, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status = command(state, "add", name, "--calls", "catalog.products.*")

    assert status == 1
    assert "is not a valid name: " in capsys.readouterr().err
    assert not state.services_file.exists()
    assert not state.trust_file.exists()


async def test_the_longest_name_has_keys_and_a_certificate(state: StateFolder) -> None:
    credentials.certificates(state, [])
    name = "a" * 63

    with state.changing():
        grants.note(state, name, SHOP)

    assert credentials.identity(state, name).service == name
    assert (state.own_folder(name) / "tls" / "certificate.pem").exists()


async def test_a_service_whose_keys_cannot_be_made_is_not_noted(state: StateFolder) -> None:
    with state.changing():
        pass
    (state.folder / "services").mkdir(exist_ok=True)
    (state.folder / "services" / "shop").write_text("in its folder's place")

    with pytest.raises(StateError):
        await grants.add(state, "shop", SHOP)

    assert programs.added_services(state).names == []
    programs.write_trust(state, programs.allowed_services(state))  # as the next start does


@pytest.mark.parametrize("file", ["services/auth/identity.json", "trust/trust.json"])
def test_a_broken_file_is_not_printed_for_an_environment(
    state: StateFolder, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    assert run_command(["provision", "--state", str(state.folder)]) == 0
    (state.folder / file).write_text('{"service": "auth", "ke')

    assert command(state, "env", "auth", "--inline") == 1
    assert f"{file} is broken: it is not JSON; put a copy of it back" in capsys.readouterr().err


def test_a_services_file_that_is_not_text_is_named(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with state.changing():
        state.services_file.write_bytes(b"\xff\xfe")

    assert command(state, "list") == 1
    assert f"{state.services_file} is not UTF-8; put a copy" in capsys.readouterr().err


async def test_a_name_that_we_take_ourselves_later_is_an_error(state: StateFolder) -> None:
    await grants.add(state, "shop", SHOP)
    state.write_services("[catalog]\nanswers = true\n")

    with pytest.raises(ServicesFileError, match="catalog is one of our own services"):
        programs.allowed_services(state)


async def test_the_operator_keeps_what_is_left_of_its_rights(state: StateFolder) -> None:
    stale = '[operator]\ncalls = ["auth.*", "orders.*"]\nlistens = ["orders.order.placed"]\n'
    with state.changing():
        state.write_services(stale)

    operator = programs.allowed_services(state).root["operator"]

    assert operator == Service(calls=("auth.*",))


def test_a_right_to_what_is_no_more_is_named_with_its_file_and_the_remedy(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with state.changing():
        state.write_services('[till]\ncalls = ["orders.*"]\n[feed]\ncalls = ["orders.*"]\n')

    assert command(state, "list") == 1
    listed = capsys.readouterr()
    assert "till (added)\n  calls      orders.*\n" in listed.out
    assert listed.err == (
        f"postroad: {state.services_file}: till: there is no contract for calls = 'orders.*'; "
        "correct it there, or take the service out with 'postroad services revoke NAME'\n"
    )
    assert [command(state, "revoke", name) for name in ("till", "feed")] == [0, 0]
    assert command(state, "list") == 0


def test_a_folder_that_is_not_there_has_no_services(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(StateFolder(tmp_path / "nowhere"), "list") == 1
    assert capsys.readouterr() == (
        "",
        f"postroad: there is no folder {tmp_path / 'nowhere'}; 'postroad up' makes it\n",
    )


async def test_a_system_that_was_killed_is_not_taken_for_a_running_one(state: StateFolder) -> None:
    state.write_running(addresses("", PrivateBroker(state.broker_folder)))

    assert running_broker(state) is None


async def test_a_service_is_not_added_while_the_broker_is_being_started_again(
    state: StateFolder,
) -> None:
    with state.held("tests"):
        state.write_running(addresses("", PrivateBroker(state.broker_folder)))

        with pytest.raises(BrokerError, match=r"being started again.* nothing was changed"):
            await grants.add(state, "shop", SHOP)

    assert programs.noted_services(state).names == []


def test_where_the_broker_is_cannot_be_said_while_nothing_runs(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        return command(state, *arguments)

    assert run("add", "shop", "--calls", "catalog.products.*") == 0
    assert "shop may call catalog.products.*, once 'postroad up' runs." in capsys.readouterr().out
    assert run("env", "shop") == 1
    assert capsys.readouterr().err.startswith("postroad: nothing runs on ")
    assert run("add", "shop") == 1
    assert capsys.readouterr().err == "postroad: say what it may do, by --calls or --listens\n"
    assert run("list") == 0
    assert "shop (added)\n  calls      catalog.products.*\n" in capsys.readouterr().out
    assert run("revoke", "shop") == 0
    assert run("revoke", "shop") == 0  # the broker may still know it
    assert run("revoke", "nobody") == 1


def test_for_a_broker_that_others_run_the_definitions_are_written(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        status = run_command([*arguments, "--state", str(state.folder)])
        assert status == 0
        return capsys.readouterr().out

    def kept() -> Any:
        return json.loads(state.definitions_file.read_text())

    def known() -> set[str]:
        own = {user["name"] for user in kept()["users"]}
        return own & {entry["user"] for entry in kept()["permissions"]}

    run("provision", "--cluster")
    queues, before = kept()["queues"], known()
    of_the_broker = state.broker_folder / "tls" / "certificate.pem"
    certificate = of_the_broker.read_text()

    said = run("services", "add", "shop", "--calls", "catalog.products.*")
    assert f"by 'rabbitmqctl import_definitions {state.definitions_file}'" in said
    assert f"export BROKER_KEY_FILE={state.folder}/services/shop/tls/key.pem" in said
    assert (state.folder / "services" / "shop" / "tls" / "key.pem").exists()
    assert known() == {*before, "shop"}
    assert kept()["queues"] == queues  # those of a cluster, as before
    assert of_the_broker.read_text() == certificate

    said = run("services", "revoke", "shop")
    assert "by 'rabbitmqctl delete_user shop'" in said
    assert not (state.folder / "services" / "shop").exists()
    assert known() == before


async def test_definitions_that_cannot_be_read_are_named(state: StateFolder) -> None:
    credentials.certificates(state, [])  # an authority, and nothing else of `postroad provision`

    with pytest.raises(GrantError, match=r"cannot read .*definitions.json; run 'postroad prov"):
        await grants.add(state, "shop", SHOP)
