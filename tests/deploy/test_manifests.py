"""The rendered manifests agree with the program: routes, ports, settings, times, files."""

from pathlib import PurePosixPath
from typing import Any, cast

import pytest
import yaml

from tests.deploy.files import K8S, MONITORING, every_overlay, only, rendered, sidecar
from tests.deploy.kustomize import Resource, load_all, pod_template
from wxproxy import config
from wxproxy.ops import OpsState, build_ops_app
from wxproxy.settings import Settings

PROBES = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def environment(container: Resource) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def settings(overlay: str, tmp: Any) -> Settings:
    """The settings that the sidecar of an overlay runs with."""
    resources = rendered(overlay)
    file = tmp / "wxproxy.toml"
    file.write_text(only(resources, "ConfigMap")["data"]["wxproxy.toml"], "utf-8")
    container = sidecar(only(resources, "Deployment"))
    return config.load({}, {**environment(container), "WXPROXY_CONFIG": str(file)})


def routes() -> set[str]:
    nothing = cast(Any, None)
    app = build_ops_app(state=OpsState(), metrics=nothing, statuses=list, about={})
    return {resource.canonical for resource in app.router.resources()}


@every_overlay
def test_probes_go_to_routes_that_exist(overlay: str) -> None:
    """Each probe asks the route that means it, on the named port."""
    container = sidecar(only(rendered(overlay), "Deployment"))

    assert {name: container[name]["httpGet"]["path"] for name in PROBES} == PROBES
    assert set(PROBES.values()) <= routes()
    (port,) = container["ports"]
    assert {container[name]["httpGet"]["port"] for name in PROBES} == {port["name"]}


@every_overlay
def test_listeners_are_where_the_manifests_say(overlay: str, tmp_path: Any) -> None:
    """ops is open to kubelet on the declared port; every proxy listener stays on loopback."""
    held = settings(overlay, tmp_path)
    (port,) = sidecar(only(rendered(overlay), "Deployment"))["ports"]
    listeners = [held.listen, *(one.listen for one in held.accounts if one.listen is not None)]

    assert (held.ops_listen.host, held.ops_listen.port) == ("", port["containerPort"])
    assert {listener.host for listener in listeners} == {"127.0.0.1"}
    assert len({held.ops_listen.port, *(one.port for one in listeners)}) == len(listeners) + 1


@every_overlay
def test_the_application_is_told_the_proxy_listener(overlay: str, tmp_path: Any) -> None:
    """The base URL of the application's container is the address that the sidecar listens on."""
    listen = settings(overlay, tmp_path).listen
    containers = pod_template(only(rendered(overlay), "Deployment"))["spec"]["containers"]
    (application,) = (one for one in containers if one["name"] != "wxproxy")

    url = environment(application)["WECHAT_API_BASE_URL"]
    assert url == f"http://{listen.host}:{listen.port}"


@every_overlay
def test_files_of_the_configuration_are_mounted(overlay: str, tmp_path: Any) -> None:
    """Configuration, secrets and spool lie in whole volumes; only the spool is writable."""
    resources = rendered(overlay)
    held = settings(overlay, tmp_path)
    container = sidecar(only(resources, "Deployment"))
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}

    assert not any("subPath" in mount for mount in mounts.values())
    assert [path for path, mount in mounts.items() if not mount.get("readOnly")] == ["/tmp"]
    assert str(PurePosixPath(environment(container)["WXPROXY_CONFIG"]).parent) in mounts
    for account in held.accounts:
        assert account.secret_file is not None
        assert str(account.secret_file.parent) in mounts
    assert held.spool_dir is None, "the default is /tmp, which is mounted"


@every_overlay
def test_every_volume_of_the_sidecar_exists(overlay: str) -> None:
    """Volumes name the generated ConfigMap, and a Secret that the sidecar's user can read."""
    resources = rendered(overlay)
    deployment = only(resources, "Deployment")
    volumes = {one["name"]: one for one in pod_template(deployment)["spec"]["volumes"]}

    name = only(resources, "ConfigMap")["metadata"]["name"]
    assert volumes["wxproxy-config"]["configMap"]["name"] == name
    assert volumes["wxproxy-secrets"]["secret"]["defaultMode"] & 0o777 == 0o444
    assert {one["name"] for one in sidecar(deployment)["volumeMounts"]} <= volumes.keys()
    spool = Settings().limits.spool_total_bytes
    limit = volumes["wxproxy-tmp"]["emptyDir"]["sizeLimit"]
    assert limit.endswith("Mi")
    assert int(limit.removesuffix("Mi")) * 2**20 > spool


