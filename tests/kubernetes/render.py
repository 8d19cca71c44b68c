"""Renders a kustomization as far as k8s/ uses kustomize, so that the manifests are checked without kubectl too.

Where kubectl is installed, a test holds this to what `kubectl kustomize` makes of the same directory.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

Object = dict[str, Any]
KNOWN_FIELDS = {"apiVersion", "kind", "namespace", "resources", "patches", "images"}
CLUSTER_SCOPED = {"Namespace"}
# What a strategic merge patch tells the elements of a list apart by.
MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}


def read(path: Path) -> list[Object]:
    """Reads every document of a YAML file."""
    return list(YAML(typ="safe").load_all(path.read_text()))


def render(directory: Path) -> list[Object]:
    """Renders the kustomization of a directory; raises ValueError where it uses more than is known here."""
    (kustomization,) = read(directory / "kustomization.yaml")
    if unknown := set(kustomization) - KNOWN_FIELDS:
        raise ValueError(f"{directory}: does not know {', '.join(sorted(unknown))}")
    objects: list[Object] = []
    for resource in kustomization.get("resources", []):
        path = directory / resource
        objects += render(path.resolve()) if path.is_dir() else read(path)
    for patch in kustomization.get("patches", []):
        (change,) = read(directory / patch["path"])
        targets = [found for found in objects if identity(found) == identity(change)]
        if len(targets) != 1:
            raise ValueError(f"{patch['path']}: patches {len(targets)} objects")
        merge(targets[0], change)
    for found in objects:
        if found["kind"] not in CLUSTER_SCOPED:
            found["metadata"]["namespace"] = kustomization["namespace"]
    for image in kustomization.get("images", []):
        for container in containers(objects):
            if container["image"].split(":")[0] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return objects


def identity(found: Object) -> tuple[str, str]:
    """Kind and name, which tell the objects of one namespace apart."""
    return found["kind"], found["metadata"]["name"]


def containers(objects: list[Object]) -> list[Object]:
    """The containers of every workload."""
    return [
        container
        for found in objects
        if found["kind"] == "Deployment"
        for container in found["spec"]["template"]["spec"]["containers"]
    ]


def merge(target: Object, change: Object) -> None:
    """Merges a patch into an object, in place."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        elif isinstance(value, list) and key in MERGE_KEYS and key in target:
            merge_lists(target[key], value, MERGE_KEYS[key])
        else:
            target[key] = value


def merge_lists(target: list[Object], change: list[Object], key: str) -> None:
    """Merges the elements that have a counterpart and puts the others before, as kustomize does."""
    new = []
    for element in change:
        counterparts = [found for found in target if found[key] == element[key]]
        if counterparts:
            merge(counterparts[0], element)
        else:
            new.append(element)
    target[:0] = new
