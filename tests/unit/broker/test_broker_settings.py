"""How the broker is reached: what a process that cannot start says."""

import asyncio
import json
import ssl
import subprocess
from pathlib import Path

import pytest

from ops.state.certificates import Authority
from postroad.security import key_watch
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity
from postroad.security.rotation import rotate
from postroad.settings import CONTENTS, MessagingSettings, read_settings
from postroad.testing import eventually

FILES = {
    "BROKER_CA_FILE": "ca.pem",
    "BROKER_CERTIFICATE_FILE": "certificate.pem",
    "BROKER_KEY_FILE": "key.pem",
}

KEY_FILES = {
    "BROKER_PASSWORD_FILE": "password",
    "IDENTITY_FILE": "auth.identity",
    "TRUST_FILE": "trust",
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a service that reaches its broker by TLS."""
    Authority(tmp_path).keep(tmp_path, "auth")
    auth = Identity.create("auth")
    auth.save(tmp_path / "auth.identity")
    services = {"auth": {"keys": auth.public()["keys"]}}
    (tmp_path / "trust").write_text(json.dumps({"services": services}))
    (tmp_path / "password").write_text("a password\n")
    for variable, name in KEY_FILES.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setenv("BROKER_URLS", "amqps://broker-1:5671/postroad,amqps://broker-2/postroad")
    for variable, name in FILES.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
    return monkeypatch


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        read_settings(MessagingSettings)
    return capsys.readouterr().err


def test_with_all_three_files_it_starts(environment: pytest.MonkeyPatch) -> None:
    assert read_settings(MessagingSettings).broker_tls().get_ca_certs()


def test_without_tls_the_files_are_not_looked_at(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BROKER_URLS", "amqp://broker/postroad")
    environment.setenv("BROKER_CA_FILE", "/nowhere")

    assert read_settings(MessagingSettings).broker_urls == ("amqp://broker/postroad",)


@pytest.mark.parametrize("variable", FILES)
def test_a_variable_that_is_missing_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    environment.delenv(variable)

    said = complaint(capsys)

    assert said.count("\n") == 1
    assert f"cannot start: {variable}: is missing; for amqps:// set all three, or none" in said


@pytest.mark.parametrize("variable", [*FILES, *KEY_FILES])
def test_a_file_that_is_missing_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    environment.setenv(variable, "/nowhere/at.all")

    said = complaint(capsys)

    assert said.count("\n") == 1
    assert f"cannot start: {variable}: cannot read " in said
    assert "/nowhere/at.all: No such file" in said


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("BROKER_PASSWORD_FILE", "is not UTF-8"),
        ("IDENTITY_FILE", "is not an identity file"),
        ("TRUST_FILE", "is not a trust bundle"),
    ],
)
def test_a_key_file_that_holds_something_else_is_named(
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    variable: str,
    problem: str,
) -> None:
    (tmp_path / KEY_FILES[variable]).write_bytes(b"\xff\xfe")

    said = complaint(capsys)

    assert said == f"cannot start: {variable}: {tmp_path / KEY_FILES[variable]} {problem}\n"


def test_a_password_file_that_is_empty_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("\n")

    assert complaint(capsys) == (
        f"cannot start: BROKER_PASSWORD_FILE: {tmp_path / 'password'} is empty\n"
    )


def test_a_key_of_another_certificate_is_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Authority(other)
    environment.setenv("BROKER_KEY_FILE", str(other / "key.pem"))

    assert f"BROKER_KEY_FILE: cannot use {other / 'key.pem'}" in complaint(capsys)


@pytest.mark.parametrize("name", FILES.values())
def test_a_file_that_holds_something_else_is_refused(
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
) -> None:
    (tmp_path / name).write_text("not a certificate")

    assert "BROKER_KEY_FILE: cannot use" in complaint(capsys)


@pytest.mark.parametrize(
    "urls",
    [
        *("http://broker/", "broker:5672", "amqps://a/x,amqp://b/x", "amqps://user:password@a/x"),
        *("amqps://user:pass,password@a/x", "amqps://user:password,pass@a/x"),  # one URL each
    ],
)
def test_urls_that_would_not_do_what_they_say_are_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], urls: str
) -> None:
    environment.setenv("BROKER_URLS", urls)

    said = complaint(capsys)

    assert said.startswith("cannot start: BROKER_URLS: ")
    assert "password" not in said.replace("a user or a password", "")


@pytest.mark.parametrize(
    "urls", ["amqps://a/x,", ",amqps://a/x", "amqps://a/x, ,amqps://b/x", ",,"]
)
def test_an_entry_that_is_empty_is_said_to_be_so(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], urls: str
) -> None:
    environment.setenv("BROKER_URLS", urls)

    assert complaint(capsys) == (
        "cannot start: BROKER_URLS: has an empty entry: there is a comma too many\n"
    )


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("amqps://::1:5671/postroad", "must have brackets around an IPv6 address, as in [::1]"),
        ("amqps://[::1:5671/postroad", "has a [ without a ]"),
        ("amqps://broker:99999/postroad", "must have a port from 1 to 65535"),
        ("amqps://broker:abc/postroad", "must have a port from 1 to 65535"),
    ],
)
@pytest.mark.parametrize("others", ["amqps://broker-1/postroad,", "amqps://[::1]/postroad, ", ""])
def test_of_several_urls_the_wrong_one_is_named(
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    others: str,
    wrong: str,
    problem: str,
) -> None:
    environment.setenv("BROKER_URLS", f"{others}{wrong}")

    assert complaint(capsys) == f"cannot start: BROKER_URLS: {wrong}: {problem}\n"


def test_without_any_of_them_the_broker_is_one_that_the_system_trusts(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    for variable in FILES:
        environment.delenv(variable)

    context = read_settings(MessagingSettings).broker_tls()

    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_what_would_be_in_a_file_may_be_given_instead(
    environment: pytest.MonkeyPatch, keys: dict[str, KeyRing], tmp_path: Path
) -> None:
    path = tmp_path / "identity.json"
    keys["auth"].identity.save(path)
    give(environment, "broker_password", "a password")
    give(environment, "identity", path.read_text())
    give(environment, "trust", keys["auth"].trust.model_dump_json())

    settings = read_settings(MessagingSettings)

    for _ in range(2):  # as each new connection does, and the watch over the keys
        assert settings.read_broker_password().get_secret_value() == "a password"
        read = KeyRing.load(settings.identity_file, settings.trust_file)
        assert (read.identity, read.trust) == (keys["auth"].identity, keys["auth"].trust)


async def test_a_new_key_that_came_so_is_used_once_its_time_has_come(
    environment: pytest.MonkeyPatch, keys: dict[str, KeyRing], tmp_path: Path
) -> None:
    path = tmp_path / "identity.json"
    rotate(keys["auth"].identity, lead_s=0.5).save(path)
    give(environment, "identity", path.read_text())
    give(environment, "trust", keys["auth"].trust.model_dump_json())
    settings = read_settings(MessagingSettings)
    ring = KeyRing.load(settings.identity_file, settings.trust_file)
    before = keys["auth"].sending_key("catalog")
    environment.setattr(key_watch, "WATCH_INTERVAL_S", 0.01)

    watch = asyncio.create_task(
        key_watch.watch_key_files(ring, settings.identity_file, settings.trust_file)
    )

    try:
        await eventually(lambda: ring.sending_key("catalog") != before)
    finally:
        watch.cancel()


def test_who_reads_it_again_opens_no_further_files(environment: pytest.MonkeyPatch) -> None:
    give(environment, "broker_password", "another password")

    files = {read_settings(MessagingSettings).broker_password_file for _ in range(3)}

    assert len(files) == 1


def test_a_program_that_is_started_does_not_get_it(environment: pytest.MonkeyPatch) -> None:
    give(environment, "broker_password", "a third password")
    file = read_settings(MessagingSettings).broker_password_file

    done = subprocess.run(["cat", file], capture_output=True, check=False, close_fds=False)

    assert file.exists()
    assert done.stdout == b""


@pytest.mark.parametrize("name", CONTENTS)
def test_one_of_the_two_is_wanted(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file, content = f"{name}_file".upper(), name.upper()
    environment.setenv(content, "a secret")

    assert complaint(capsys) == (
        f"cannot start: {file}: is set, and {content} too; leave one of them out\n"
    )

    environment.delenv(file)
    environment.setenv(content, "")

    assert complaint(capsys) == (
        f"cannot start: {file}: is missing; or set {content} to what would be in that file\n"
    )


@pytest.mark.parametrize("name", ["identity", "trust"])
def test_what_is_no_key_file_is_refused_and_not_shown(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    give(environment, name, "{service:a secret}")  # a shell took the quotes

    said = complaint(capsys)

    assert f"{name.upper()} is not what is in such a file" in said
    assert "secret" not in said


def test_the_representation_of_settings_does_not_show_a_password(
    environment: pytest.MonkeyPatch,
) -> None:
    give(environment, "broker_password", "a fourth password")

    assert "fourth" not in repr(read_settings(MessagingSettings))


def give(environment: pytest.MonkeyPatch, name: str, content: str) -> None:
    environment.delenv(f"{name}_file".upper())
    environment.setenv(name.upper(), content)
