"""compose.move.yml: the commands of docs/upgrade-broker.md, from RabbitMQ 3.10 to 4."""

import json
import threading
from collections.abc import Iterator
from time import monotonic

import httpx
import pytest

from postroad.testing import eventually
from tests.e2e.compose import Compose, running_project
from tests.support.docker import docker_answers, docker_gives
from tests.support.nodes import DEFAULT_IMAGE

OLD_IMAGE = "rabbitmq:3.10-management"
pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(
        not (docker_answers() and docker_gives(OLD_IMAGE)), reason="Docker does not answer"
    ),
    pytest.mark.timeout(600),
]

PASSWORD = "a password of this test"
FILES = "/var/lib/postroad/broker"
OLD, NEW = "amqps://broker:5671/postroad", "amqps://broker-2:5671/postroad"
MOVE = ("--from", OLD, "--to", NEW)
WORKERS = ("auth_audit", "catalog_sync")
MOST_S = 5.0  # without answers
WORKED_OFF_S = 60.0


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    variables = {
        "RABBITMQ_IMAGE": OLD_IMAGE,
        "RABBITMQ_2_IMAGE": DEFAULT_IMAGE,
        "BROKER_URLS": OLD,
    }
    with running_project("compose.move.yml", **variables) as compose:
        yield compose


@pytest.fixture(scope="module")
def user(compose: Compose) -> Iterator[httpx.Client]:
    with compose.sign_in("reader", PASSWORD, role="operator") as user:
        yield user


class Looking:
    """Asks for a product again and again, and notes when that failed."""

    def __init__(self, user: httpx.Client) -> None:
        self._user = user
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.failed: list[float] = []

    @property
    def failed_s(self) -> float:
        return max(self.failed) - min(self.failed) if self.failed else 0.0

    def __enter__(self) -> "Looking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            status = self._user.get("/products/1").status_code
            if status != 200:
                self.failed.append(monotonic())


def rabbitmqctl(compose: Compose, broker: str, *arguments: str) -> str:
    return compose("exec", "--no-TTY", broker, "rabbitmqctl", "--quiet", *arguments)


def waiting(compose: Compose, broker: str) -> dict[str, int]:
    listing = ("--formatter", "json", "list_queues", "-p", "postroad", "name", "messages")
    found = json.loads(rabbitmqctl(compose, broker, *listing))
    return {each["name"]: each["messages"] for each in found if each["messages"]}


async def test_the_system_moves_as_the_page_says(compose: Compose, user: httpx.Client) -> None:
    prepare(compose)
    accepted = give_out_work(compose, user)

    with Looking(user) as looking:
        switch(compose)
        carried = compose.postroad("move-broker", "carry", *MOVE)

    rabbitmqctl(compose, "broker-2", "import_definitions", f"{FILES}/definitions.json")
    compose("start", *WORKERS)
    await eventually(lambda: is_done(user, accepted), timeout_s=WORKED_OFF_S)
    assert "of work.auth.audit" in carried
    assert "of work.catalog.sync" in carried
    assert waiting(compose, "broker") == {}
    assert "signed in" in compose.postroad("users", "history", "reader")
    assert looking.failed_s <= MOST_S, looking.failed


def prepare(compose: Compose) -> None:
    compose.postroad("move-broker", "prepare")
    rabbitmqctl(compose, "broker-2", "import_definitions", f"{FILES}/move-shut.json")
    compose.env["BROKER_URLS"] = f"{OLD},{NEW}"
    compose.up()
    exported = rabbitmqctl(compose, "broker-2", "export_definitions", "-")
    run = ("run", "--rm", "--no-TTY", "--no-deps", "postroad")
    check = (*run, "move-broker", "check", *MOVE, "--exported", "-")
    assert compose(*check, stdin=exported).endswith("nothing is in the way\n")


def give_out_work(compose: Compose, user: httpx.Client) -> httpx.Response:
    compose("stop", *WORKERS)
    user.post("/auth", json={"username": "reader", "password": PASSWORD}).raise_for_status()
    return user.post("/products/sync").raise_for_status()


def switch(compose: Compose) -> None:
    rabbitmqctl(compose, "broker", "import_definitions", f"{FILES}/move-shut.json")
    rabbitmqctl(compose, "broker-2", "import_definitions", f"{FILES}/move-open.json")
    rabbitmqctl(compose, "broker", "close_all_connections", "--vhost", "postroad", "moved")


def is_done(user: httpx.Client, accepted: httpx.Response) -> bool:
    sync = user.get(accepted.headers["location"])
    return sync.status_code == 200 and bool(sync.json()["data"]["status"] == "done")
