"""The manifests fit each other and the services' settings, and each pod is confined."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from auth_worker.settings import AuthMessagingSettings, AuthSettings
from catalog_worker.settings import CatalogSettings, StoreSettings
from http_bridge.settings import BridgeSettings
from ops.commands.provision import BROKER_HOSTS
from ops.state.certificates import Authority
from postroad.limits import LONGEST_DEADLINE_S
from postroad.settings import LogSettings, MessagingSettings
from tests.kubernetes.manifests import (
    FOLDER,
    SECRETS_FOLDER,
    Manifest,
    containers,
    kustomization,
    matches,
    name_of,
    objects,
    of_kind,
    pod,
    pod_labels,
    queue_of,
    trigger,
)

DEPLOYMENTS = of_kind("Deployment")
WORKERS = [each for each in DEPLOYMENTS if name_of(each) != "http-bridge"]
SERVICES = {
    "http-bridge": "bridge",
    "auth-worker": "auth",
    "auth-audit": "auth",
    "catalog-worker": "catalog",
    "catalog-sync": "catalog",
}
QUEUES = {
    "auth-worker": "rpc.auth",
    "auth-audit": "work.auth.audit",
    "catalog-worker": "rpc.catalog",
    "catalog-sync": "work.catalog.sync",
}
SETTINGS: dict[str, list[type[BaseSettings]]] = {
    "bridge": [MessagingSettings, BridgeSettings],
    "auth": [AuthMessagingSettings, AuthSettings],
    "catalog": [MessagingSettings, CatalogSettings, StoreSettings],
}

every_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=name_of)


def generated(folder: Path, generator: str) -> dict[str, set[str]]:
    """Give the keys of what a generator makes of files and literals, by name."""
    made = {}
    for entry in kustomization(folder).get(generator, []):
        files = [re.sub(r"^[^=]*/", "", file).split("=")[0] for file in entry.get("files", [])]
        literals = [literal.split("=")[0] for literal in entry.get("literals", [])]
        made[entry["name"]] = {*files, *literals}
    return made


def settings_files() -> dict[str, dict[str, str]]:
    """Give the variables of each generated ConfigMap of settings."""
    return {
        entry["name"]: dict(
            line.split("=", 1) for line in (FOLDER / file).read_text().splitlines() if line
        )
        for entry in kustomization(FOLDER)["configMapGenerator"]
        for file in entry["envs"]
    }


def environment(container: Manifest) -> dict[str, str]:
    """Give the variables that a container will have."""
    files = settings_files()
    from_files = [files[each["configMapRef"]["name"]] for each in container["envFrom"]]
    own = {each["name"]: each["value"] for each in container.get("env", [])}
    return {key: value for each in [*from_files, own] for key, value in each.items()}


def test_every_file_is_named_by_a_kustomization() -> None:
    for folder in (FOLDER, FOLDER / "ingress"):
        files = {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml"}

        assert set(kustomization(folder)["resources"]) == files


def test_no_two_objects_have_one_name() -> None:
    names = [(each["kind"], name_of(each)) for each in objects()]

    assert len(set(names)) == len(names)


def test_each_worker_is_scaled_by_its_own_queue_and_by_nobody_else() -> None:
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: queue_of(each) for each in of_kind("ScaledObject")
    }

    assert scaled == QUEUES
    assert {name_of(each) for each in WORKERS} == set(QUEUES)
    assert not any("replicas" in each["spec"] for each in WORKERS)


@pytest.mark.parametrize("scaled", of_kind("ScaledObject"), ids=name_of)
def test_what_answers_requests_never_goes_to_zero(scaled: Manifest) -> None:
    is_rpc = queue_of(scaled).startswith("rpc.")

    assert scaled["metadata"]["labels"]["app.kubernetes.io/component"] == (
        "rpc" if is_rpc else "background"
    )
    assert (scaled["spec"]["minReplicaCount"] > 0) == is_rpc
    assert trigger(scaled)["excludeUnacknowledged"] == "false"


def test_a_trigger_asks_the_manifests_own_broker_with_existing_keys() -> None:
    (authentication,) = of_kind("TriggerAuthentication")
    (cluster,) = of_kind("RabbitmqCluster")
    wanted = {each["key"] for each in authentication["spec"]["secretTargetRef"]}
    secrets = kustomization(SECRETS_FOLDER)["secretGenerator"]
    (scaler,) = [entry for entry in secrets if entry["name"] == "scaler"]
    namespace = kustomization(FOLDER)["namespace"]

    assert wanted == generated(SECRETS_FOLDER, "secretGenerator")["scaler"]
    host = f"{name_of(cluster)}.{namespace}.svc"
    assert {f"host=https://{host}:15671/", "tls=enable"} <= set(scaler["literals"])
    assert host in BROKER_HOSTS  # of its certificate


@every_deployment
def test_a_pod_is_confined(deployment: Manifest) -> None:
    spec = pod(deployment)

    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in containers(deployment):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert all(
            mount["name"] == "tmp" or mount["readOnly"] for mount in container["volumeMounts"]
        )


@every_deployment
def test_a_pod_mounts_its_own_secrets_only(deployment: Manifest) -> None:
    service = SERVICES[name_of(deployment)]
    volumes = pod(deployment)["volumes"]
    secrets = {each["secret"]["secretName"] for each in volumes if "secret" in each}
    maps = {each["configMap"]["name"] for each in volumes if "configMap" in each}

    assert secrets == ({"bridge"} if service == "bridge" else {service, f"{service}-database"})
    assert maps == ({"trust"} if service == "bridge" else {"trust", "database-ca"})
    assert secrets <= generated(SECRETS_FOLDER, "secretGenerator").keys()
    assert maps <= generated(SECRETS_FOLDER, "configMapGenerator").keys()


@every_deployment
def test_every_file_that_a_setting_names_is_mounted(deployment: Manifest) -> None:
    made = generated(SECRETS_FOLDER, "secretGenerator") | generated(
        SECRETS_FOLDER, "configMapGenerator"
    )
    volumes = {
        each["name"]: made[each.get("secret", {}).get("secretName") or each["configMap"]["name"]]
        for each in pod(deployment)["volumes"]
        if each["name"] != "tmp"
    }

    for container in containers(deployment):
        files = {
            f"{mount['mountPath']}/{key}"
            for mount in container["volumeMounts"]
            if mount["name"] != "tmp"
            for key in volumes[mount["name"]]
        }
        named = {
            value
            for key, value in environment(container).items()
            if key.endswith("_FILE") or key == "PGSSLROOTCERT"
        }
        assert named == files


@every_deployment
def test_a_service_takes_its_settings(
    deployment: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = SERVICES[name_of(deployment)]
    Authority(tmp_path).keep(tmp_path, service)  # certificates are read at once
    (container,) = pod(deployment)["containers"]
    for name, value in environment(container).items():
        own = value.replace(f"/var/lib/postroad/services/{service}", str(tmp_path))
        monkeypatch.setenv(name, own)

    all_settings: list[type[BaseSettings]] = [LogSettings, *SETTINGS[service]]
    assert all(settings() for settings in all_settings)


@every_deployment
def test_a_pod_has_the_time_to_drain(deployment: Manifest) -> None:
    drain_s: Any = MessagingSettings.model_fields["drain_timeout_s"].default

    assert pod(deployment)["terminationGracePeriodSeconds"] > drain_s + LONGEST_DEADLINE_S


def test_the_bridge_is_probed_and_reached_at_its_own_port() -> None:
    (bridge,) = [each for each in DEPLOYMENTS if name_of(each) == "http-bridge"]
    (container,) = pod(bridge)["containers"]
    (service,) = of_kind("Service")
    (port,) = [each for each in container["ports"] if each["name"] == "http"]

    assert port["containerPort"] == BridgeSettings.model_fields["port"].default
    assert [each["targetPort"] for each in service["spec"]["ports"]] == [port["name"]]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    readiness = {"path": "/readyz?of=bridge", "port": port["name"]}
    assert container["readinessProbe"]["httpGet"] == readiness


@pytest.mark.parametrize("worker", WORKERS, ids=name_of)
def test_no_worker_is_restarted_because_the_broker_is_away(worker: Manifest) -> None:
    (container,) = pod(worker)["containers"]

    assert "livenessProbe" not in container
    assert container["readinessProbe"]["exec"]["command"][-1] == "connected"


@pytest.mark.parametrize(
    "manifest",
    of_kind("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"),
    ids=lambda manifest: f"{manifest['kind']} {name_of(manifest)}",
)
def test_a_selector_finds_pods(manifest: Manifest) -> None:
    spec = manifest["spec"]
    selector = spec.get("podSelector", spec.get("selector"))
    if manifest["kind"] == "Service":
        selector = {"matchLabels": selector}

    found = {name for name, labels in pod_labels().items() if matches(selector, labels)}

    if manifest["kind"] == "NetworkPolicy":
        assert found
    else:
        assert found == {name_of(manifest)}


def test_the_broker_imports_the_definitions_that_are_mounted() -> None:
    (cluster,) = of_kind("RabbitmqCluster")
    config = cluster["spec"]["rabbitmq"]["additionalConfig"]
    spec = cluster["spec"]["override"]["statefulSet"]["spec"]["template"]["spec"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    (volume,) = spec["volumes"]
    (key,) = generated(SECRETS_FOLDER, "secretGenerator")[volume["secret"]["secretName"]]

    assert mount["name"] == volume["name"]
    assert f"definitions.local.path = {mount['mountPath']}/{key}\n" in config


def test_a_silent_node_is_given_up_as_soon_as_in_compose() -> None:
    (cluster,) = of_kind("RabbitmqCluster")
    config = cluster["spec"]["rabbitmq"]["additionalConfig"]
    of_compose = (FOLDER.parents[1] / "rabbitmq" / "cluster.conf").read_text()

    ticks = re.findall(r"^net_ticktime = \d+$", of_compose, re.MULTILINE)
    assert ticks == re.findall(r"^net_ticktime = \d+$", config, re.MULTILINE) != []


def test_what_a_dead_node_s_consumers_held_is_back_as_soon_as_in_compose() -> None:
    (cluster,) = of_kind("RabbitmqCluster")
    config = cluster["spec"]["rabbitmq"]["additionalConfig"]
    of_compose = (FOLDER.parents[1] / "rabbitmq" / "advanced.config").read_text()

    (timeout,) = re.findall(r"\{consumer_disconnected_timeout, (\d+)\}", of_compose)
    assert f"\nconsumer_disconnected_timeout = {timeout}\n" in config


def test_no_secret_is_in_a_manifest() -> None:
    assert not of_kind("Secret")
    ignored = (FOLDER.parents[1] / ".gitignore").read_text().splitlines()
    assert "/deploy/kubernetes/secrets/state/" in ignored


@every_deployment
def test_what_each_container_runs_is_there(deployment: Manifest) -> None:
    for container in containers(deployment):
        python, option, module = container["command"]

        assert (python, option) == ("python", "-m")
        assert find_spec(module)
