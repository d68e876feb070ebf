"""Every manifest has the fields of its kind, and none that is misspelt."""

from copy import deepcopy
from typing import Any

import kubernetes_validate
import pytest
from pydantic import ValidationError

from tests.kubernetes.custom_kinds import CUSTOM_KINDS
from tests.kubernetes.manifests import FOLDER, Manifest, name_of, objects, of_kind

OLDEST = "1.30"  # that takes `preStop.sleep` without being asked to
SUPPORTED = ("1.35", "1.36", "1.37")
ALL = [*objects(), *objects(FOLDER / "ingress")]
OF_KUBERNETES = [each for each in ALL if each["kind"] not in CUSTOM_KINDS]
CUSTOM = [each for each in ALL if each["kind"] in CUSTOM_KINDS]


def title(manifest: Manifest) -> str:
    return f"{manifest['kind']} {name_of(manifest)}"


def check(manifest: Manifest, version: str = SUPPORTED[-1]) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, *SUPPORTED])
@pytest.mark.parametrize("manifest", OF_KUBERNETES, ids=title)
def test_a_manifest_keeps_the_schema_of_kubernetes(manifest: Manifest, version: str) -> None:
    check(manifest, version)


@pytest.mark.parametrize("manifest", CUSTOM, ids=title)
def test_a_custom_manifest_keeps_the_schema_of_its_operator(manifest: Manifest) -> None:
    CUSTOM_KINDS[manifest["kind"]].model_validate(manifest)


@pytest.mark.parametrize("scaled", of_kind("ScaledObject"), ids=name_of)
def test_a_horizontal_pod_autoscaler_takes_the_behaviour(scaled: Manifest) -> None:
    config = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]

    check(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name_of(scaled)},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": name_of(scaled)},
                "maxReplicas": scaled["spec"]["maxReplicaCount"],
                "behavior": config["behavior"],
            },
        }
    )


def test_a_stateful_set_takes_what_we_say_of_the_brokers_pods() -> None:
    (cluster,) = of_kind("RabbitmqCluster")
    overridden = deepcopy(cluster["spec"]["override"]["statefulSet"]["spec"])
    pod = overridden["template"]["spec"]
    pod["affinity"] = cluster["spec"]["affinity"]
    (container,) = pod["containers"]
    container["resources"] = cluster["spec"]["resources"]

    check(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "broker-server"},
            "spec": {"selector": {}, "serviceName": "broker-nodes", **overridden},
        }
    )


def misspelt(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Give the way to every field of an object, map keys of the users' own choice left out."""
    if isinstance(value, list):
        return [way for i, each in enumerate(value) for way in misspelt(each, (*path, i))]
    if not isinstance(value, dict) or (path and path[-1] in ("labels", "behavior")):
        return []
    return [
        way
        for key, each in value.items()
        for way in ((*path, key), *misspelt(each, (*path, key)))
    ]  # fmt: skip


@pytest.mark.parametrize("way", misspelt(of_kind("ScaledObject")[-1]), ids=str)
def test_a_misspelt_field_of_a_scaled_object_is_noticed(way: tuple[str | int, ...]) -> None:
    manifest = deepcopy(of_kind("ScaledObject")[-1])
    place: Any = manifest
    for step in way[:-1]:
        place = place[step]
    place[f"{way[-1]}x"] = place.pop(way[-1])

    with pytest.raises(ValidationError):
        CUSTOM_KINDS["ScaledObject"].model_validate(manifest)


def test_a_misspelt_field_of_a_pod_is_noticed() -> None:
    manifest = deepcopy(of_kind("Deployment")[0])
    pod = manifest["spec"]["template"]["spec"]
    pod["automountServiceAccountTokens"] = pod.pop("automountServiceAccountToken")

    with pytest.raises(kubernetes_validate.ValidationError, match="automountServiceAccountTokens"):
        check(manifest)
