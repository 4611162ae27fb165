"""The renderer of these tests does what kustomize does."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.files import K8S, OVERLAYS
from tests.deploy.kustomize import Resource, render

# Components came with kubectl 1.21.
KUBECTL_MINOR = 21


def kubectl() -> str:
    """A kubectl that knows components; CI has none, as Debian's is too old."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl")
    version = subprocess.run(
        [found, "version", "--client"], capture_output=True, text=True, check=False
    ).stdout
    minor = re.search(r"v1\.(\d+)", version)
    if minor is None or int(minor[1]) < KUBECTL_MINOR:
        pytest.skip("this kubectl knows no components")
    return found


def by_name(resources: list[Resource]) -> dict[tuple[str, str], Resource]:
    return {(one["kind"], one["metadata"]["name"]): one for one in resources}


@pytest.mark.parametrize(
    "directory",
    [*(f"overlays/{name}" for name in OVERLAYS), "monitoring", "network-policy", "base"],
)
def test_overlays_render_as_by_kustomize(directory: str) -> None:
    """Both give the same resources, names with their hashes and order of containers included."""
    printed = subprocess.run(
        [kubectl(), "kustomize", str(K8S / directory)], capture_output=True, text=True, check=True
    ).stdout

    assert by_name(list(yaml.safe_load_all(printed))) == by_name(render(K8S / directory))


def test_a_workload_with_everything_renders_as_by_kustomize(workloads: Path) -> None:
    """Jobs, CronJobs, other init containers, own variables and a label that opts out."""
    printed = subprocess.run(
        [kubectl(), "kustomize", "--load-restrictor=LoadRestrictionsNone", str(workloads)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert by_name(list(yaml.safe_load_all(printed))) == by_name(render(workloads))


def test_kustomize_refuses_a_classic_sidecar_in_a_job(workloads: Path) -> None:
    """Rendering ends with an error that says why."""
    kustomization = workloads / "kustomization.yaml"
    text = kustomization.read_text("utf-8")
    kustomization.write_text(text.replace("/component\n", "/component-classic\n"), "utf-8")

    ended = subprocess.run(
        [kubectl(), "kustomize", str(workloads)], capture_output=True, text=True, check=False
    )

    assert ended.returncode != 0
    assert "a Job never ends beside a classic sidecar" in ended.stderr


def test_what_is_not_rendered_is_an_error(tmp_path: Path) -> None:
    """A kustomization that uses more than the renderer knows is not rendered half."""
    (tmp_path / "kustomization.yaml").write_text("namePrefix: x-\n", "utf-8")

    with pytest.raises(ValueError, match="namePrefix"):
        render(tmp_path)
