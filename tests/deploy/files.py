"""Where the files of the deployment are, and what their tests need of the machine."""

import os
import shutil
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from tests.deploy.kustomize import Resource, pod_template, render

ROOT = Path(__file__).parent.parent.parent
K8S = ROOT / "deploy" / "k8s"
MONITORING = K8S / "monitoring"
# Where tests/install-servers.sh puts what is not installed.
SERVERS = ROOT / "build" / "servers" / "usr" / "bin"
OVERLAYS = ("native-sidecar", "classic-sidecar", "multi-account")
# Begins the reason of a skip that is a failure in CI.
NOT_TESTED = "NOT TESTED"

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@cache
def rendered(overlay: str) -> list[Resource]:
    """The resources of an overlay; not to be changed."""
    return render(K8S / "overlays" / overlay)


def only(resources: list[Resource], kind: str) -> Resource:
    """The one resource of a kind."""
    (found,) = (one for one in resources if one["kind"] == kind)
    return found


def sidecar(workload: Resource) -> Resource:
    """The sidecar's container in a workload."""
    spec = pod_template(workload)["spec"]
    containers = (*spec.get("initContainers", ()), *spec.get("containers", ()))
    found: Resource
    (found,) = (one for one in containers if one["name"] == "wxproxy")
    return found


def program(name: str) -> str:
    """The path of a server or tool; without it the test is skipped, or fails in CI."""
    found = shutil.which(name) or shutil.which(name, path=str(SERVERS))
    return found or missing(f"{name} is not installed")


def missing(what: str) -> NoReturn:
    """Skip the test, in CI fail it, because the machine lacks something."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{NOT_TESTED}: {what}", pytrace=False)
    pytest.skip(f"{NOT_TESTED}: {what}")