@every_overlay
def test_the_grace_period_covers_the_whole_shutdown(overlay: str, tmp_path: Any) -> None:
    """Delay, drain and the second after them end before kubelet kills."""
    held = settings(overlay, tmp_path)
    spec = pod_template(only(rendered(overlay), "Deployment"))["spec"]
    default_grace = 30

    needed = held.shutdown_delay_seconds + held.drain_seconds + 1
    assert needed < spec.get("terminationGracePeriodSeconds", default_grace)


@every_overlay
def test_startup_probes_outlast_the_start(overlay: str, tmp_path: Any) -> None:
    """The gate opens within 25 s of a silent WeChat, and long before kubelet would give up."""
    probe = sidecar(only(rendered(overlay), "Deployment"))["startupProbe"]
    wait = settings(overlay, tmp_path).startup_wait_seconds
    process_start = 2.0

    assert "initialDelaySeconds" not in probe
    assert wait + process_start + probe["periodSeconds"] + probe["timeoutSeconds"] <= 25
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 2 * wait


@every_overlay
def test_the_sidecar_is_hardened(overlay: str) -> None:
    """It meets the Pod Security Standard "restricted", on a read-only root."""
    security = sidecar(only(rendered(overlay), "Deployment"))["securityContext"]

    assert security == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@every_overlay
def test_the_network_policy_lets_in_what_is_needed(overlay: str) -> None:
    """It selects the pods and names ports by names that their containers have."""
    resources = rendered(overlay)
    template = pod_template(only(resources, "Deployment"))
    policy = only(resources, "NetworkPolicy")["spec"]
    ports = {port["name"] for one in containers(template) for port in one.get("ports", ())}

    assert selects(policy["podSelector"], template["metadata"]["labels"])
    named = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert named == ports
    (to_wechat,) = (rule for rule in policy["egress"] if "ipBlock" in rule["to"][0])
    assert to_wechat["ports"] == [{"port": 443, "protocol": "TCP"}]


def containers(template: Resource) -> list[Resource]:
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def selects(selector: Resource, labels: dict[str, str]) -> bool:
    (rule,) = selector["matchExpressions"]
    assert rule["operator"] == "In"
    return labels.get(rule["key"]) in rule["values"]


@every_overlay
def test_the_pod_monitor_finds_the_sidecar(overlay: str) -> None:
    """Its selector, port and path are those of the pods."""
    template = pod_template(only(rendered(overlay), "Deployment"))
    (monitor,) = load_all(MONITORING / "podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]

    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert monitor["spec"].keys() == {"selector", "namespaceSelector", "podMetricsEndpoints"}
    assert endpoint.keys() == {"port", "path", "interval", "scrapeTimeout"}
    assert selects(monitor["spec"]["selector"], template["metadata"]["labels"])
    assert endpoint["port"] in {
        port["name"] for one in containers(template) for port in one.get("ports", ())
    }
    assert endpoint["path"] in routes()


@every_overlay
def test_the_raw_scrape_configuration_finds_the_sidecar(overlay: str) -> None:
    """What it keeps are the label and the port name of the pods; init containers among them."""
    template = pod_template(only(rendered(overlay), "Deployment"))
    (job,) = yaml.safe_load((MONITORING / "scrape.yaml").read_text("utf-8"))
    kept = {
        rule["source_labels"][0]: rule["regex"]
        for rule in job["relabel_configs"]
        if rule.get("action") == "keep"
    }

    (port,) = sidecar(only(rendered(overlay), "Deployment"))["ports"]
    assert kept["__meta_kubernetes_pod_container_port_name"] == port["name"]
    assert template["metadata"]["labels"]["wxproxy"] in kept[
        "__meta_kubernetes_pod_label_wxproxy"
    ].split("|")
    assert not any("container_init" in label for label in kept)


def test_accounts_of_several_have_names_and_listeners_of_their_own(tmp_path: Any) -> None:
    """The overlay for several accounts configures more than one, of which one is the default."""
    accounts = settings("multi-account", tmp_path).accounts

    assert [account.default for account in accounts].count(True) == 1
    assert len(accounts) > 1
    assert len({account.secret_file for account in accounts}) == len(accounts)


@pytest.mark.parametrize("component", ["component", "component-classic"], ids=["native", "classic"])
def test_only_settings_that_exist_are_set(component: str) -> None:
    """Each WXPROXY_ variable of the manifests is one that the program reads."""
    (patch,) = load_all(K8S / component / "pod.yaml")
    known = {doc.environment for doc in config.describe()}

    assert environment(sidecar(patch)).keys() - {"WXPROXY_CONFIG"} <= known
