"""The health check of a container, run as a container runs it."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError

import pytest

from ops.health import container

# the first columns of /proc/net/tcp, and in it a connection to 127.0.0.1:5672
HEADER = "  sl  local_address rem_address   st tx_queue rx_queue"
TO_5672 = "   0: 0100007F:B2C4 0100007F:1628 01 00000000:00000000"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The /proc of a machine without IPv6, on which nothing runs yet."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(f"{HEADER}\n")
    monkeypatch.setattr(container, "PROC", tmp_path)
    monkeypatch.setattr(sys, "argv", ["healthcheck"])
    return tmp_path


def check(*arguments: str, **environment: str) -> int:
    command = [sys.executable, "-m", "ops.health.container", *arguments]
    return subprocess.run(command, check=False, env=environment, timeout=20).returncode


def test_without_an_argument_it_asks_the_bridge_on_its_port(port: int) -> None:
    assert check(PORT=str(port)) == 0
    assert check(BRIDGE_PORT=str(port), PORT="1") == 0
    assert check(PORT="1") == 1


def test_a_proxy_is_not_asked(port: int) -> None:
    assert check(PORT=str(port), http_proxy="http://127.0.0.1:1") == 0


def test_any_status_but_200_is_a_failure(port: int) -> None:
    assert check(f"http://127.0.0.1:{port}/healthz") == 0
    assert check(f"http://127.0.0.1:{port}/readyz") == 1


def test_an_answer_is_closed_whatever_its_status(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int | None] = []
    close = HTTPError.close

    def note_and_close(error: HTTPError) -> None:
        closed.append(error.code)
        close(error)

    monkeypatch.setattr(HTTPError, "close", note_and_close)

    assert "503" in str(container._unanswered(f"http://127.0.0.1:{port}/readyz"))

    assert closed == [503]


def test_without_argument_or_bridge_it_checks_the_broker_connection(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BROKER_URLS", "amqp://broker:5672/postroad")
    run(machine, 1, "/sbin/docker-init", "--", "python", "-m", "catalog_worker")
    run(machine, 7, "python", "-m", "catalog_worker")

    assert container.main() == 1
    assert capsys.readouterr().out == "connected: no connection is open\n"

    (machine / "net" / "tcp").write_text(f"{HEADER}\n{TO_5672}\n")

    assert container.main() == 0


def test_without_an_argument_it_asks_a_bridge_that_runs_under_an_init(
    machine: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URLS", "amqp://broker:5672/postroad")
    monkeypatch.setenv("PORT", str(port))
    run(machine, 1, "/bin/sh", "-c", "python -m http_bridge")
    (machine / "6" / "cmdline").mkdir(parents=True)  # a process that cannot be looked at
    run(machine, 7, "python", "-m", "http_bridge")

    assert container.main() == 0

    monkeypatch.setenv("PORT", "1")

    assert container.main() == 1


@pytest.mark.parametrize(
    ("arguments", "variable", "value", "problem"),
    [
        (["connected"], "BROKER_URLS", "amqp://broker:99999/x", "BROKER_URLS: Port out of range"),
        (["connected"], "BROKER_URLS", "amqp://[::1/x", "BROKER_URLS: Invalid IPv6 URL"),
        ([], "PORT", "abc", "nonnumeric port"),
    ],
)
def test_an_address_that_is_none_is_a_failure_in_a_sentence(
    arguments: list[str], variable: str, value: str, problem: str
) -> None:
    command = [sys.executable, "-m", "ops.health.container", *arguments]

    done = subprocess.run(
        command, check=False, env={variable: value}, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (1, "")
    assert problem in done.stdout


def test_an_answer_that_is_not_http_is_a_failure_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"AMQP\r\n\r\n")

        thread = Thread(target=answer)
        thread.start()

        problem = container._unanswered(f"http://127.0.0.1:{server.getsockname()[1]}/")

        thread.join()
    assert problem == "AMQP\r\n"


def run(machine: Path, pid: int, *command: str) -> None:
    (machine / str(pid)).mkdir()
    (machine / str(pid) / "cmdline").write_text("\0".join(command) + "\0")


def test_a_connection_to_any_of_the_brokers_is_seen_while_it_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        urls = f"amqps://broker/postroad, amqps://127.0.0.1:{port}/postroad"
        with socket.create_connection(("127.0.0.1", port)):
            assert check("connected", BROKER_URLS=urls) == 0

    assert check("connected", BROKER_URLS=urls) == 1
