"""Every wire is encrypted, and each end knows who the other is."""

import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from psycopg.pq import Conninfo

from ops.commands.dispatch import run_command
from ops.commands.provision import BROKER_HOSTS
from ops.state.folder import StateFolder
from postroad.security.tls import client_context
from tests.kubernetes.manifests import (
    FOLDER,
    SECRETS_FOLDER,
    Manifest,
    containers,
    kustomization,
    name_of,
    of_kind,
    pod,
)
from tests.kubernetes.test_manifests import environment, every_deployment, generated

PLAIN = re.compile(r"amqp://|http://|sslmode=(?!verify-full)", re.IGNORECASE)
WITH_DATABASE = [each for each in of_kind("Deployment") if name_of(each) != "http-bridge"]
FILES = [
    path
    for path in FOLDER.rglob("*")
    if path.is_file() and not path.is_relative_to(SECRETS_FOLDER / "state")
]


def conf(text: str) -> dict[str, str]:
    """Read a rabbitmq.conf."""
    lines = [line.split(" = ") for line in text.splitlines() if " = " in line]
    return {key.strip(): value.split(" #")[0].strip() for key, value in lines if key[0] != "#"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_nobody_is_told_to_speak_in_the_open(path: Path) -> None:
    assert not PLAIN.findall(path.read_text())


def test_the_broker_listens_by_tls_alone_and_knows_the_authority() -> None:
    (cluster,) = of_kind("RabbitmqCluster")
    tls = cluster["spec"]["tls"]

    assert tls["disableNonTLSListeners"] is True
    assert tls["secretName"] == tls["caSecretName"]
    assert generated(SECRETS_FOLDER, "secretGenerator")[tls["secretName"]] == {
        "ca.crt",
        "tls.crt",
        "tls.key",
    }


def test_the_broker_asks_as_much_of_its_clients_as_that_of_compose() -> None:
    (cluster,) = of_kind("RabbitmqCluster")
    of_the_operator = {f"ssl_options.{each}" for each in ("cacertfile", "certfile", "keyfile")}
    of_the_operator.add("ssl_options.verify")  # verify_peer, once there is a `caSecretName`
    compose = conf((FOLDER.parents[1] / "rabbitmq" / "rabbitmq.conf").read_text())

    ours = conf(cluster["spec"]["rabbitmq"]["additionalConfig"])

    asked = {key: compose[key] for key in compose if key.startswith("ssl_options.")}
    assert {key: ours.get(key) for key in asked.keys() - of_the_operator} == {
        key: asked[key] for key in asked.keys() - of_the_operator
    }
    assert not {key for key in ours if key.startswith(("listeners.", "management.tcp"))}


@every_deployment
def test_a_service_verifies_the_broker_and_shows_who_it_is(deployment: Manifest) -> None:
    (container,) = pod(deployment)["containers"]
    variables = environment(container)
    broker = urlsplit(variables["BROKER_URLS"])

    assert (broker.scheme, broker.port) == ("amqps", 5671)
    assert broker.hostname in BROKER_HOSTS
    own = Path(variables["IDENTITY_FILE"]).parent
    assert {key: variables.get(key) for key in variables if re.match("BROKER_.*_FILE", key)} == {
        "BROKER_PASSWORD_FILE": str(own / "broker.password"),
        "BROKER_CA_FILE": str(own / "ca.pem"),
        "BROKER_CERTIFICATE_FILE": str(own / "certificate.pem"),
        "BROKER_KEY_FILE": str(own / "key.pem"),
    }


@pytest.mark.parametrize("deployment", WITH_DATABASE, ids=name_of)
def test_who_connects_to_postgresql_verifies_it(
    deployment: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for container in containers(deployment):
        for name, value in environment(container).items():
            monkeypatch.setenv(name, value)

        defaults = {each.keyword: each.val for each in Conninfo.get_defaults()}

        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert defaults[b"sslmode"] == b"verify-full"
        assert defaults[b"sslrootcert"] == f"{mounts['database-ca']}/ca.pem".encode()


def test_keda_verifies_the_broker_too() -> None:
    (authentication,) = of_kind("TriggerAuthentication")
    (scaler,) = [
        each
        for each in kustomization(SECRETS_FOLDER)["secretGenerator"]
        if each["name"] == "scaler"
    ]

    given = {each["parameter"] for each in authentication["spec"]["secretTargetRef"]}
    assert {"host", "tls", "ca"} <= given
    assert "unsafeSsl" not in (FOLDER / "scaling.yaml").read_text()
    assert "ca=state/broker/tls/ca.pem" in scaler["files"]


@pytest.mark.parametrize("host", ["broker", "broker.postroad.svc"])
def test_the_certificates_of_the_secrets_fit_each_other(host: str, tmp_path: Path) -> None:
    assert run_command(["provision", "--cluster", "--state", str(tmp_path)]) == 0
    state = StateFolder(tmp_path)
    at_broker, own = state.broker_folder / "tls", state.own_folder("bridge") / "tls"
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=at_broker / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(at_broker / "certificate.pem", at_broker / "key.pem")
    client = client_context(own / "ca.pem", own / "certificate.pem", own / "key.pem")

    shown = shake_hands(server, client, host)

    assert shown == ((("commonName", "bridge"),),)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> object:
    """Connect the two in memory; return as whom the server knows the client."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    at_client = client.wrap_bio(down, up, server_hostname=host)
    at_server = server.wrap_bio(up, down, server_side=True)
    waiting = [at_client, at_server]
    for _ in range(10):
        for each in list(waiting):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(each)
    assert not waiting
    certificate = at_server.getpeercert()
    return certificate and certificate["subject"]
