"""What kustomize makes of the folder; needs `kubectl` or `kustomize`, but no cluster."""

import os
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from ops.commands.dispatch import run_command
from ops.state.folder import StateFolder
from postroad.topology.names import SCALER
from tests.kubernetes.manifests import FOLDER, SECRETS_FOLDER, Manifest, name_of, objects, pod

COMMAND = next(
    (
        command
        for command in (["kubectl", "kustomize"], ["kustomize", "build"])
        if shutil.which(command[0])
    ),
    [],
)

pytestmark = pytest.mark.skipif(not COMMAND, reason="neither kubectl nor kustomize is installed")


def render(folder: Path) -> list[Manifest]:
    done = subprocess.run([*COMMAND, folder], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def overlay(folder: Path, **fields: Any) -> list[Manifest]:
    """Render somebody's own kustomization on top of ours."""
    ours = os.path.relpath(FOLDER, folder)
    text = yaml.safe_dump({"resources": [ours], **fields})
    (folder / "kustomization.yaml").write_text(text)
    return render(folder)


def only(rendered: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [each for each in rendered if each["kind"] == kind and name_of(each) == name]
    return found


def test_every_object_is_there_in_the_namespace_and_with_an_image_of_yours() -> None:
    rendered = render(FOLDER)

    ours = {(each["kind"], name_of(each)) for each in objects()}
    made = {(each["kind"], name_of(each)) for each in rendered if each["kind"] != "ConfigMap"}
    images = {
        container["image"]
        for each in rendered
        if each["kind"] == "Deployment"
        for container in pod(each)["containers"] + pod(each).get("initContainers", [])
    }
    assert made == ours
    assert {each["metadata"].get("namespace") for each in rendered} == {None, "postroad"}
    assert images == {"registry.example.com/postroad:0.1.0"}


def test_a_changed_setting_replaces_the_pods_that_read_it(tmp_path: Path) -> None:
    changed = {
        "name": "settings-catalog",
        "behavior": "merge",
        "literals": ["CATALOG_UPSTREAM_URL=https://products.example.com"],
    }

    before = render(FOLDER)
    after = overlay(tmp_path, namespace="postroad", configMapGenerator=[changed])

    replaced = {
        name_of(each)
        for each in before
        if each["kind"] == "Deployment" and each != only(after, "Deployment", name_of(each))
    }
    assert replaced == {"catalog-worker", "catalog-sync"}


def test_in_a_cluster_who_answers_requests_is_on_two_nodes() -> None:
    least = {
        name_of(each): each["spec"]["minReplicaCount"]
        for each in render(FOLDER)
        if each["kind"] == "ScaledObject"
    }

    wanted = {"auth-worker": 2, "catalog-worker": 2, "auth-audit": 0, "catalog-sync": 0}
    assert wanted.items() <= least.items()


def test_the_kustomization_in_the_readme_is_one(tmp_path: Path) -> None:
    text = (FOLDER / "README.md").read_text()
    example = text.split("```yaml\n")[1].split("```")[0]
    shutil.copytree(FOLDER, tmp_path / "kubernetes", ignore=shutil.ignore_patterns("state"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(example)

    rendered = render(tmp_path / "mine")

    (container,) = pod(only(rendered, "Deployment", "auth-worker"))["containers"]
    settings = [each["configMapRef"]["name"] for each in container["envFrom"]]
    data = only(rendered, "ConfigMap", settings[1])["data"]
    assert container["image"] == "REGISTRY/postroad:0.1.0"
    assert data["AUTH_DATABASE_URL"] == "postgresql://auth@HOST/auth"
    assert data["PGSSLMODE"] == "verify-full"  # whatever the URL is
    assert only(rendered, "Ingress", "http-bridge")


def test_an_image_is_named_by_its_digest_as_the_readme_says(tmp_path: Path) -> None:
    text = (FOLDER / "README.md").read_text()
    example = yaml.safe_load(dedent(text.split("```yaml\n")[2].split("```")[0]))

    rendered = overlay(tmp_path, **example)

    (container,) = pod(only(rendered, "Deployment", "http-bridge"))["containers"]
    broker = only(rendered, "RabbitmqCluster", "broker")["spec"]["image"]
    (ours,) = [each["spec"]["image"] for each in objects() if each["kind"] == "RabbitmqCluster"]
    assert container["image"] == "REGISTRY/postroad@sha256:…"
    assert broker == f"{ours}@sha256:…"


def test_with_the_ingress_only_its_controller_reaches_the_bridge(tmp_path: Path) -> None:
    component = os.path.relpath(FOLDER / "ingress", tmp_path)

    rendered = overlay(tmp_path, components=[component])

    policy = only(rendered, "NetworkPolicy", "clients-to-bridge")["spec"]
    (rule,) = policy["ingress"]
    (container,) = pod(only(rendered, "Deployment", "http-bridge"))["containers"]
    assert rule["from"][0]["namespaceSelector"]
    assert rule["ports"] == [{"port": 8000}]
    assert {"FORWARDED_ALLOW_IPS", "BRIDGE_PUBLIC_URL"} <= {
        each["name"] for each in container["env"]
    }
    assert only(rendered, "Ingress", "http-bridge")["metadata"]["namespace"] == "postroad"


def test_the_secrets_are_what_provision_made(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    shutil.copytree(SECRETS_FOLDER, folder, ignore=shutil.ignore_patterns("state"))
    assert run_command(["provision", "--state", str(folder / "state")]) == 0
    state = StateFolder(folder / "state")
    (state.database_folder / "ca.pem").write_text("whom PostgreSQL's certificate is of")

    rendered = render(folder)

    secrets = {
        name_of(each): {key: b64decode(value).decode() for key, value in each["data"].items()}
        for each in rendered
        if each["kind"] == "Secret"
    }
    assert secrets == {
        **{
            service: {
                "identity.json": state.identity_file(service).read_text(),
                "broker.password": state.password(service),
                **{
                    name: (state.own_folder(service) / "tls" / name).read_text()
                    for name in ("ca.pem", "certificate.pem", "key.pem")
                },
            }
            for service in ("bridge", "auth", "catalog")
        },
        "auth-database": {"password": state.database_password("auth")},
        "catalog-database": {"password": state.database_password("catalog")},
        "broker-definitions": {"definitions.json": state.definitions_file.read_text()},
        "broker-tls": {
            "ca.crt": (state.broker_folder / "tls" / "ca.pem").read_text(),
            "tls.crt": (state.broker_folder / "tls" / "certificate.pem").read_text(),
            "tls.key": (state.broker_folder / "tls" / "key.pem").read_text(),
        },
        SCALER: {
            "host": "https://broker.postroad.svc:15671/",
            "tls": "enable",
            "ca": (state.broker_folder / "tls" / "ca.pem").read_text(),
            "username": SCALER,
            "password": state.password(SCALER),
        },
    }
    assert only(rendered, "ConfigMap", "trust")["data"] == {
        "trust.json": state.trust_file.read_text()
    }
