"""How the broker is reached: what a process that cannot start says."""

from pathlib import Path

import pytest

from ops.certificates import Authority
from shared.settings import MessagingSettings, read_settings

FILES = {
    "BROKER_CA_FILE": "ca.pem",
    "BROKER_CERTIFICATE_FILE": "certificate.pem",
    "BROKER_KEY_FILE": "key.pem",
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a service that reaches its broker by TLS."""
    Authority(tmp_path).keep(tmp_path, "auth")
    for variable in ("BROKER_PASSWORD_FILE", "IDENTITY_FILE", "TRUST_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "unread"))
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
    assert f"{variable}: Value error, is missing, and BROKER_URLS has amqps://" in said


@pytest.mark.parametrize("variable", FILES)
def test_a_file_that_is_missing_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    environment.setenv(variable, "/nowhere/at.all")

    said = complaint(capsys)

    assert said.count("\n") == 1
    assert f"{variable}: Value error, cannot read /nowhere/at.all: No such file" in said


def test_a_key_of_another_certificate_is_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Authority(other)
    environment.setenv("BROKER_KEY_FILE", str(other / "key.pem"))

    assert f"BROKER_KEY_FILE: Value error, cannot use {other / 'key.pem'}" in complaint(capsys)


@pytest.mark.parametrize("name", FILES.values())
def test_a_file_that_holds_something_else_is_refused(
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
) -> None:
    (tmp_path / name).write_text("not a certificate")

    assert "BROKER_KEY_FILE: Value error, cannot use" in complaint(capsys)


@pytest.mark.parametrize("urls", ["http://broker/", "broker:5672", "amqps://a/x,amqp://b/x"])
def test_urls_that_would_not_do_what_they_say_are_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], urls: str
) -> None:
    environment.setenv("BROKER_URLS", urls)

    assert "BROKER_URLS" in complaint(capsys)
