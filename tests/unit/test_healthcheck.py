"""The health check of a container, run as a container runs it."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest


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


def check(*arguments: str, **environment: str) -> int:
    command = [sys.executable, "-m", "ops.healthcheck", *arguments]
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


def test_a_connection_to_any_of_the_brokers_is_seen_while_it_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        urls = f"amqps://broker/postroad, amqps://127.0.0.1:{port}/postroad"
        with socket.create_connection(("127.0.0.1", port)):
            assert check("connected", BROKER_URLS=urls) == 0

    assert check("connected", BROKER_URLS=urls) == 1
