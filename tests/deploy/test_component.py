"""What the components make of a Deployment, a StatefulSet, a Job and a CronJob."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import KINDS, kustomization, workload
from tests.deploy.files import K8S, sidecar
from tests.deploy.kustomize import Refused, Resource, load_all, pod_template, render

BASE_URL = {"name": "WECHAT_API_BASE_URL", "value": "http://127.0.0.1:5780"}

every_kind = pytest.mark.parametrize("kind", KINDS)


def of_kind(resources: list[Resource], kind: str, *, name: str = "") -> Resource:
    (found,) = (
        one
        for one in resources
        if one["kind"] == kind and one["metadata"]["name"] == (name or kind.lower())
    )
    return found


@every_kind
def test_the_application_changes_in_its_base_url_alone(workloads: Path, kind: str) -> None:
    """Sidecar, volumes, label and base URL taken away again, the workload is as it was."""
    result = copy.deepcopy(of_kind(render(workloads), kind))
    template = pod_template(result)
    spec = template["spec"]

    assert template["metadata"]["labels"].pop("wxproxy") == "native"
    assert spec["initContainers"].pop(0)["name"] == "wxproxy"
    added = {"wxproxy-config", "wxproxy-secrets", "wxproxy-tmp"}
    assert {volume["name"] for volume in spec["volumes"]} == added | {"data"}
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in added]
    assert spec["containers"][0]["env"].pop() == BASE_URL
    assert result == workload(kind)


@every_kind
def test_the_sidecar_starts_before_the_applications_own_init_containers(
    workloads: Path, kind: str
) -> None:
    """Migrations and the like may call WeChat too, so the sidecar comes first, and stays."""
    spec = pod_template(of_kind(render(workloads), kind))["spec"]

    assert [one["name"] for one in spec["initContainers"]] == ["wxproxy", "migrate"]
    assert spec["initContainers"][0]["restartPolicy"] == "Always"
    assert all(one["name"] != "wxproxy" for one in spec["containers"])


def test_a_workload_may_opt_out(workloads: Path) -> None:
    """The label wxproxy=off leaves a workload as it is."""
    apart = of_kind(render(workloads), "Deployment", name="redis")

    assert apart == workload("Deployment", name="redis", labels={"wxproxy": "off"})


def test_a_container_without_variables_gets_its_base_url(tmp_path: Path) -> None:
    """The variable is set whether or not the container had any."""
    bare = workload("Deployment")
    del pod_template(bare)["spec"]["containers"][0]["env"]
    (result,) = render(kustomization(tmp_path / "bare", [bare], component="component"))

    assert pod_template(result)["spec"]["containers"][0]["env"] == [BASE_URL]


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_a_classic_sidecar_is_refused_in_jobs(tmp_path: Path, kind: str) -> None:
    """It would keep a Job from ever ending, so that nothing is rendered."""
    directory = kustomization(
        tmp_path / "jobs", [workload(kind, name="mail")], component="component-classic"
    )

    with pytest.raises(Refused, match="a Job never ends beside a classic sidecar"):
        render(directory)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_the_classic_sidecar_holds_the_application_back_and_outlives_it(
    tmp_path: Path, kind: str
) -> None:
    """It is the first container, waits in postStart, and delays its end within the grace period."""
    directory = kustomization(tmp_path / "old", [workload(kind)], component="component-classic")
    (result,) = render(directory)
    spec = pod_template(result)["spec"]
    first, application, logs = spec["containers"]

    assert (first["name"], application["name"], logs["name"]) == ("wxproxy", "shop", "logs")
    assert first["lifecycle"]["postStart"]["exec"]["command"][:2] == ["wxproxy", "wait"]
    assert {"name": "WXPROXY_SHUTDOWN_DELAY_SECONDS", "value": "20"} in first["env"]
    assert spec["terminationGracePeriodSeconds"] == 60
    assert application["env"][-1] == BASE_URL
    assert [one["name"] for one in spec["initContainers"]] == ["migrate"]


def patch(file: str) -> dict[str, Any]:
    (document,) = load_all(K8S / file)
    return document


def test_a_cronjob_gets_what_the_others_get() -> None:
    """The two patches of the native component differ in their depth alone."""
    nested = pod_template(patch("component/cronjob.yaml"))

    assert nested == pod_template(patch("component/pod.yaml"))


def test_the_classic_sidecar_is_the_native_one_but_for_what_makes_it_classic() -> None:
    """Image, probes, resources and security are the same in both."""
    native = sidecar(patch("component/pod.yaml"))
    classic = sidecar(patch("component-classic/pod.yaml"))

    assert native.pop("restartPolicy") == "Always"
    del classic["lifecycle"]
    assert classic["env"].pop()["name"] == "WXPROXY_SHUTDOWN_DELAY_SECONDS"
    assert classic == native
    volumes = [
        pod_template(patch(f"{component}/pod.yaml"))["spec"]["volumes"]
        for component in ("component", "component-classic")
    ]
    assert volumes[0] == volumes[1]


def test_the_annotations_name_the_ops_listener(workloads: Path) -> None:
    """Scraping by annotations goes to the sidecar's own port and path."""
    kustomization_file = workloads / "kustomization.yaml"
    text = kustomization_file.read_text("utf-8")
    line = next(line for line in text.splitlines() if line.endswith("/component"))
    annotations = line.replace("/component", "/monitoring/annotations")
    kustomization_file.write_text(f"{text}{annotations}\n", "utf-8")

    for kind in KINDS:
        result = of_kind(render(workloads), kind)
        given = pod_template(result)["metadata"]["annotations"]
        (port,) = sidecar(result)["ports"]
        assert given == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(port["containerPort"]),
            "prometheus.io/path": "/metrics",
        }
