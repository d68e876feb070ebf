"""Whose settings a command has that acts on a system, and where it finds the broker."""

import asyncio
import re
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.local.broker import PrivateBroker
from ops.local.broker_node import Ports
from ops.local.ports import LOOPBACK
from ops.local.running import addresses
from ops.services import grants, programs
from ops.services.operator import OPERATOR, CannotAct, operator_rights, settings_as
from ops.state.folder import StateFolder

URLS = "amqps://broker:5671/postroad,amqps://broker-2:5671/postroad"


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    assert run_command(["provision", "--state", str(tmp_path), "--operator"]) == 0
    return StateFolder(tmp_path)


@pytest.fixture(autouse=True)
def _broker_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URLS", URLS)


def test_the_broker_is_where_the_environment_says(state: StateFolder) -> None:
    settings = settings_as(state, OPERATOR)

    assert ",".join(settings.broker_urls) == URLS
    assert settings.identity_file == state.identity_file(OPERATOR)
    assert settings.read_broker_password().get_secret_value() == state.password(OPERATOR)
    settings.broker_tls()  # its files are there, and fit


def test_a_broker_that_runs_on_the_folder_comes_first(state: StateFolder) -> None:
    broker = PrivateBroker(state.broker_folder, ports=Ports(1, 0, 0, 0, 0))
    with state.held("tests"):
        state.write_running(addresses("", broker))

        settings = settings_as(state, OPERATOR)  # even if it is just being started again

    assert settings.broker_urls == (f"amqp://{LOOPBACK}:1/postroad",)


def test_who_acts_without_a_certificate_is_told_so(state: StateFolder) -> None:
    (state.own_folder(OPERATOR) / "tls" / "key.pem").unlink()

    with pytest.raises(CannotAct, match=r"^BROKER_KEY_FILE: cannot read .*/operator/tls/key.pem"):
        settings_as(state, OPERATOR)


def test_nobody_acts_without_an_address(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BROKER_URLS")

    with pytest.raises(CannotAct, match="nothing runs on"):
        settings_as(state, OPERATOR)
    with state.held("http://127.0.0.1:8000"), pytest.raises(CannotAct) as early:
        settings_as(state, OPERATOR)

    assert re.match(r"http://127\.0\.0\.1:8000 \(process \d+\) is at work on ", str(early.value))
    assert "not up yet; try again" in str(early.value)


def test_nobody_acts_as_a_service_that_is_not_there(state: StateFolder) -> None:
    with pytest.raises(CannotAct, match="no service shop; add it"):
        settings_as(state, "shop")


def test_a_missing_operator_is_made_and_the_broker_learns_of_it(
    state: StateFolder,
) -> None:
    asyncio.run(grants.revoke(state, OPERATOR))

    with pytest.raises(CannotAct, match=f"import_definitions {state.definitions_file}"):
        settings_as(state, OPERATOR)

    assert programs.added_services(state).root == {OPERATOR: operator_rights()}
    assert settings_as(state, OPERATOR).identity_file.exists()


def test_an_operator_is_renewed_without_a_word(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    state.write_services('[operator]\ncalls = ["auth.*", "orders.*"]\n')
    capsys.readouterr()

    with pytest.raises(CannotAct):  # the broker has to learn of it
        settings_as(state, OPERATOR)

    assert programs.added_services(state).root == {OPERATOR: operator_rights()}
    assert capsys.readouterr().err == ""
