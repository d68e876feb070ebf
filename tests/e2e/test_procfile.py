"""The Procfile, as a host runs it: a shell, variables, no files, and servers that others run.

The broker has a certificate that the system trusts and asks for none of ours; the database's URL
is one of theirs. What a person does is what docs/hosting.md says.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from ops.local.broker import PrivateBroker
from ops.local.ports import LOOPBACK, free_ports, is_listening
from ops.state.certificates import Authority
from ops.state.folder import StateFolder
from postroad.testing import eventually
from postroad.topology.definitions import with_passwords
from postroad.topology.names import VHOST
from tests.e2e.system import until_ready
from tests.support import sample_upstream
from tests.support.nodes import ADMIN, ADMIN_PASSWORD, PrivateNode
from tests.support.postgres import running_postgres
from tests.support.sample_upstream import ROOT

pytestmark = pytest.mark.integration

PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
BARE = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
ANOTHER_LOOPBACK = "127.0.0.2"  # where nobody answers who listens on 127.0.0.1 alone
USER = {"username": "reader", "password": "a password for the tests"}
TIMEOUT_S = 30.0

Process = subprocess.Popen[bytes]


class Host:
    """Runs one-off commands, and the lines of the Procfile, with the app's variables."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.variables = variables
        self.processes: dict[str, Process] = {}
        self.url = f"http://{ANOTHER_LOOPBACK}:{variables['PORT']}"

    def run(self, command: str, *, said: str = "") -> str:
        return subprocess.run(
            command,
            shell=True,  # as these hosts do
            cwd=ROOT,
            env=BARE | self.variables,
            input=said.encode(),
            stdout=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=True,
        ).stdout.decode()

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                PROCFILE[name],
                shell=True,
                cwd=ROOT,
                env=BARE | self.variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> dict[str, int]:
        """Ask all processes to end, as a host does that knows no children; say how each one did."""
        for process in self.processes.values():
            process.terminate()
        return {name: process.wait(TIMEOUT_S) for name, process in self.processes.items()}

    def kill(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def logged(self) -> str:
        return "".join(file.read_text() for file in self.folder.glob("*.log"))


def managed_broker(folder: Path) -> tuple[PrivateNode, int]:
    """Start a broker with an administrator alone, and say where it listens for TLS."""
    tls = folder / "tls"
    for each in (folder / "authority", tls):
        each.mkdir(parents=True)
    Authority(folder / "authority").keep(tls, "broker", hosts=(LOOPBACK,))
    (port,) = free_ports(1)
    administrator = {"users": [{"name": ADMIN, "tags": ["administrator"]}]}
    broker = PrivateBroker(
        folder / "node",
        with_passwords(administrator, {ADMIN: ADMIN_PASSWORD}),
        settings={
            "listeners.ssl.1": f"{LOOPBACK}:{port}",
            "ssl_options.certfile": str(tls / "certificate.pem"),
            "ssl_options.keyfile": str(tls / "key.pem"),
        },
        management=True,
    )
    asyncio.run(broker.start())
    return PrivateNode(broker), port


def inline_variables(folder: Path, node: PrivateNode) -> dict[str, str]:
    """Do what a person does at home, and leave none of the files."""
    here = Host(folder, {"POSTROAD_STATE": str(folder / "keys"), "PORT": "0"})
    here.run("python -m ops.cli provision")
    definitions = StateFolder(folder / "keys").definitions_file
    node.management.import_definitions(json.loads(definitions.read_bytes()))
    lines = here.run("python -m ops.cli services env --inline").splitlines()
    shutil.rmtree(folder / "keys")
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with ExitStack() as running:
        node, amqps_port = managed_broker(folder / "broker")
        running.callback(node.kill)
        databases = running.enter_context(running_postgres())
        _, upstream = running.enter_context(sample_upstream.running())
        (port,) = free_ports(1)
        host = Host(
            folder,
            {
                "PORT": str(port),
                "BROKER_URLS": f"amqps://{LOOPBACK}:{amqps_port}/{VHOST}",
                "SSL_CERT_FILE": str(folder / "broker" / "tls" / "ca.pem"),
                "AUTH_DATABASE_URL": as_managed(databases.new_database()),
                "CATALOG_DATABASE_URL": as_managed(databases.new_database()),
                "CATALOG_UPSTREAM_URL": upstream,
                **inline_variables(folder, node),
            },
        )
        running.callback(host.kill)
        yield host


def as_managed(url: str) -> str:
    separator = "&" if "?" in url else "?"
    return f"{url.replace('postgresql://', 'postgres://')}{separator}sslmode=prefer"


async def test_with_variables_alone_all_its_lines_do_their_work(host: Host) -> None:
    host.run(PROCFILE["release"])
    command = "python -m ops.cli users add reader --role operator --password-stdin"
    host.run(command, said=USER["password"])

    for name in PROCFILE.keys() - {"release"}:
        host.start(name)

    await until_ready(host.url)
    async with httpx.AsyncClient(base_url=host.url, timeout=10) as http:
        session = (await http.post("/auth", json=USER)).json()
        http.headers["Authorization"] = f"Bearer {session['access_token']}"
        products = await http.get("/products", params={"limit": 1})
        assert products.json()["total"] > 0
        place = (await http.post("/products/sync")).headers["Location"]

        async def is_synced() -> bool:
            return bool((await http.get(place)).json()["data"]["status"] == "done")

        await eventually(is_synced, timeout_s=TIMEOUT_S)
    history = "python -m ops.cli users history reader"
    await eventually(lambda: "signed in" in host.run(history), timeout_s=TIMEOUT_S)
    ends = host.stop()
    assert ends.pop("web") == -signal.SIGTERM  # uvicorn drains, and then lets it end the process
    assert not is_listening(int(host.variables["PORT"]))
    assert set(ends.values()) == {0}
    secrets = [host.variables[name] for name in host.variables if name.endswith("_PASSWORD")]
    for name in ("BRIDGE", "AUTH", "CATALOG"):
        secrets += [key["d"] for key in json.loads(host.variables[f"{name}_IDENTITY"])["keys"]]
    assert not [secret for secret in secrets if secret in host.logged()]


def test_with_only_a_port_it_says_what_is_missing_and_how_to_set_it() -> None:
    done = subprocess.run(
        PROCFILE["web"],
        shell=True,
        cwd=ROOT,
        env=BARE | {"PORT": "1"},
        capture_output=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "cannot start: BROKER_URLS: Field required",
        *(
            f"cannot start: {name}_FILE: is missing; or set {name} to what would be in that file"
            for name in ("BROKER_PASSWORD", "IDENTITY", "TRUST")
        ),
    ]
