"""Renders deploy/k8s as kustomize does, as far as it is used there.

Anything else in a kustomization is an error. tests/deploy/test_render.py compares it with kubectl
where there is one: Debian's is too old for components.
"""

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]

_KEYS = {
    *("apiVersion", "kind", "resources", "components", "patches", "replacements"),
    *("images", "configMapGenerator"),
}
_MERGED_BY = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
# Marks a generated ConfigMap until its name has its hash.
_HASHED = "\0hashed"
_NO_VOWELS = str.maketrans({"0": "g", "1": "h", "3": "k", "a": "m", "e": "t"})


class Refused(Exception):
    """A patch's ``test`` failed; the text is its path."""


def render(directory: Path) -> list[Resource]:
    """What ``kubectl kustomize`` prints, in no particular order."""
    resources = [one for one in _build(directory, []) if not _is_local(one)]
    _hash_names(resources)
    return resources


def load_all(file: Path) -> list[Resource]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(file.read_text("utf-8")) if document]


def _build(directory: Path, resources: list[Resource]) -> list[Resource]:
    """The resources of a kustomization; those given, and changed in place, for a component."""
    (wanted,) = load_all(directory / "kustomization.yaml")
    if unknown := wanted.keys() - _KEYS:
        raise ValueError(f"{directory}: not rendered here: {unknown}")
    for name in wanted.get("resources", ()):
        path = directory / name
        resources += _build(path, []) if path.is_dir() else load_all(path)
    for name in wanted.get("components", ()):
        _build(directory / name, resources)
    resources += (_config_map(directory, one) for one in wanted.get("configMapGenerator", ()))
    for patch in wanted.get("patches", ()):
        _patch(directory, patch, resources)
    for image in wanted.get("images", ()):
        _set_image(image, resources)
    for replacement in wanted.get("replacements", ()):
        _replace(replacement, resources)
    return resources


def _is_local(resource: Resource) -> bool:
    annotations: dict[str, str] = resource["metadata"].get("annotations", {})
    return annotations.get("config.kubernetes.io/local-config") == "true"


def _selected(selector: dict[str, str], resources: list[Resource]) -> Iterator[Resource]:
    for resource in resources:
        labels = resource["metadata"].get("labels", {})
        key, _, value = selector.get("labelSelector", "").partition("!=")
        if re.fullmatch(selector["kind"], resource["kind"]) and (
            not key or labels.get(key) != value
        ):
            yield resource


# -- generators ------------------------------------------------------------------------------------


def _config_map(directory: Path, wanted: dict[str, Any]) -> Resource:
    options = wanted.get("options", {})
    metadata: Resource = {"name": wanted["name"]}
    if "labels" in options:
        metadata["labels"] = options["labels"]
    data = {name: (directory / name).read_text("utf-8") for name in wanted["files"]}
    resource = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    return resource if options.get("disableNameSuffixHash") else {**resource, _HASHED: True}


def _hash_names(resources: list[Resource]) -> None:
    for resource in resources:
        if resource.pop(_HASHED, False):
            name = resource["metadata"]["name"]
            hashed = f"{name}-{_content_hash(resource)}"
            resource["metadata"]["name"] = hashed
            for other in resources:
                _rename(other, name, hashed)


def _content_hash(resource: Resource) -> str:
    text = json.dumps(
        {"data": resource["data"], "kind": "ConfigMap", "name": ""},
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=True,
    )
    # As Go writes JSON.
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(_NO_VOWELS)


def _rename(node: Any, name: str, hashed: str) -> None:
    if isinstance(node, dict):
        reference = node.get("configMap")
        if isinstance(reference, dict) and reference.get("name") == name:
            reference["name"] = hashed
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list):
            _rename(child, name, hashed)


# -- transformers ----------------------------------------------------------------------------------


def _patch(directory: Path, wanted: dict[str, Any], resources: list[Resource]) -> None:
    for resource in _selected(wanted["target"], resources):
        if "path" in wanted:
            (patch,) = load_all(directory / wanted["path"])
            # Kind and name are the target's; the patch has some for form's sake.
            del patch["apiVersion"], patch["kind"], patch["metadata"]
            _merge(resource, patch)
        else:
            (operation,) = yaml.safe_load(wanted["patch"])
            if operation["op"] != "test":
                raise ValueError(f"{directory}: not rendered here: {operation}")
            raise Refused(operation["path"])


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """Strategic merge: maps by key, known lists by their items' key, all else replaced."""
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif key in _MERGED_BY and key in target:
            _merge_items(target[key], value, by=_MERGED_BY[key])
        else:
            target[key] = copy.deepcopy(value)


def _merge_items(items: list[dict[str, Any]], patch: list[dict[str, Any]], *, by: str) -> None:
    own = {item[by]: item for item in items}
    for item in patch:
        if item[by] in own:
            _merge(own[item[by]], item)
    # Kustomize puts new items first.
    items[:0] = [copy.deepcopy(item) for item in patch if item[by] not in own]


def _set_image(wanted: dict[str, str], resources: list[Resource]) -> None:
    for resource in resources:
        spec = pod_template(resource).get("spec", {})
        for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
            name, _, tag = container["image"].partition(":")
            if name == wanted["name"]:
                container["image"] = f"{wanted['newName']}:{wanted.get('newTag', tag)}"


def pod_template(resource: Resource) -> dict[str, Any]:
    """The pod template of a workload; empty for other kinds."""
    spec = resource.get("spec", {})
    template: dict[str, Any] = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
    return template


def _replace(wanted: dict[str, Any], resources: list[Resource]) -> None:
    kind, name = wanted["source"]["kind"], wanted["source"]["name"]
    (source,) = (r for r in resources if (r["kind"], r["metadata"]["name"]) == (kind, name))
    value = source
    for key in wanted["source"]["fieldPath"].split("."):
        value = value[key]
    for target in wanted["targets"]:
        for resource in _selected(target["select"], resources):
            for path in target["fieldPaths"]:
                _set(resource, path.split("."), value)


def _set(node: Any, path: list[str], value: object) -> None:
    """Set what a replacement's path leads to; a named item that is missing is made, last."""
    *steps, last = path
    for step, following in zip(steps, path[1:], strict=True):
        if named := re.fullmatch(r"\[name=(.+)]", step):
            item = next((one for one in node if one["name"] == named[1]), None)
            if item is None:
                item = {"name": named[1]}
                node.append(item)
            node = item
        elif isinstance(node, list):
            node = node[int(step)]
        else:
            node = node.setdefault(step, [] if following.startswith("[") else {})
    node[last] = value
