"""The README of the manifests says what they hold."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.conftest import workload
from tests.deploy.files import K8S, only, rendered, sidecar
from tests.deploy.kustomize import pod_template, render
from wxproxy import __version__, config

TEXT = (K8S / "README.md").read_text("utf-8")


def code(language: str) -> str:
    """The one block of a language, its indentation taken away."""
    (block,) = re.findall(rf"^   ```{language}\n(.*?)^   ```", TEXT, re.M | re.S)
    return re.sub(r"^   ", "", block, flags=re.M)


def test_the_copy_paste_path_renders(tmp_path: Path) -> None:
    """The kustomization of the README, with its file, puts the sidecar into a Deployment."""
    kustomization: dict[str, Any] = yaml.safe_load(code("yaml"))
    (component,) = kustomization["components"]
    kustomization["components"] = [component.replace("path/to/deploy/k8s", str(K8S))]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
    (tmp_path / "wxproxy.toml").write_text(code("toml"), "utf-8")
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(workload("Deployment")), "utf-8")

    container = sidecar(only(render(tmp_path), "Deployment"))

    assert container["image"] == f"registry.example/wxproxy:{__version__}"


def test_its_configuration_is_one(tmp_path: Path) -> None:
    """The file is taken as it stands, and its secret is the key that the README creates."""
    file = tmp_path / "wxproxy.toml"
    file.write_text(code("toml"), "utf-8")

    (account,) = config.load({"config": str(file)}, {}).accounts

    assert account.secret_file is not None
    assert f"secret generic wxproxy --from-file={account.secret_file.name}=" in TEXT


def test_sizes_are_those_of_the_manifests() -> None:
    """The table of sizes repeats requests, limits and the size of /tmp."""
    deployment = only(rendered("native-sidecar"), "Deployment")
    resources = sidecar(deployment)["resources"]
    volumes = {one["name"]: one for one in pod_template(deployment)["spec"]["volumes"]}
    told = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", TEXT.partition("## Sizing")[2], re.M))

    assert told["memory, request"] == resources["requests"]["memory"]
    assert told["memory, limit"] == resources["limits"]["memory"]
    assert told["CPU, request"] == resources["requests"]["cpu"]
    assert told["CPU, limit"] == resources["limits"]["cpu"]
    assert told["`/tmp`"] == volumes["wxproxy-tmp"]["emptyDir"]["sizeLimit"]


def test_every_link_leads_somewhere() -> None:
    """Relative links name files and folders that exist."""
    targets = [one for one in re.findall(r"\]\(([^)\s]+)\)", TEXT) if "://" not in one]

    assert targets
    assert [target for target in targets if not (K8S / target).exists()] == []
