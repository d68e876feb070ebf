"""The private RabbitMQ node: what it serves, and that it leaves nothing behind."""

import asyncio
import base64
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

import pika
import pytest

from ops.local import ports
from ops.local.broker import BrokerError, PrivateBroker
from ops.local.broker_node import Ports
from ops.local.ports import LOOPBACK, free_ports
from ops.local.processes import command_line, settle

pytestmark = pytest.mark.integration

SALT = b"salt"
HASH = base64.b64encode(SALT + hashlib.sha256(SALT + b"secret").digest()).decode()
DEFINITIONS = {
    "users": [{"name": "courier", "password_hash": HASH, "tags": []}],
    "vhosts": [{"name": "postroad"}],
    "permissions": [
        {"user": "courier", "vhost": "postroad", "configure": ".*", "write": ".*", "read": ".*"}
    ],
    "queues": [
        {
            "name": "letters",
            "vhost": "postroad",
            "durable": True,
            "auto_delete": False,
            "arguments": {},
        }
    ],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A node for tests that only look, in a folder and a locale that do not make it easy."""
    folder = tmp_path_factory.mktemp("Ünser bröker, 日本 #1")
    broker = PrivateBroker(folder, DEFINITIONS, management=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LC_ALL", "C")
        environment.delenv("LANG", raising=False)
        asyncio.run(broker.start())
    yield broker
    asyncio.run(broker.stop())


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A node for tests that stop or kill it."""
    broker = PrivateBroker(tmp_path_factory.mktemp("mortal"), DEFINITIONS)
    yield broker
    broker.kill()


@pytest.fixture
async def broker(mortal: PrivateBroker) -> PrivateBroker:
    """The same, started: what the test before left running is taken as it is."""
    await mortal.start()
    return mortal


def connect(broker: PrivateBroker, password: str = "secret") -> pika.BlockingConnection:
    credentials = pika.PlainCredentials("courier", password)
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            LOOPBACK, broker.ports.amqp, virtual_host="postroad", credentials=credentials
        )
    )


def send_letter(broker: PrivateBroker, letter: bytes) -> None:
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
        channel.basic_publish("", "letters", letter, persistent, mandatory=True)


def next_letter(broker: PrivateBroker) -> bytes | None:
    with connect(broker) as connection:
        letter: bytes | None
        _, _, letter = connection.channel().basic_get("letters", auto_ack=True)
        return letter


def listening_addresses(port: int) -> set[str]:
    """Addresses with a listener on the port, as the kernel writes them (proc_net_tcp(5))."""
    lines = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
    ]
    ends = [line[1].split(":") for line in lines if line[3] == "0A"]
    return {address for address, hex_port in ends if int(hex_port, 16) == port}


def session_of(pid: int | None) -> list[int]:
    """The processes in the session that `pid` leads, and in those of its children's helpers."""
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            members.append(int(folder.name))
    return members


def test_a_user_of_the_definitions_signs_in(running: PrivateBroker) -> None:
    with connect(running) as connection:
        assert connection.is_open


def test_a_wrong_password_is_refused(running: PrivateBroker) -> None:
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect(running, password="guess")


async def test_there_is_no_guest(running: PrivateBroker) -> None:
    assert "guest" not in await running.ctl("list_users")


async def test_every_port_listens_on_loopback_only(running: PrivateBroker) -> None:
    loopback = {"0100007F", "00000000000000000000000001000000"}
    ports = running.ports

    for port in (ports.amqp, ports.management, ports.distribution, ports.epmd):
        assert listening_addresses(port)
        assert listening_addresses(port) <= loopback


def test_only_the_owner_reads_secrets(running: PrivateBroker) -> None:
    folder = running.log.parent

    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "definitions.json").stat().st_mode & 0o077 == 0
    assert (folder / ".erlang.cookie").stat().st_mode & 0o077 == 0


async def test_rabbitmqctl_reports_its_own_failure(running: PrivateBroker) -> None:
    with pytest.raises(BrokerError, match="no_such_command"):
        await running.ctl("no_such_command")


async def test_names_beyond_ascii_reach_rabbitmqctl_and_come_back(running: PrivateBroker) -> None:
    await running.ctl("add_vhost", "Ünser")

    assert "Ünser" in (await running.ctl("list_vhosts", "name")).splitlines()


async def test_messages_and_ports_survive_a_restart(broker: PrivateBroker) -> None:
    ports = broker.ports
    send_letter(broker, b"dear reader")

    await broker.restart()

    assert broker.ports == ports
    assert next_letter(broker) == b"dear reader"


