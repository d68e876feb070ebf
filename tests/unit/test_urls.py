"""URLs in settings: which are taken, and what is said of those that are not."""

import pytest

from catalog_worker.settings import CatalogSettings
from http_bridge.settings import BridgeSettings
from postroad.settings import MetricsSettings, read_settings
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
        ("broker:5672/postroad", "does not begin with amqp:// or amqps://"),
        ("http://broker/postroad", "does not begin with amqp:// or amqps://"),
        ("amqp:///postroad", "has no host"),
        ("amqp://:5672/postroad", "has no host"),
        ("amqp://broker:99999/postroad", "has a port that is no number from 1 to 65535"),
        ("amqp://broker:0/postroad", "has a port that is no number"),
        ("amqp://broker:abc/postroad", "has a port that is no number"),
        ("amqp://broker:+5/postroad", "has a port that is no number"),
        ("amqp://broker:٣/postroad", "has a port that is no number"),
        ("amqp://::1:5672/postroad", "an IPv6 address stands in brackets"),
        ("amqp://fe80::1/postroad", "an IPv6 address stands in brackets"),
        ("amqp://[::1:5672/postroad", "has a [ without a ]"),
        ("amqp://[::1/postroad", "has a [ without a ]"),
        ("amqp://[broker]:5672/postroad", "what is in brackets is no IPv6 address"),
        ("amqp://[::1]5672/postroad", "after the ] comes : and the port"),
        ("amqp://broker]:5672/postroad", "has a host that is no name"),
        ("amqp://a..b/postroad", "has a host that is no name"),
        ("amqp://%62roker/postroad", "has a host that is no name"),
        (f"amqp://{'a' * 64}/postroad", "has a host that is no name"),
        ("amqp://127.0.0.256/postroad", "has a host that is no IPv4 address"),
        ("amqp://bro ker/postroad", "has a space"),
        ("amqp://broker/post\nroad", "has a space"),
        ("amqp://broker/postroad?heartbeat=5", "has a query"),
        ("amqp://broker/postroad#x", "has a fragment"),
        ("amqp://broker/postroad/", "has a / in its virtual host or after it"),
        ("amqp://broker/100%", "has a % without two hexadecimal digits"),
        ("amqp://broker/%ff", "has a virtual host that is not UTF-8"),
        (f"amqp://broker/{'x' * 256}", "has a virtual host that is not UTF-8, or longer than"),
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
        ("http://host/?key=abc", "http://host/?…: has a query"),
        ("http://host?", "http://host?…: has a query"),
        ("http://host/#top", "http://host/#top: has a fragment"),
        ("http:host", "http:host: does not begin with http:// or https://"),
        ("http:\\\\host", "does not begin with http:// or https://"),
        ("http:///products", "http:///products: has no host"),
        ("ftp://host", "ftp://host: does not begin with http:// or https://"),
        ("http://host:99999", "http://host:99999: has a port"),
        (" http://host", "does not begin with"),
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
        "cannot start: CATALOG_UPSTREAM_URL: http://host/?…: has a query, which means nothing "
        "here; leave out ? and what follows\n"
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
