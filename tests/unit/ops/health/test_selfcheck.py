"""What is made of a system that refuses the sign-in of its self-check."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from ops.health.selfcheck import SelfCheckError, check
from ops.local.ports import LOOPBACK


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """A system that answers each sign-in so; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"detail": "so it is"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep quiet."""

    with HTTPServer((LOOPBACK, 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [401, 429], ids=["another password", "locked out"])
def test_a_refused_sign_in_keeps_nothing_from_starting(status: int) -> None:
    with refusing(status) as url:
        said = check(url)

    assert said.startswith("no product was fetched, for admin / admin is refused: ")
    assert said.endswith(f"{status}: so it is")


@pytest.mark.parametrize("status", [400, 421, 500, 503])
def test_any_other_answer_is_an_error(status: int) -> None:
    with refusing(status) as url, pytest.raises(SelfCheckError, match=f"{status}: so it is"):
        check(url)
