"""Fixtures: workloads of all kinds that a component is applied to."""

import os
from pathlib import Path

import pytest
import yaml

from tests.deploy.files import K8S, NOT_TESTED
from tests.deploy.kustomize import Resource


def workload(kind: str, *, name: str = "", **metadata: object) -> Resource:
    """A workload whose pod has two containers, an init container, variables and a volume."""
    template = {
        "metadata": {"labels": {"app": "shop"}},
        "spec": {
            "restartPolicy": "Always" if kind in {"Deployment", "StatefulSet"} else "Never",
            "initContainers": [{"name": "migrate", "image": "shop:1"}],
            "containers": [
                {
                    "name": "shop",
                    "image": "shop:1",
                    "env": [{"name": "COLOUR", "value": "red"}],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                },
                {"name": "logs", "image": "logs:1"},
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }
    selector = {"selector": {"matchLabels": {"app": "shop"}}}
    specs: dict[str, Resource] = {
        "Deployment": {**selector, "template": template},
        "StatefulSet": {**selector, "serviceName": "shop", "template": template},
        "Job": {"template": template},
        "CronJob": {"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}},
    }
    version = "batch/v1" if kind in {"Job", "CronJob"} else "apps/v1"
    named = {"name": name or kind.lower(), **metadata}
    return {"apiVersion": version, "kind": kind, "metadata": named, "spec": specs[kind]}


KINDS = ("Deployment", "StatefulSet", "Job", "CronJob")


def kustomization(directory: Path, resources: list[Resource], *, component: str) -> Path:
    """A kustomization of these resources with one of the components."""
    directory.mkdir(exist_ok=True)
    (directory / "workloads.yaml").write_text(yaml.safe_dump_all(resources), "utf-8")
    path = os.path.relpath(K8S / component, directory.resolve())
    text = f"resources:\n  - workloads.yaml\ncomponents:\n  - {path}\n"
    (directory / "kustomization.yaml").write_text(text, "utf-8")
    return directory


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what could not be tested on this machine."""
    skipped = terminalreporter.getreports("skipped")
    reasons = {str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)}
    for reason in sorted(reasons):
        if NOT_TESTED in reason:
            terminalreporter.section(reason.removeprefix("Skipped: "), sep="*", red=True)


@pytest.fixture
def workloads(tmp_path: Path) -> Path:
    """One workload of each kind with the native component, and one that opted out."""
    apart = workload("Deployment", name="redis", labels={"wxproxy": "off"})
    resources = [*map(workload, KINDS), apart]
    return kustomization(tmp_path / "workloads", resources, component="component")
