"""URLs in settings: which are taken, and what is said of those that are not."""

import os
import shlex
import subprocess
import sys

import pytest
from pydantic_settings import BaseSettings

from catalog_worker.settings import CatalogSettings, StoreSettings
from http_bridge.settings import BridgeSettings
from postroad.settings import MessagingSettings, MetricsSettings, read_settings
from postroad.urls import BrokerUrl, read_base_url, read_broker_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("amqp://broker/postroad", BrokerUrl(False, "broker", 5672, "postroad")),
        ("amqps://Broker.Example", BrokerUrl(True, "broker.example", 5671, "/")),
        ("AMQP://my_broker:1/", BrokerUrl(False, "my_broker", 1, "/")),
        ("amqp://10.0.0.1:65535/%2F", BrokerUrl(False, "10.0.0.1", 65_535, "/")),
        ("amqp://[::1]:5672/a%2fb", BrokerUrl(False, "::1", 5672, "a/b")),
        ("amqp://[fe80::1%eth0]/x", BrokerUrl(False, "fe80::1%eth0", 5672, "x")),
        ("amqp://köln.example:/x", BrokerUrl(False, "köln.example", 5672, "x")),
    ],
)
def test_a_broker_is_where_its_url_says(text: str, expected: BrokerUrl) -> None:
    assert read_broker_url(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("broker:5672/postroad", "must begin with amqp:// or amqps://"),
        ("http://broker/postroad", "must begin with amqp:// or amqps://"),
        ("amqp:///postroad", "has no host"),
        ("amqp://:5672/postroad", "has no host"),
        ("amqp://broker:99999/postroad", "must have a port from 1 to 65535"),
        ("amqp://broker:0/postroad", "must have a port from 1 to 65535"),
        ("amqp://broker:abc/postroad", "must have a port from 1 to 65535"),
        ("amqp://broker:+5/postroad", "must have a port from 1 to 65535"),
        ("amqp://broker:٣/postroad", "must have a port from 1 to 65535"),
        ("amqp://::1:5672/postroad", "must have brackets around an IPv6 address"),
        ("amqp://fe80::1/postroad", "must have brackets around an IPv6 address"),
        ("amqp://[::1:5672/postroad", "has a [ without a ]"),
        ("amqp://[::1/postroad", "has a [ without a ]"),
        ("amqp://[broker]:5672/postroad", "must have an IPv6 address in the brackets"),
        ("amqp://[::1]5672/postroad", "must have only : and a port after the ]"),
        ("amqp://broker]:5672/postroad", "has a host that is neither a name nor an address"),
        ("amqp://a..b/postroad", "has a host that is not a name"),
        ("amqp://%62roker/postroad", "has a host that is neither a name nor an address"),
        (f"amqp://{'a' * 64}/postroad", "has a host that is not a name"),
        (f"amqp://{'a.' * 127}b/postroad", "has a host that is not a name"),
        ("amqp://127.0.0.1./postroad", "has a host that is not an IPv4 address"),
        ("amqp://127.0.0.256/postroad", "has a host that is not an IPv4 address"),
        ("amqp://bro ker/postroad", "has a space"),
        ("amqp://broker/post\nroad", "has a space"),
        ("amqp://broker/postroad?heartbeat=5", "must not have a query"),
        ("amqp://broker/postroad#x", "must not have a fragment"),
        ("amqp://broker/postroad/", "must not have a / in or after the virtual host"),
        ("amqp://broker/100%", "has a % without two hexadecimal digits"),
        ("amqp://broker/%ff", "the virtual host must be UTF-8"),
        (f"amqp://broker/{'x' * 256}", "the virtual host must be UTF-8 and at most 255 bytes"),
    ],
)
def test_what_is_wrong_with_a_broker_s_url_is_said(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is looked at below
        read_broker_url(text)

    said = str(error.value)
    assert problem in said
    assert said.isprintable()
    if text.isprintable():
        assert said.startswith(text.partition("?")[0])


@pytest.mark.parametrize(
    "text",
    ["https://dummyjson.com", "http://user:p%40ss@[::1]:8080/api/", "http://dummyjson_mirror:80"],
)
def test_a_base_url_is_taken_as_it_is(text: str) -> None:
    assert read_base_url(text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://host/?key=abc", "http://host/?…: must not have a query"),
        ("http://host?", "http://host?…: must not have a query"),
        ("http://host/#top", "http://host/#top: must not have a fragment"),
        ("http:host", "http:host: must begin with http:// or https://"),
        ("http:\\\\host", "must begin with http:// or https://"),
        ("http:///products", "http:///products: has no host"),
        ("ftp://host", "ftp://host: must begin with http:// or https://"),
        ("http://host:99999", "http://host:99999: must have a port"),
        (" http://host", "must begin with"),
        ("http://host/a b", "http://host/a b: has a space"),
    ],
)
def test_a_base_url_that_would_be_mangled_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is looked at below
        read_base_url(text)

    assert problem in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "amqp://someone:secret@broker/postroad",
        "amqp://someone:se/secret@broker:x",
        "amqp://someone:se?secret@broker",
        "amqp://someone:se@secret@broker/postroad",
        "someone:secret@broker",
        "amqp://broker/postroad?password=secret",
    ],
)
def test_a_secret_in_a_url_is_not_shown(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is looked at below
        read_broker_url(text)

    assert "broker" in str(error.value)
    assert "secret" not in str(error.value)


def test_an_upstream_that_would_be_mangled_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CATALOG_UPSTREAM_URL", "http://host/?key=abc")

    with pytest.raises(SystemExit):
        read_settings(CatalogSettings)

    assert capsys.readouterr().err == (
        "cannot start: CATALOG_UPSTREAM_URL: http://host/?…: must not have a query; remove the ? "
        "and what follows it\n"
    )


@pytest.mark.parametrize("host", ["a..b", "ho st", "[::1]", "::x", "1.2.3.999", "host:80", ""])
@pytest.mark.parametrize(
    ("variable", "settings"), [("METRICS_HOST", MetricsSettings), ("BRIDGE_HOST", BridgeSettings)]
)
def test_a_host_nothing_can_listen_on_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    settings: type[MetricsSettings] | type[BridgeSettings],
    host: str,
) -> None:
    monkeypatch.setenv(variable, host)

    with pytest.raises(SystemExit):
        read_settings(settings)

    assert capsys.readouterr().err.startswith(f"cannot start: {variable}: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "0.0.0.0", "localhost", "my_host.example"])
def test_a_host_to_listen_on_is_taken_as_it_is(host: str) -> None:
    assert BridgeSettings(host=host).host == host


def test_a_variable_with_a_name_of_its_own_is_named_by_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRIDGE_PORT", "abc")

    with pytest.raises(SystemExit):
        read_settings(BridgeSettings)

    assert capsys.readouterr().err.startswith("cannot start: BRIDGE_PORT: ")


@pytest.mark.parametrize("given", ["nope", "10.0.0.5/8", "10.0.0.0/33", "127.0.0.1 ::1", "[::1]"])
def test_a_proxy_that_nobody_could_be_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", given)

    with pytest.raises(SystemExit):
        read_settings(BridgeSettings)

    said = capsys.readouterr().err
    assert said.startswith("cannot start: FORWARDED_ALLOW_IPS: ")
    assert said.endswith("; it must be a list of addresses and networks, or *\n")


@pytest.mark.parametrize("given", ["*", "", "10.0.0.0/8, ::1", "192.0.2.1,2001:db8::/32"])
def test_proxies_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", given)

    assert BridgeSettings().forwarded_allow_ips == given


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"https_proxy": "http://proxy:x"}, "environment names: http://proxy:x: must have a port"),
        ({"all_proxy": "proxy:99999"}, "environment names: http://proxy:99999: must have a port"),
        ({"HTTPS_PROXY": "ftp://u:secret@proxy"}, "environment names: ftp://proxy: must begin"),
        ({"REQUESTS_CA_BUNDLE": "/nowhere"}, "REQUESTS_CA_BUNDLE: cannot take certificates from"),
        ({"CURL_CA_BUNDLE": __file__}, "CURL_CA_BUNDLE: cannot take certificates from"),
    ],
)
def test_what_a_fetch_could_not_use_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    problem: str,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    CatalogSettings(upstream_url="http://127.0.0.1:8000")
    monkeypatch.setenv("CATALOG_UPSTREAM_URL", "https://upstream.example")
    with pytest.raises(SystemExit):
        read_settings(CatalogSettings)

    said = capsys.readouterr().err
    assert problem in said
    assert "secret" not in said


@pytest.mark.parametrize("given", ["inf", "1e20"])
@pytest.mark.parametrize(
    ("variable", "settings"),
    [
        ("BRIDGE_SEND_TIMEOUT_S", BridgeSettings),
        ("BROKER_CONNECT_TIMEOUT_S", MessagingSettings),
        ("CATALOG_UPSTREAM_READ_TIMEOUT_S", CatalogSettings),
        ("CATALOG_CLEAN_INTERVAL_S", StoreSettings),
    ],
)
def test_a_time_that_no_timer_holds_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    settings: type[BaseSettings],
    given: str,
) -> None:
    monkeypatch.setenv(variable, given)

    with pytest.raises(SystemExit):
        read_settings(settings)

    assert f"{variable}: Input should be less than or equal to" in capsys.readouterr().err


def test_what_is_wrong_is_said_where_standard_error_is_closed() -> None:
    environment = os.environ | {"BRIDGE_PORT": "99999"}
    command = f"{shlex.quote(sys.executable)} -m http_bridge 2>&-"

    done = subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stdout.startswith("cannot start: BRIDGE_PORT: ")
