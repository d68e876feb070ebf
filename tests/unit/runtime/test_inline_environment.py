"""What a service reads, for an environment instead of files; and our own that must not mix both."""

import json
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.commands.provision import provision
from ops.services import programs
from ops.services.manifests import ROOT, our_services
from ops.services.operator import settings_as
from ops.state.credentials import identity
from ops.state.folder import StateFolder
from postroad.security.keys import Identity, TrustBundle
from postroad.settings import CONTENTS


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder(tmp_path / "state")
    provision(state, our_services())
    return state


def env(state: StateFolder, *arguments: str) -> int:
    return run_command(["services", "env", *arguments, "--state", str(state.folder)])


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())


def test_a_services_files_are_printed_a_line_each_while_nothing_runs(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert env(state, "catalog", "--inline") == 0

    lines = printed(capsys)
    assert lines.keys() == {"BROKER_PASSWORD", "IDENTITY", "TRUST"}
    assert lines["BROKER_PASSWORD"] == state.password("catalog")
    assert Identity.model_validate_json(lines["IDENTITY"]) == identity(state, "catalog")
    assert TrustBundle.model_validate_json(lines["TRUST"]) == TrustBundle.load(state.trust_file)


def test_without_a_name_it_is_what_the_procfile_reads(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert env(state, "--inline") == 0

    lines = printed(capsys)
    procfile = ROOT.joinpath("Procfile").read_text()
    assert lines.pop("TRUST")
    assert all(f"=${variable} " in procfile for variable in lines)
    assert procfile.count("IDENTITY=$") == procfile.count("exec ")
    assert json.loads(lines["AUTH_IDENTITY"])["service"] == "auth"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "name a service; or print all of our own with --inline"),
        (("nobody", "--inline"), "no service nobody; 'postroad services list' names them"),
        (("bridge",), "nothing runs on "),
    ],
)
def test_what_cannot_be_printed_is_said(
    state: StateFolder, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    assert env(state, *arguments) == 1

    assert capsys.readouterr().err.startswith(f"postroad: {reason}")


def test_keys_that_were_never_made_are_not_made_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert env(StateFolder(tmp_path / "new"), "--inline") == 1

    assert "broker.password; 'postroad provision' makes it" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_programs_with_files_of_their_own_do_not_see_our_environment(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CONTENTS:
        monkeypatch.setenv(name.upper(), "another's")

    (program, *_) = programs.programs(
        state, broker_address="127.0.0.1:1", upstream="", host="", port=1
    )

    assert {program.env[name.upper()] for name in CONTENTS} == {""}


def test_a_person_acts_with_the_files_whatever_the_environment_holds(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CONTENTS:
        monkeypatch.setenv(name.upper(), "another's")
    with state.held("tests"):
        ports = dict.fromkeys(("amqp", "management", "metrics", "distribution", "epmd"), 1)
        state.write_running({"http": "", "amqp": "", "broker": ports})

        settings = settings_as(state, "bridge")

    assert settings.identity_file == state.identity_file("bridge")
