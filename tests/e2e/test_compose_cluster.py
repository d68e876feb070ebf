"""compose.cluster.yml: one of three brokers dies under load."""

import asyncio
import json
import re
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from urllib.parse import quote_plus

import httpx
import jwt
import pytest

from postroad.testing import eventually
from tests.e2e.compose import Compose, running_project
from tests.support.docker import docker_answers

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not docker_answers(), reason="Docker does not answer"),
    pytest.mark.timeout(600),
]

PASSWORD = "a password of this test"
NODES = {"broker", "broker-2", "broker-3"}
BEFORE_S, WATCHED_S = 3.0, 20.0  # of load before the node dies, and after
RECOVERED_S = 15.0  # from then on every request is answered
WORKED_OFF_S = 60.0


class Load:
    """Requests, sign-ins and syncs, one after the other, from threads of their own."""

    def __init__(self, compose: Compose, user: httpx.Client) -> None:
        self._compose = compose
        self._user = user
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=each)
            for each in ((self._request, 0.05), (self._sign_in, 0.5), (self._sync, 2.0))
        ]
        self.requests: list[tuple[float, int]] = []  # when it was answered, and how
        self.sessions: set[str] = set()  # of sign-ins that were answered: each is an event
        self.syncs: list[str] = []  # that were accepted: each is an event, and many jobs

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, act: object, pause_s: float) -> None:
        assert callable(act)
        while not self._over.wait(pause_s):
            act()

    def _request(self) -> None:
        status = self._user.get("/products/1").status_code
        self.requests.append((monotonic(), status))

    def _sign_in(self) -> None:
        credentials = {"username": "reader", "password": PASSWORD}
        answer = httpx.post(f"{self._compose.url}/auth", json=credentials, timeout=10)
        if answer.status_code == 200:
            token = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
            self.sessions.add(token["sid"])

    def _sync(self) -> None:
        answer = self._user.post("/products/sync")
        if answer.status_code == 202 and answer.headers["location"] not in self.syncs:
            self.syncs.append(answer.headers["location"])


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    with running_project("compose.cluster.yml") as compose:
        yield compose


@pytest.fixture(scope="module")
def user(compose: Compose) -> Iterator[httpx.Client]:
    with compose.sign_in("reader", PASSWORD, role="operator") as user:
        yield user


def queues(compose: Compose, *columns: str, node: str = "broker-3") -> list[dict[str, object]]:
    listing = ("rabbitmqctl", "--quiet", "--formatter", "json", "list_queues", "-p", "postroad")
    found: list[dict[str, object]] = json.loads(
        compose("exec", "--no-TTY", node, *listing, "name", *columns)
    )
    return [queue for queue in found if not str(queue["name"]).startswith("amq.gen-")]


def test_every_queue_has_a_copy_on_each_node(compose: Compose) -> None:
    found = queues(compose, "type", "members", "online")

    nodes = {f"rabbit@{name}" for name in NODES}
    assert len(found) >= 12
    for queue in found:
        assert queue["type"] == "quorum"
        assert set(queue["members"]) == set(queue["online"]) == nodes  # type: ignore[call-overload]


def test_leaders_are_spread_over_the_nodes(compose: Compose) -> None:
    leaders = Counter(str(queue["leader"]) for queue in queues(compose, "leader"))

    even = leaders.total() / len(NODES)
    assert max(leaders.values()) <= even + 1, leaders


def test_an_operator_reaches_the_brokers(compose: Compose) -> None:
    assert compose.postroad("dead-letters", "list") == "no dead letters: all is well\n"


def counted_by(compose: Compose, node: str, queue: str) -> str:
    """Return what a node answers KEDA about a queue, as an Erlang term."""
    file = "/var/lib/postroad/services/scaler/broker.password"
    read = ("run", "--rm", "--no-TTY", "--no-deps", "--entrypoint", "cat", "provision", file)
    credentials = b64encode(f"scaler:{compose(*read).strip()}".encode()).decode()
    name = quote_plus(f"^{re.escape(queue)}$")
    asked = f"page=1&use_regex=true&pagination=false&name={name}&page_size=100"
    url = f"http://127.0.0.1:15672/api/queues/postroad?{asked}"
    request = (
        f'Asked = {{"{url}", [{{"authorization", "Basic {credentials}"}}]}}, inets:start(), '
        "{ok, {{_, 200, _}, _, Body}} = httpc:request(get, Asked, [], [{body_format, binary}]), "
        'Found = maps:get(<<"items">>, rabbit_json:decode(Body)), '
        '[maps:get(<<"messages">>, Each) || Each <- Found].'
    )
    return compose("exec", "--no-TTY", node, "rabbitmqctl", "--quiet", "eval", request).strip()


def test_every_node_tells_keda_what_waits_whoever_leads_the_queue(
    compose: Compose, user: httpx.Client
) -> None:
    compose("stop", "auth_audit")  # so that events wait
    credentials = {"username": "reader", "password": PASSWORD}
    assert httpx.post(f"{compose.url}/auth", json=credentials, timeout=10).status_code == 200

    for node in sorted(NODES):

        def is_counted(node: str = node) -> bool:
            return counted_by(compose, node, "work.auth.audit") == "[1]"

        asyncio.run(eventually(is_counted, timeout_s=60))
    compose("start", "auth_audit")


def test_no_node_of_a_cluster_uses_what_rabbitmq_gives_up(
    compose: Compose, user: httpx.Client
) -> None:
    assert user.get("/products/1").status_code == 200

    for node in NODES:
        assert compose.deprecated_features(node) == set()


async def test_a_node_that_dies_under_load_costs_seconds_and_no_job_or_event(
    compose: Compose, user: httpx.Client
) -> None:
    def leader(name: str) -> str:
        (found,) = [queue for queue in queues(compose, "leader") if queue["name"] == name]
        return str(found["leader"]).removeprefix("rabbit@")

    doomed = leader("rpc.catalog")  # the one that requests would miss most
    with Load(compose, user) as load:
        await asyncio.sleep(BEFORE_S)
        compose("kill", doomed)
        died = monotonic()
        await asyncio.sleep(WATCHED_S)
    compose.up("--no-recreate")  # it comes back

    late = [status for when, status in load.requests if when > died + RECOVERED_S]
    assert late
    assert set(late) == {200}
    assert {status for _, status in load.requests} <= {200, 503, 504}

    def are_worked_off() -> bool:
        answers = [user.get(location).json()["data"]["status"] for location in load.syncs]
        return set(answers) == {"done"}

    def are_noted() -> bool:
        asked = "SELECT session_id FROM audit WHERE what = 'auth.login.succeeded'"
        psql = ("psql", "--username", "postgres", "--dbname", "auth", "-At", "--command", asked)
        return load.sessions <= set(compose("exec", "--no-TTY", "database", *psql).split())

    assert load.syncs
    assert load.sessions
    await eventually(are_worked_off, timeout_s=WORKED_OFF_S)
    await eventually(are_noted, timeout_s=WORKED_OFF_S)

    def are_whole() -> bool:
        nodes = {f"rabbit@{name}" for name in NODES}
        return all(set(queue["online"]) == nodes for queue in queues(compose, "online"))  # type: ignore[call-overload]

    await eventually(are_whole, timeout_s=WORKED_OFF_S)
