"""What stands in deploy/kubernetes, as a test sees it: the files as they are, before kustomize."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
SECRETS_FOLDER = FOLDER / "secrets"
SCALING_FILE = FOLDER / "scaling.yaml"

Manifest = dict[str, Any]


def kustomization(folder: Path) -> Manifest:
    read: Manifest = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return read


@cache  # it takes a second to read them
def objects(folder: Path = FOLDER) -> list[Manifest]:
    """Read every object of the files that a kustomization names."""
    return [
        manifest
        for file in kustomization(folder)["resources"]
        for manifest in yaml.safe_load_all((folder / file).read_text())
    ]


def of_kind(*kinds: str) -> list[Manifest]:
    return [manifest for manifest in objects() if manifest["kind"] in kinds]


def name_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def trigger(scaled_object: Manifest) -> dict[str, str]:
    """Give what a ScaledObject has KEDA ask: the `metadata` of its only trigger."""
    (only,) = scaled_object["spec"]["triggers"]
    metadata: dict[str, str] = only["metadata"]
    return metadata


def queue_of(scaled_object: Manifest) -> str:
    """Return the queue that the regular expression of its only trigger names."""
    return trigger(scaled_object)["queueName"].strip("^$").replace("\\.", ".")


def pod(manifest: Manifest) -> Manifest:
    """Give the `spec` of a Deployment's pods."""
    spec: Manifest = manifest["spec"]["template"]["spec"]
    return spec


def containers(manifest: Manifest) -> list[Manifest]:
    return [*pod(manifest).get("initContainers", []), *pod(manifest)["containers"]]


def pod_labels() -> dict[str, dict[str, str]]:
    """Give the labels of the pods that there will be, by a name of ours.

    The broker's are the cluster operator's.
    """
    services = {
        name_of(each): each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind("Deployment")
    }
    return services | {"broker": {"app.kubernetes.io/name": "broker"}}


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Apply a label selector as Kubernetes does, as far as we use it."""
    wanted = {key: [value] for key, value in selector.get("matchLabels", {}).items()}
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"
        wanted[expression["key"]] = expression["values"]
    return all(labels.get(key) in values for key, values in wanted.items())
