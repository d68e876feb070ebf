"""Whom a fetch trusts, and by which way it goes."""

import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from time import monotonic, sleep

import pytest
import structlog

from catalog_worker.settings import CatalogSettings
from ops.local.ports import LOOPBACK, free_ports
from ops.state.certificates import Authority
from postroad.settings import SettingsError, settings_from_environment
from postroad.testing import eventually
from tests.support.fetching import GOOD, Serve, failure, fetcher_of, get
from tests.support.upstreams import (
    BAD_FOR_S,
    Asked,
    Pieces,
    Script,
    ScriptedServer,
    answering,
    scripted,
)

PROXIED = "products.example"  # found by nobody but a proxy
DEADLINE_S, GRACE_S = 0.5, 1.0
HANDSHAKE = b"\x16\x03\x03\x40\x00"  # the head of a record of 16 KiB (RFC 8446 section 5.1)
NOT_TRUSTED = "the product source has a certificate that is not trusted: "

ServeTls = Callable[..., ScriptedServer]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.lower().endswith("_proxy"):
            monkeypatch.delenv(variable)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """The folder of a private authority, whose certificate is in ``ca.pem``."""
    return tmp_path / "authority"


@pytest.fixture
def serve_tls(authority: Path) -> Iterator[ServeTls]:
    with ExitStack() as running:

        def serve(
            script: Script, *, host: str = LOOPBACK, now: datetime | None = None
        ) -> ScriptedServer:
            folder = authority / "upstream"
            folder.mkdir(parents=True)
            Authority(authority, now=now).keep(folder, "upstream", hosts=(host,))
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
            return running.enter_context(scripted(script, context))

        yield serve


class Tunnel(BaseHTTPRequestHandler):
    """A proxy that leads whoever asks for a tunnel to one server, whatever its name."""

    server: "TunnelServer"

    def do_CONNECT(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        with socket.create_connection((LOOPBACK, self.server.leads_to)) as far:
            ends = {self.connection: far, far: self.connection}
            while True:
                for end in select.select(ends, [], [])[0]:
                    if not (data := end.recv(65_536)):
                        return
                    ends[end].sendall(data)

    def log_message(self, *_: object) -> None:
        pass


class TunnelServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, leads_to: int) -> None:
        super().__init__((LOOPBACK, 0), Tunnel)
        self.leads_to = leads_to
        self.asked: list[str] = []


@contextmanager
def tunnel(to: ScriptedServer) -> Iterator[TunnelServer]:
    with TunnelServer(to.server_port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


# Certificates


def test_a_certificate_that_is_not_trusted_is_said_to_be_so(serve_tls: ServeTls) -> None:
    server = serve_tls(GOOD)

    with structlog.testing.capture_logs() as logged:
        failed = failure(fetcher_of(server))

    assert str(failed).startswith(NOT_TRUSTED)
    assert "certificate" in str(failed).removeprefix(NOT_TRUSTED)
    assert [line["reason"] for line in logged] == [str(failed)]
    assert not server.asked


def test_the_authority_of_the_setting_is_trusted(serve_tls: ServeTls, authority: Path) -> None:
    fetcher = fetcher_of(serve_tls(GOOD), upstream_ca_file=authority / "ca.pem")

    assert get(fetcher).body == b'{"a":1}'


def test_the_setting_counts_more_than_the_environment(
    serve_tls: ServeTls, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve_tls(GOOD)
    other = tmp_path / "other"
    other.mkdir()
    Authority(other)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority / "ca.pem"))

    fetcher = fetcher_of(server, upstream_ca_file=other / "ca.pem")

    assert str(failure(fetcher)).startswith(NOT_TRUSTED)


def test_what_is_wrong_with_a_certificate_is_said(serve_tls: ServeTls, authority: Path) -> None:
    server = serve_tls(GOOD, host="elsewhere.example")

    failed = failure(fetcher_of(server, upstream_ca_file=authority / "ca.pem"))

    assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in str(failed)


def test_a_certificate_that_has_expired_is_said_to_have(
    serve_tls: ServeTls, authority: Path
) -> None:
    server = serve_tls(GOOD, now=datetime.now(UTC) - timedelta(days=1000))

    failed = failure(fetcher_of(server, upstream_ca_file=authority / "ca.pem"))

    assert str(failed) == NOT_TRUSTED + "certificate has expired"


def test_a_server_that_speaks_no_tls_is_said_to_speak_none(serve: Serve) -> None:
    server = serve(GOOD)

    failed = failure(fetcher_of(server.url.replace("http:", "https:")))

    assert "cannot be reached by TLS: " in str(failed)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    monkeypatch.setenv("CATALOG_UPSTREAM_URL", "https://products.example")
    monkeypatch.setenv("CATALOG_UPSTREAM_CA_FILE", str(file))

    with pytest.raises(SettingsError, match="CATALOG_UPSTREAM_CA_FILE: cannot take certificates"):
        settings_from_environment(CatalogSettings)