async def test_confirmed_messages_survive_kill_9(broker: PrivateBroker) -> None:
    send_letter(broker, b"dear reader")

    broker.kill()
    await broker.start()

    assert next_letter(broker) == b"dear reader"


async def test_a_crashed_node_is_noticed_and_starts_again(broker: PrivateBroker) -> None:
    crashed = broker.pid
    assert crashed

    os.kill(crashed, signal.SIGKILL)
    await asyncio.wait_for(broker.ended(), timeout=10)
    await broker.start()

    assert broker.running
    assert broker.pid != crashed


async def test_the_node_dies_with_its_parent(tmp_path: Path) -> None:
    story = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from ops.local.broker import PrivateBroker\n"
        "broker = PrivateBroker(Path(sys.argv[1]))\n"
        "asyncio.run(broker.start())\n"
        "print(broker.pid, broker.ports.epmd, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", story, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        node, epmd_port = map(int, parent.stdout.readline().split())
        assert listening_addresses(epmd_port)

        parent.send_signal(signal.SIGKILL)

        assert await settle(
            lambda: not session_of(node) and not listening_addresses(epmd_port), timeout_s=10
        )


async def test_a_node_left_by_an_earlier_run_is_ended(broker: PrivateBroker) -> None:
    stale = broker.pid
    heir = PrivateBroker(broker.log.parent, DEFINITIONS)

    await heir.start()

    try:
        assert not broker.running
        assert heir.pid not in (None, stale)
    finally:
        await heir.stop()


async def test_a_process_that_took_the_old_number_is_left_alone(mortal: PrivateBroker) -> None:
    mortal.kill()
    with subprocess.Popen(["sleep", "600"]) as stranger:
        (mortal.log.parent / "pid").write_text(str(stranger.pid))

        await mortal.start()

        assert stranger.poll() is None
        stranger.kill()


async def test_stopping_twice_leaves_no_process(broker: PrivateBroker) -> None:
    leader = broker.pid
    assert leader in session_of(leader)

    await broker.stop()
    await broker.stop()

    assert not broker.running
    assert session_of(leader) == []
    assert not listening_addresses(broker.ports.epmd)


async def test_a_broken_setting_is_reported_with_what_the_log_says(tmp_path: Path) -> None:
    broker = PrivateBroker(tmp_path, settings={"no.such.setting": "1"})

    with pytest.raises(BrokerError, match=r"ended while starting(.|\n)*no\.such\.setting"):
        await broker.start()

    assert broker.pid is None


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        broker = PrivateBroker(tmp_path, ports=Ports(port, *free_ports(4)))

        with pytest.raises(BrokerError, match=f"port {port} .* is taken"):
            await broker.start()


@pytest.mark.parametrize("which", ["amqp", "epmd"])
async def test_a_node_moves_when_a_port_is_taken_while_it_boots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    broker = PrivateBroker(tmp_path, DEFINITIONS)
    before = broker.ports
    monkeypatch.setattr(ports, "check", lambda _: None)  # nobody was there when we looked
    with ExitStack() as afterwards:
        afterwards.callback(broker.kill)
        with socket.create_server((LOOPBACK, getattr(before, which))):
            await broker.start()

        assert not set(asdict(before).values()) & set(asdict(broker.ports).values())
        with connect(broker) as connection:
            assert connection.is_open


async def test_a_port_for_tls_that_is_taken_keeps_a_node_from_starting(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        broker = PrivateBroker(tmp_path, settings={"listeners.ssl.1": f"{LOOPBACK}:{port}"})

        with pytest.raises(BrokerError, match=f"port {port} .* is taken"):
            await broker.start()


async def test_rabbitmqctl_does_without_the_eleven_ports_of_the_machine(
    running: PrivateBroker,
) -> None:
    with ExitStack() as taken:
        for port in range(35_672, 35_683):
            with suppress(OSError):  # somebody has it already
                taken.enter_context(socket.create_server((LOOPBACK, port)))

        assert "courier" in await running.ctl("list_users")


async def test_a_machine_without_rabbitmq_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("ops.local.broker_node._PLACES", ())

    with pytest.raises(BrokerError, match="rabbitmq-server is not installed; run bin/setup"):
        await PrivateBroker(tmp_path / "broker").start()


def test_our_own_command_line_is_read() -> None:
    assert command_line(os.getpid())[0].endswith(Path(sys.executable).name)
