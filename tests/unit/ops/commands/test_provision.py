"""`postroad provision`: what it makes, for whom, and that it keeps what is there."""

import json
import stat
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.services.manifests import our_services
from ops.services.operator import OPERATOR, operator_rights
from ops.services.programs import added_services
from ops.state.folder import StateFolder
from postroad.security.keys import Identity, TrustBundle
from postroad.topology.names import SCALER

SERVICES = our_services()
DATABASES = ("auth", "catalog")


def run(folder: Path, *arguments: str) -> int:
    return run_command(["provision", "--state", str(folder), *arguments])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_each_service_gets_a_folder_with_its_own_secrets_only(tmp_path: Path) -> None:
    assert run(tmp_path) == 0

    for service in SERVICES.names:
        own = tmp_path / "services" / service
        files = {path.relative_to(own) for path in own.rglob("*") if path.is_file()}
        assert set(map(str, files)) == {
            *("broker.password", "identity.json"),
            *("tls/ca.pem", "tls/certificate.pem", "tls/key.pem"),
            *(("database.password",) if service in DATABASES else ()),
        }
        assert Identity.load(own / "identity.json").service == service
        assert {mode(own), mode(own / "tls")} == {0o700}
        assert {mode(own / file) for file in files} == {0o600}


def test_all_trust_all_and_the_broker_knows_hashes_only(tmp_path: Path) -> None:
    run(tmp_path)

    state = StateFolder(tmp_path)
    text = state.definitions_file.read_text()
    users = json.loads(text)["users"]
    assert set(TrustBundle.load(state.trust_file).services) == set(SERVICES.names)
    assert {user["name"] for user in users} == {*SERVICES.names, SCALER}
    assert all(user["password_hash"] for user in users)
    assert not any(state.password(user["name"]) in text for user in users)


def test_provisioning_keeps_what_is_there(tmp_path: Path) -> None:
    def secrets() -> dict[Path, bytes]:
        folders = ("services", "database", "authority", "broker")
        files = [file for folder in folders for file in (tmp_path / folder).rglob("*.*")]
        hashed = ("definitions.json", "roles.sql")  # with new salt each time
        return {file: file.read_bytes() for file in files if file.name not in hashed}

    run(tmp_path)
    first = secrets()

    run(tmp_path)

    servers = ["erlang.cookie", "administrator.password", *("tls", "authority") * 3]
    assert len(first) == 5 * len(SERVICES.names) + len(DATABASES) + len([SCALER, *servers])
    assert secrets() == first


def test_what_other_programs_read_is_readable_whatever_the_umask(tmp_path: Path) -> None:
    run(tmp_path)

    assert mode(tmp_path) == 0o700
    assert mode(tmp_path / "broker" / "definitions.json") == 0o644
    assert mode(tmp_path / "broker" / "tls") == 0o755
    assert mode(tmp_path / "broker" / "tls" / "key.pem") == 0o644
    assert mode(tmp_path / "authority" / "key.pem") == 0o600
    assert mode(tmp_path / "broker" / "erlang.cookie") == 0o644
    assert mode(tmp_path / "database" / "administrator.password") == 0o644
    assert mode(tmp_path / "database" / "roles.sql") == 0o644


def test_in_a_cluster_requests_have_copies_too(tmp_path: Path) -> None:
    def types() -> dict[str, str]:
        queues = json.loads(StateFolder(tmp_path).definitions_file.read_text())["queues"]
        return {queue["name"]: queue["arguments"]["x-queue-type"] for queue in queues}

    run(tmp_path)
    assert types()["rpc.catalog"] == "classic"

    run(tmp_path, "--cluster")

    assert set(types().values()) == {"quorum"}


def test_an_operator_is_made_for_who_asks_for_one(tmp_path: Path) -> None:
    run(tmp_path)
    assert not (tmp_path / "services" / OPERATOR).exists()

    run(tmp_path, "--operator")

    state = StateFolder(tmp_path)
    users = json.loads(state.definitions_file.read_text())["users"]
    assert {user["name"] for user in users} == {*SERVICES.names, OPERATOR, SCALER}
    assert TrustBundle.load(state.trust_file).services[OPERATOR].redrives
    assert (tmp_path / "services" / OPERATOR / "tls" / "certificate.pem").exists()


def test_an_operator_is_given_the_rights_that_a_new_release_has(tmp_path: Path) -> None:
    run(tmp_path, "--operator")
    state = StateFolder(tmp_path)
    state.write_services('[operator]\ncalls = ["auth.*"]\n')

    run(tmp_path, "--operator")

    assert added_services(state).root == {OPERATOR: operator_rights()}


def test_services_that_were_added_are_provided_for_too(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.write_services('[shop]\ncalls = ["catalog.products.*"]\n')

    run(tmp_path)

    users = json.loads(state.definitions_file.read_text())["users"]
    assert "shop" in {user["name"] for user in users}
    assert TrustBundle.load(state.trust_file).services["shop"].calls == ("catalog.products.*",)
    assert (tmp_path / "services" / "shop" / "tls" / "certificate.pem").exists()


def test_a_broken_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    (tmp_path / "services" / "auth" / "identity.json").write_text("{")

    assert run(tmp_path) == 1
    assert "services/auth/identity.json" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["", "a b", "a..b", "x" * 300, "broker:5671", "[::1]"])
def test_a_host_that_no_certificate_can_be_for_is_refused(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path / "state", "--broker-host", host)

    assert f"argument --broker-host: {host!r} " in capsys.readouterr().err
    assert not (tmp_path / "state").exists()
