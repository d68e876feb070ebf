"""Services of other teams, added to a running system and revoked on it."""

import asyncio
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pika
import pytest
from httpx import AsyncClient

from ops.services import grants, programs
from ops.terminal.interrupts import INTERRUPTED
from postroad.contracts.catalog import ListProducts
from postroad.contracts.errors import NotAuthorised, Unavailable
from postroad.testing import eventually
from postroad.topology.names import RPC_EXCHANGE
from tests.e2e.system import System
from tests.support.wheels import Environment, build_wheel, scripts_of_the_guide

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

TIMEOUT_S = 60.0
ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "direct-publishers.md").read_text()


async def postroad(
    system: System, *arguments: str, typed: str = "", **environment: str
) -> tuple[int, str, str]:
    """Run the `postroad` command on a system; give its status and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", *arguments, "--state", str(system.state.folder)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
    )
    output, errors = await asyncio.wait_for(process.communicate(typed.encode()), TIMEOUT_S)
    return process.returncode or 0, output.decode(), errors.decode()


async def test_an_added_service_can_call_at_once_and_a_revoked_one_no_more(system: System) -> None:
    status, said, _ = await postroad(
        *(system, "services", "add", "shop"),
        *("--calls", "catalog.products.*", "--listens", "auth.login.*"),
    )
    assert status == 0
    assert f"IDENTITY_FILE={system.state.identity_file('shop')}" in said
    assert f"BROKER_URLS=amqp://{system.broker.address}/postroad" in said

    async with system.calling_as("shop") as client:
        page = await client.call(ListProducts(limit=2))  # no worker has been started again
        assert len(page.data) == 2

        status, _, errors = await postroad(system, "services", "revoke", "shop")
        assert (status, errors) == (0, "")

        await eventually(lambda: not client.is_connected)  # the broker has closed its connections
        with pytest.raises((NotAuthorised, Unavailable)):  # as soon as it reads the trust bundle
            await client.call(ListProducts(limit=2))
    users = await system.broker.ctl("list_users")
    assert "shop" not in users.split()


async def test_an_added_service_may_do_nothing_that_was_not_granted(system: System) -> None:
    await postroad(system, "services", "add", "returns", "--calls", "catalog.products.*")

    def publish(routing_key: str) -> None:
        with system.connect("returns") as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(RPC_EXCHANGE, routing_key, b"{}")

    await asyncio.to_thread(publish, "catalog.products.list")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
        await asyncio.to_thread(publish, "catalog.categories.list")
    assert (await postroad(system, "services", "revoke", "returns"))[0] == 0


async def test_who_was_revoked_while_nothing_ran_is_forgotten_at_the_next_start(
    system: System,
) -> None:
    await system.broker.ctl("add_user", "ghost", "password")
    system.state.write_revoked({"ghost", "never_known"})

    await grants.forget_revoked(system.state, system.broker)

    assert "ghost" not in (await system.broker.ctl("list_users")).split()
    assert system.state.revoked() == set()


async def test_a_call_from_the_terminal_prints_the_reply(system: System) -> None:
    status, said, _ = await postroad(system, "call", "catalog.products.list", "limit=2")

    assert status == 0
    assert len(json.loads(said)["data"]) == 2


async def test_a_call_that_fails_says_why_in_a_sentence(system: System) -> None:
    unknown = await postroad(system, "call", "catalog.products.get", "product_id=999999")
    forbidden = await postroad(
        system, "call", "auth.sessions.end", "--as", "catalog", "--timeout", "1"
    )
    stranger = await postroad(system, "call", "catalog.categories.list", "--as", "stranger")
    for_a_user = await postroad(system, "call", "catalog.categories.list", "--as", "bridge")

    assert unknown[:2] == forbidden[:2] == stranger[:2] == for_a_user[:2] == (1, "")
    assert unknown[2].endswith("postroad: product_not_found: no product 999999\n")
    assert forbidden[2] == "postroad: catalog may not call auth.sessions.end\n"
    assert stranger[2].startswith("postroad: no service stranger; ")
    assert for_a_user[2] == "postroad: not_authenticated: no token\n"


async def test_a_call_can_be_for_a_user(system: System, token: str, tmp_path: Path) -> None:
    file, other = tmp_path / "token", tmp_path / "other"
    file.write_text(f"{token}\n")
    other.write_text("no token")
    profile = ("call", "auth.profiles.get", "--as", "bridge", "--token-file")

    status, said, _ = await postroad(system, *profile, str(file))
    refused = await postroad(system, *profile, str(other))
    missing = await postroad(system, *profile, str(tmp_path / "missing"))

    assert (status, json.loads(said)["username"]) == (0, "admin")
    assert refused[:2] == missing[:2] == (1, "")
    assert refused[2].startswith(f"postroad: {other} holds no access token that would be accepted")
    assert "no token\n" not in refused[2]
    assert (
        missing[2] == f"postroad: cannot read {tmp_path / 'missing'}: No such file or directory\n"
    )


async def test_the_shell_runs_code_from_its_standard_input(
    system: System, token: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(token)
    for_a_user = ("shell", "--as", "bridge", "--token-file", str(tmp_path / "token"))

    total = await postroad(
        system, "shell", typed="print((await call(ListProducts(limit=2))).total)"
    )
    unknown = await postroad(system, "shell", typed="await call(GetProduct(product_id=999999))")
    user = await postroad(system, *for_a_user, typed="print(await call(GetOwnUser()))")

    assert total[:2] == (0, "120\n")
    assert unknown[:2] == (1, "")
    assert unknown[2].endswith("line 1: ProductNotFound: no product 999999\n")
    assert (user[0], user[2]) == (0, "")
    assert "username='admin'" in user[1]


async def test_the_shell_goes_on_after_errors_and_ctrl_c_until_ctrl_d(system: System) -> None:
    outside, inside = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", "shell", "--state", str(system.state.folder)),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env=os.environ | {"TERM": "dumb"},
        preexec_fn=lambda: fcntl.ioctl(inside, termios.TIOCSCTTY, 0),  # Ctrl-C is for it
        start_new_session=True,
    )
    os.close(inside)

    def shown(*, until: bytes) -> bytes:
        seen = b""
        while until not in seen:
            assert select.select([outside], [], [], TIMEOUT_S)[0], seen
            seen += os.read(outside, 65_536)
        return seen

    async def answer(typed: bytes) -> bytes:
        os.write(outside, typed)
        return await asyncio.to_thread(shown, until=b"\n>>> ")

    try:
        banner = await asyncio.to_thread(shown, until=b"\n>>> ")
        page = await answer(b"await call(ListProducts(limit=2))\n")
        unknown = await answer(b"await call(GetProduct(product_\t999999))\n")
        os.write(outside, b"print('wai' + 'ting'); await asyncio.sleep(60)\n")
        await asyncio.to_thread(shown, until=b"waiting")
        interrupted = await answer(b"\x03")
        given_up = await answer(b"1 +\x03")
        still = await answer(b"(await call(ListProducts())).total\n")
        os.write(outside, b"\x04")
        status = await asyncio.wait_for(process.wait(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(outside)

    assert b"Postroad, as operator. Try: await call(ListProducts(limit=2))\r\n" in banner
    assert b"ProductPage(data=[Product(id=1, " in page
    assert b"\nProductNotFound: no product 999999\r\n" in unknown
    assert b"KeyboardInterrupt\r\n" in interrupted
    assert b"KeyboardInterrupt\r\n" in given_up
    assert b"\n120\r\n" in still
    assert status == 0


async def signed_in_before(listener: asyncio.subprocess.Process, visitor: AsyncClient) -> None:
    """Sign in, as soon as a script says that it listens."""
    assert listener.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        while (line := await listener.stdout.readline()) != b"listening\n":
            assert line
    signed_in = await visitor.post("/auth", json={"username": "admin", "password": "admin"})
    assert signed_in.status_code == 200


async def test_what_the_documentation_shows_runs(
    system: System, visitor: AsyncClient, tmp_path: Path
) -> None:
    commands = re.findall(r"^\$ \.venv/bin/postroad (.*)\n((?:>>> .*\n)*)", GUIDE, re.MULTILINE)
    scripts = scripts_of_the_guide(tmp_path)
    assert (len(commands), len(scripts)) == (4, 4)
    installed = Environment.create(tmp_path / "venv")
    await asyncio.to_thread(installed.install, build_wheel(tmp_path))

    for command, prompts in commands:
        typed = prompts.replace(">>> ", "")
        status, said, errors = await postroad(system, *shlex.split(command), typed=typed)
        assert (status, errors) == (0, ""), command
        assert said

    environment = programs.messaging_environment(system.state, "shop", system.broker.address)
    outputs = []
    for script in scripts:
        process = await asyncio.create_subprocess_exec(
            *(installed.python, script),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in ("PATH", "HOME")} | environment,
        )
        if "listen(" in script.read_text():
            await signed_in_before(process, visitor)
        output, logged = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert (process.returncode, logged) == (0, b""), script.read_text()
        outputs.append(output.decode().splitlines()[-1])

    assert [outputs[0].split()[0], outputs[2]] == ["5", "60"]
    assert outputs[1].endswith(" sold out")
    assert re.fullmatch(r"user \d+ has signed in: [\w.-]+", outputs[3])
    assert (await postroad(system, "services", "revoke", "shop"))[0] == 0


@asynccontextmanager
async def tailing(system: System, pattern: str) -> AsyncIterator[Process]:
    """Run `postroad tail events`; it listens when this is entered."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.cli", "tail", "events", pattern),
        *("--state", str(system.state.folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not (await process.stderr.readline()).startswith(b"postroad: listening to auth."):
                assert process.returncode is None
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_tail_shows_events_as_they_happen(system: System, visitor: AsyncClient) -> None:
    async with tailing(system, "auth.login.#") as process, asyncio.timeout(TIMEOUT_S):
        assert process.stdout is not None
        signed_in = await visitor.post("/auth", json={"username": "admin", "password": "admin"})
        line = json.loads(await process.stdout.readline())
        process.send_signal(signal.SIGINT)
        await process.communicate()

    assert signed_in.status_code == 200
    assert line["event"] == "auth.login.succeeded"
    assert process.returncode == INTERRUPTED


async def test_tail_ends_without_a_word_when_nobody_reads_any_more(system: System) -> None:
    async with tailing(system, "auth.#") as process, asyncio.timeout(TIMEOUT_S):
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        assert process.stderr is not None
        said = await process.stderr.read()
        await process.wait()

    assert (process.returncode, said) == (141, b"")
