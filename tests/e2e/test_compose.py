"""docker-compose.yml from the build to the end, as an operator goes through it."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from textwrap import dedent
from time import monotonic
from typing import Any

import httpx
import pytest

from postroad.testing import eventually
from tests.e2e.compose import ROOT, SETTINGS, CommandFailed, Compose, docker, running_project
from tests.support.docker import docker_answers

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not docker_answers(), reason="Docker does not answer"),
    pytest.mark.timeout(600),
]

PASSWORD = "a password of this test"
AUTH, CATALOG = {"auth_worker", "auth_audit"}, {"catalog_worker", "catalog_sync"}
SERVICES = {*AUTH, *CATALOG, "http_bridge", "upstream"}
OURS = {*SERVICES, "provision", "auth_migrate", "catalog_migrate"}
OVERRIDES = ((), ("compose.cluster.yml",))
USER = 10001
RECOVERY_S = 60.0  # of a broker that was killed, on a busy machine


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    with running_project() as compose:
        yield compose


@pytest.fixture(scope="module")
def reader(compose: Compose) -> Iterator[httpx.Client]:
    """Somebody who may read products, and renew them."""
    with compose.sign_in("reader", PASSWORD, role="operator") as http:
        yield http


def status(http: httpx.Client) -> int:
    return http.get("/products/1").status_code


@pytest.mark.parametrize("overrides", OVERRIDES)
def test_the_files_are_clean(overrides: tuple[str, ...]) -> None:
    files = [argument for file in ("docker-compose.yml", *overrides) for argument in ("-f", file)]

    done = subprocess.run(
        ["docker", "compose", *files, "--profile", "*", "config", "--quiet"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.stdout + done.stderr == ""


def test_the_image_holds_no_tests_no_compiler_and_no_secrets(compose: Compose) -> None:
    compilers = "c[c+][+]?|g(cc|[+][+])|clang([+][+])?|cc1|tcc|rustc|go|ld|as|make|cmake"
    script = f"""
        find /app /venv -type d '(' -name test -o -name tests -o -name testing ')'
        find /app -name 'test_*' -o -name '*_test.py' -o -name conftest.py
        find / -xdev -type f '(' -name '*.password' -o -name identity.json -o -name '.env*' \
            -o -name '.netrc' -o -name 'id_rsa*' -o -name 'id_ed*' -o -name '*.key' ')' \
            ! -path '/usr/share/*' 2>/dev/null
        find / -xdev -regextype posix-extended '(' -type f -o -type l ')' -perm /111 \
            -regex '.*/([a-z0-9_]+-)*({compilers})(-[0-9.]+)?' 2>/dev/null
        find /var/lib/postroad /tmp /root -type f ! -name '.bashrc' ! -name '.profile' 2>/dev/null
        grep -rlIE '^-----BEGIN .*PRIVATE KEY' /app /venv /etc /opt /srv /usr /var 2>/dev/null
        true
    """

    assert compose.run_image("sh", "-c", script) == ""
    assert sorted(compose.run_image("ls", "-A", "/app").split()) == [
        *("auth_worker", "catalog_worker", "http_bridge", "ops"),
        *("requirements.txt", "sample_api", "shared"),
    ]
    environment = docker("image", "inspect", "--format", "{{.Config.Env}}", compose.name)
    history = docker("image", "history", "--no-trunc", "--format", "{{.CreatedBy}}", compose.name)
    assert "PASSWORD" not in (environment + history).upper()


def test_the_image_says_what_it_is_and_has_a_health_check(compose: Compose) -> None:
    labels = docker("image", "inspect", "--format", "{{.Config.Labels}}", compose.name)
    check = docker("image", "inspect", "--format", "{{.Config.Healthcheck.Test}}", compose.name)

    assert "org.opencontainers.image.title:Postroad" in labels
    assert "ops.health.container" in check
    assert "provision" in compose.run_image("postroad", "--help")


def test_containers_have_a_read_only_root_no_capabilities_and_limits(compose: Compose) -> None:
    containers = compose.inspect()

    assert set(containers) == {*OURS, "broker", "database"}
    for container in containers.values():
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"]["max-size"]
        assert not host["Privileged"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_runs_as_our_user_and_can_write_nowhere_but_in_tmp(
    compose: Compose, service: str
) -> None:
    script = """
        id -u; grep CapBnd /proc/self/status
        for folder in /app /venv /var/lib/postroad /tmp; do
            touch $folder/x 2>/dev/null && rm $folder/x && echo $folder
        done
        true
    """

    answer = compose("exec", "--no-TTY", service, "sh", "-c", script).split()

    assert answer == [str(USER), "CapBnd:", "0" * 16, "/tmp"]


def test_only_the_bridge_is_published_and_on_loopback_only(compose: Compose) -> None:
    published = {
        name: [binding for bindings in ports.values() for binding in bindings or ()]
        for name, container in compose.inspect().items()
        if (ports := container["NetworkSettings"]["Ports"])
    }

    assert {name for name, bindings in published.items() if bindings} == {"http_bridge"}
    assert [binding["HostIp"] for binding in published["http_bridge"]] == ["127.0.0.1"]


def test_only_the_catalogue_and_the_bridge_have_a_way_out(compose: Compose) -> None:
    def has_way_out(container: dict[str, Any]) -> bool:
        networks = container["NetworkSettings"]["Networks"]
        inspected = json.loads(docker("network", "inspect", *networks))
        return not all(network["Internal"] or network["Name"] == "none" for network in inspected)

    ways_out = {name for name, container in compose.inspect().items() if has_way_out(container)}

    assert ways_out == {*CATALOG, "http_bridge"}


def test_a_service_sees_its_own_secrets_only(compose: Compose) -> None:
    def files(service: str) -> set[str]:
        found = compose("exec", "--no-TTY", service, "find", "/var/lib/postroad", "-type", "f")
        return {path.removeprefix("/var/lib/postroad/") for path in found.split()}

    certificates = {f"tls/{name}.pem" for name in ("ca", "certificate", "key")}
    own = {f"own/{name}" for name in ("identity.json", "broker.password", *certificates)}
    seen_by_all = {*own, "trust/trust.json"}

    assert files("http_bridge") == seen_by_all
    for service in (*AUTH, *CATALOG):
        assert files(service) == {*seen_by_all, "own/database.password"}
    assert files("broker") == {
        f"broker/{name}" for name in ("definitions.json", "erlang.cookie", *certificates)
    }
    assert files("upstream") == set()


def test_a_service_cannot_reach_the_database_of_another(compose: Compose) -> None:
    script = """
        import sys
        import psycopg
        from pathlib import Path
        password = Path("/var/lib/postroad/own/database.password").read_text()
        try:
            psycopg.connect(f"host=database user={sys.argv[1]} dbname={sys.argv[2]}",
                            password=password)
        except psycopg.OperationalError as error:
            print(error)
        else:
            print("connected")
    """

    def tried(service: str, role: str, database: str) -> str:
        python = ("python", "-c", dedent(script), role, database)
        return compose("exec", "--no-TTY", service, *python)

    assert tried("catalog_worker", "catalog", "catalog") == "connected\n"
    assert "permission denied" in tried("catalog_worker", "catalog", "auth")
    assert "permission denied" in tried("auth_worker", "auth", "catalog")
    assert "authentication failed" in tried("catalog_worker", "auth", "auth")
    assert "authentication failed" in tried("auth_audit", "postgres", "auth")


def test_the_broker_has_users_for_services_operator_and_scaler_only(
    compose: Compose,
) -> None:
    listing = compose("exec", "--no-TTY", "broker", "rabbitmqctl", "--quiet", "list_users")

    assert sorted(line.split("\t")[0] for line in listing.splitlines()[1:]) == [
        *("auth", "bridge", "catalog", "operator", "scaler"),
    ]


def test_the_broker_takes_only_tls_connections_with_a_certificate(
    compose: Compose,
) -> None:
    ctl = ("exec", "--no-TTY", "broker", "rabbitmqctl", "--quiet", "list_connections")

    connections = compose(*ctl, "user", "ssl", "ssl_protocol", "peer_cert_subject").splitlines()[1:]
    listeners = compose("exec", "--no-TTY", "broker", "rabbitmq-diagnostics", "-q", "listeners")

    names = ("auth", "bridge", "catalog")
    assert set(connections) == {f"{name}\ttrue\ttlsv1.3\tCN={name}" for name in names}
    assert " 5671, protocol: amqp/ssl" in listeners
    assert " 5672," not in listeners


def test_the_write_ahead_log_of_quorum_queues_fits_into_memory(
    compose: Compose,
) -> None:
    asked = "{ok, Bytes} = application:get_env(ra, wal_max_size_bytes), Bytes."

    answer = compose("exec", "--no-TTY", "broker", "rabbitmqctl", "--quiet", "eval", asked)

    assert int(answer) == 64 * 2**20


def test_a_setting_of_the_readme_comes_from_a_file(compose: Compose) -> None:
    name, _, value = SETTINGS.strip().partition("=")

    assert compose("exec", "--no-TTY", "catalog_sync", "printenv", name).strip() == value


def test_there_is_no_user_that_one_could_guess(compose: Compose) -> None:
    credentials = {"username": "admin", "password": "admin"}

    assert httpx.post(f"{compose.url}/auth", json=credentials).status_code == 401


def test_a_user_who_was_added_signs_in_and_reads_products(reader: httpx.Client) -> None:
    page = reader.get("/products", params={"limit": 2})

    assert page.status_code == 200
    assert [product["id"] for product in page.json()["data"]] == [1, 2]


async def test_keys_are_renewed_without_a_request_refused(
    compose: Compose, reader: httpx.Client
) -> None:
    compose("run", "--rm", "--no-TTY", "postroad", "keys", "rotate")
    until = monotonic() + 8  # five seconds until the new ones are in use

    while monotonic() < until:
        assert status(reader) == 200
        await asyncio.sleep(0.1)


async def test_a_sync_is_worked_off_in_the_background(reader: httpx.Client) -> None:
    started = reader.post("/products/sync")  # noqa: ASYNC212  # nothing else is under way
    assert started.status_code == 202, started.text

    def is_done() -> bool:
        return bool(reader.get(started.headers["location"]).json()["data"]["status"] == "done")

    await eventually(is_done, timeout_s=30)


async def test_sign_ins_are_noted_by_the_audit(compose: Compose, reader: httpx.Client) -> None:
    def is_noted() -> bool:
        return "signed in" in compose.postroad("users", "history", "reader")

    await eventually(is_noted, timeout_s=30)


def test_an_operator_looks_for_dead_letters_and_renews_the_catalogue(compose: Compose) -> None:
    assert compose.postroad("dead-letters", "list") == "no dead letters: all is well\n"
    assert "\n120 products: " in compose.postroad("sync")


async def test_a_service_of_another_team_is_added_and_revoked_while_all_runs(
    compose: Compose,
) -> None:
    def does_call() -> bool:
        with suppress(CommandFailed):
            call = ("call", "catalog.products.list", "limit=1", "--as", "shop")
            return len(json.loads(compose.postroad(*call))["data"]) == 1
        return False

    def told(command: str) -> None:
        """Do at the broker what the command line said."""
        compose("exec", "--no-TTY", "broker", *command.partition("'")[2].partition("'")[0].split())

    told(compose.postroad("services", "add", "shop", "--calls", "catalog.products.*"))
    await eventually(does_call, timeout_s=30)  # the import may go on when its command has ended

    told(compose.postroad("services", "revoke", "shop"))
    trust = compose(
        "exec", "--no-TTY", "catalog_worker", "cat", "/var/lib/postroad/trust/trust.json"
    )
    users = compose("exec", "--no-TTY", "broker", "rabbitmqctl", "--quiet", "list_users")
    assert "shop" not in trust + users


def test_three_catalogue_workers_share_the_queue(compose: Compose, reader: httpx.Client) -> None:
    compose.up("--no-recreate", "--scale", "catalog_worker=3")

    queues = ("rabbitmqctl", "--quiet", "list_queues", "--vhost", "postroad", "name", "consumers")
    listing = compose("exec", "--no-TTY", "broker", *queues)
    assert "rpc.catalog\t3" in listing.splitlines()
    assert status(reader) == 200


def test_nothing_is_used_that_rabbitmq_gives_up(compose: Compose) -> None:
    assert compose.deprecated_features("broker") == set()


async def test_a_killed_broker_is_back_by_itself_and_users_see_503_at_most(
    compose: Compose, reader: httpx.Client
) -> None:
    seen = []

    def is_answered(expected: int) -> bool:
        seen.append(status(reader))
        return seen[-1] == expected

    with suppress(CommandFailed):  # the command dies with the container
        compose("exec", "--no-TTY", "broker", "sh", "-c", "kill -9 -1")
    await eventually(lambda: is_answered(503))
    await eventually(lambda: is_answered(200), timeout_s=RECOVERY_S)

    assert set(seen) <= {200, 503}


def test_a_stop_lets_everybody_finish_and_down_leaves_the_data_alone(compose: Compose) -> None:
    compose("stop")
    ends = {name: each["State"]["ExitCode"] for name, each in compose.inspect().items()}
    compose("down")

    assert 137 not in ends.values(), ends  # nobody had to be killed
    mine = ("--quiet", "--filter", f"label=com.docker.compose.project={compose.name}")
    assert docker("ps", "--all", *mine) == ""
    assert docker("network", "ls", *mine) == ""
    assert len(docker("volume", "ls", *mine).split()) >= len(SERVICES)
