"""`postroad dead-letters show --json | postroad test-from -`, with a real broker's dead letters."""

import asyncio
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.services.manifests import manifests
from ops.terminal.logs import hide_logs
from postroad.broker.interfaces import Broker
from postroad.contracts.catalog import GetProduct, Product
from postroad.contracts.errors import InternalError
from postroad.security.access_tokens import AccessToken
from postroad.testing import access_token, calling, eventually, serving
from postroad.topology.names import dead_queue, rpc_queue
from tests.integration.dead_letters.running import Captured, Command, Running
from tests.support.services import LAMP

ROOT = Path(__file__).parents[3]
DEAD_REQUESTS = dead_queue(rpc_queue("catalog"))
HANDLERS = """
from postroad.contracts.catalog import GetProduct, Product

LAMP = Product(id=7, title="Lamp", price=12.5, description="")

async def get_product(request: GetProduct) -> Product:
    return {}
"""


def run_pytest(folder: Path) -> str:
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-o", "asyncio_mode=auto"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "."],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}:{ROOT / 'shared'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class RealBroker:
    """The running one, as ``postroad.testing`` takes it."""

    running: Running

    def as_user(self, user: str) -> Broker:
        return self.running.broker_as(user)


async def get_product(request: GetProduct) -> Product:
    return {7: LAMP}[request.product_id]


async def fail_on_a_request(running: Running) -> AccessToken:
    """Let a worker fail on a request by a bug; return the token that it carried."""
    keys = {name: running.keys(name) for name in ("auth", "bridge", "catalog")}
    user = access_token(keys["bridge"], keys["auth"].identity)
    broker = RealBroker(running)
    async with (
        serving(broker, keys["catalog"], {GetProduct: get_product}),
        calling(broker, keys["bridge"]) as client,
    ):
        with pytest.raises(InternalError):
            await client.call(GetProduct(product_id=8), user=user)
    await eventually(lambda: running.depth(DEAD_REQUESTS) == 1)
    return user


@pytest.fixture
def letters(running: Running, command: Command) -> Iterator[Running]:
    yield running
    command("purge", "--queue", "rpc.catalog", "--yes")


def test_a_request_that_died_of_a_bug_is_a_test_that_fails_of_it(
    letters: Running,
    command: Command,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    handlers, written = tmp_path / "mine.py", tmp_path / "test_mine.py"
    handlers.write_text(HANDLERS.format("{7: LAMP}[request.product_id]"))
    for each in manifests():
        (tmp_path / each.folder.name).symlink_to(each.folder)
    hide_logs()
    user = asyncio.run(fail_on_a_request(letters))
    monkeypatch.syspath_prepend(tmp_path)
    capsys.readouterr()

    assert command("show", "--queue", "rpc.catalog", "--n", "1", "--json") == 0
    letter = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO(letter))
    assert run_command(["test-from", "-", "--handler", "mine:get_product"]) == 0

    text = capsys.readouterr().out
    written.write_text(text)
    assert user.text in letter
    assert user.text not in text
    said = run_pytest(tmp_path)
    assert re.search("^E +KeyError: 8$", said, re.MULTILINE), said
    assert "1 failed in" in said
    handlers.write_text(HANDLERS.format("LAMP"))
    assert "1 passed in" in run_pytest(tmp_path)
