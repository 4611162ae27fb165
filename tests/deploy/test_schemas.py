"""Every rendered manifest against the schemas of Kubernetes; part of make deploy-check."""

from typing import Any

import pytest

from tests.deploy.conftest import KINDS, kustomization, workload
from tests.deploy.files import K8S, OVERLAYS, rendered
from tests.deploy.kustomize import Resource, render

# Without the package make test has nothing to check with; make deploy-check installs it.
kubernetes_validate: Any = pytest.importorskip("kubernetes_validate")

OLDEST_NATIVE, NEWEST = 29, 37
CLASSIC = range(25, OLDEST_NATIVE)
NATIVE = range(OLDEST_NATIVE, NEWEST + 1)
# Kinds of the Prometheus operator; test_manifests.py and test_alerts.py look at them.
CUSTOM = {"PodMonitor", "PrometheusRule"}

CASES = [
    (overlay, minor)
    for overlay in OVERLAYS
    for minor in (CLASSIC if overlay == "classic-sidecar" else NATIVE)
] + [("classic-sidecar", minor) for minor in NATIVE]


def validate(resource: Resource, minor: int) -> None:
    used = kubernetes_validate.validate(resource, f"1.{minor}", strict=True)
    assert used == f"1.{minor}", "the package has no schema of this version"


@pytest.mark.parametrize(("overlay", "minor"), CASES)
def test_overlays_are_valid(overlay: str, minor: int) -> None:
    """Each resource meets the strict schema: right types, no unknown field."""
    for resource in rendered(overlay):
        validate(resource, minor)


@pytest.mark.parametrize("minor", NATIVE)
def test_the_component_is_valid_in_every_kind(minor: int, workloads: Any) -> None:
    """Deployment, StatefulSet, Job and CronJob are valid with the sidecar in them."""
    for resource in render(workloads):
        validate(resource, minor)


@pytest.mark.parametrize("minor", CLASSIC)
def test_the_classic_component_is_valid_in_every_kind(minor: int, tmp_path: Any) -> None:
    """So are Deployment and StatefulSet with the classic one, on the clusters that it is for."""
    resources = [workload(kind) for kind in KINDS if kind not in {"Job", "CronJob"}]
    directory = kustomization(tmp_path / "old", resources, component="component-classic")

    for resource in render(directory):
        validate(resource, minor)


def test_monitoring_is_valid() -> None:
    """What is no custom resource of the monitoring folder meets the schemas too."""
    resources = [one for one in render(K8S / "monitoring") if one["kind"] not in CUSTOM]

    assert resources
    for resource in resources:
        validate(resource, NEWEST)


def test_an_unknown_field_is_found() -> None:
    """The check is strict: a misspelt field does not pass."""
    misspelt = workload("Deployment")
    misspelt["spec"]["template"]["spec"]["initContainers"][0]["restartPolice"] = "Always"

    with pytest.raises(kubernetes_validate.ValidationError):
        validate(misspelt, NEWEST)