def test_a_head_that_trickles_over_tls_ends_at_the_deadline(
    serve_tls: ServeTls, authority: Path
) -> None:
    server = serve_tls(GOOD)
    server.script = server.trickle(b"HTTP/1.1 200 OK\r\nX-Slow:")
    fetcher = fetcher_of(server, upstream_ca_file=authority / "ca.pem")

    began = monotonic()
    with answering(within_s=DEADLINE_S):
        failed = failure(fetcher)

    assert str(failed) == "the product source is too slow"
    assert monotonic() - began < DEADLINE_S + GRACE_S


class Handshake(StreamRequestHandler):
    """Begins a record of TLS, and goes on with it a byte at a time."""

    def handle(self) -> None:
        ends_at = monotonic() + BAD_FOR_S
        with suppress(OSError):  # the client hangs up
            self.wfile.write(HANDSHAKE)
            while monotonic() < ends_at:
                sleep(0.02)
                self.wfile.write(b" ")


def test_a_handshake_that_trickles_ends_at_the_deadline(authority: Path) -> None:
    authority.mkdir()
    Authority(authority)
    with ThreadingTCPServer((LOOPBACK, 0), Handshake) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        url = f"https://{LOOPBACK}:{server.server_address[1]}"
        fetcher = fetcher_of(url, upstream_ca_file=authority / "ca.pem")
        began = monotonic()
        with answering(within_s=DEADLINE_S):
            failed = failure(fetcher)
        took_s = monotonic() - began
        server.shutdown()

    assert str(failed) == "the product source is too slow"
    assert took_s < DEADLINE_S + GRACE_S


# Proxies


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_server_elsewhere_is_asked_by_the_proxy_of_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy = serve(GOOD)
    monkeypatch.setenv(variable, proxy.url)

    assert get(fetcher_of(f"http://{PROXIED}")).body == b'{"a":1}'
    assert [asked.path for asked in proxy.asked] == [f"http://{PROXIED}/products"]


def test_a_server_is_asked_by_tls_through_a_tunnel(
    serve_tls: ServeTls, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve_tls(GOOD, host=PROXIED)
    with tunnel(server) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{LOOPBACK}:{proxy.server_port}")
        fetcher = fetcher_of(f"https://{PROXIED}", upstream_ca_file=authority / "ca.pem")

        assert [get(fetcher).body for _ in range(2)] == [b'{"a":1}'] * 2
        server.script = server.trickle(b"HTTP/1.1 200 OK\r\nX-Slow:")
        with answering(within_s=DEADLINE_S):
            assert str(failure(fetcher)) == "the product source is too slow"

    assert proxy.asked[0] == f"{PROXIED}:443"


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_a_server_that_is_to_be_asked_without_a_proxy_is(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy = serve(GOOD)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv(variable, ".example")

    failed = failure(fetcher_of(f"http://{PROXIED}"))

    assert str(failed) == "the product source cannot be reached: its name cannot be resolved"
    assert not proxy.asked


@pytest.mark.parametrize("host", [LOOPBACK, "127.1.2.3", "localhost", "sample.localhost", "[::1]"])
def test_a_server_on_this_machine_is_never_asked_by_a_proxy(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    proxy = serve(GOOD)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("all_proxy", proxy.url)
    (port,) = free_ports(1)

    failed = failure(fetcher_of(f"http://{host}:{port}", upstream_attempts=1))

    assert str(failed).startswith("the product source cannot be reached")
    assert not proxy.asked


def test_a_proxy_that_is_away_is_said_to_be_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("http_proxy", f"http://{LOOPBACK}:{port}")

    failed = failure(fetcher_of(f"http://{PROXIED}"))

    assert str(failed).endswith("cannot be reached through the proxy that the environment names")


def test_a_proxy_of_another_kind_is_said_to_be_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")

    failed = failure(fetcher_of(f"http://{PROXIED}"))

    assert "a proxy of a kind that we do not know" in str(failed)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_whose_answer_trickles_ends_at_the_deadline(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    proxy = serve(GOOD)
    proxy.script = proxy.trickle(b"HTTP/1.1 200 Established\r\nX-Slow:")
    monkeypatch.setenv(f"{scheme}_proxy", proxy.url)

    deadline_s = 4 * DEADLINE_S  # public authorities are read first, which takes a moment
    began = monotonic()
    with answering(within_s=deadline_s):
        failure(fetcher_of(f"{scheme}://{PROXIED}"))

    assert monotonic() - began < deadline_s + GRACE_S
    await eventually(lambda: proxy.asked)  # by a thread that may come to it later


def test_a_handshake_in_a_tunnel_has_what_is_left_of_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadline_s = 5 * DEADLINE_S  # most of it goes by before the tunnel is there

    def late(asked: Asked) -> Pieces:
        proxy.is_leaving.wait(deadline_s - 1.5 * DEADLINE_S)
        yield b"HTTP/1.1 200 Established\r\n\r\n"
        proxy.is_leaving.wait(0.1)  # or the client takes what follows for more of this answer
        yield from proxy.trickle(HANDSHAKE)(asked)

    with scripted(late) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        began = monotonic()
        with answering(within_s=deadline_s):
            failed = failure(fetcher_of(f"https://{PROXIED}", upstream_connect_timeout_s=60))
        took_s = monotonic() - began

    assert str(failed) == "the product source is too slow"
    assert took_s < deadline_s + GRACE_S
