"""The docker compose example agrees with the program and with its own files."""

import subprocess
from typing import Any

import yaml

from tests.deploy.files import MONITORING, ROOT, program
from wxproxy import __version__, config
from wxproxy.sandbox.knobs import APPID, SECRET

DIRECTORY = ROOT / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((DIRECTORY / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]


def default(text: str) -> str:
    """A value with its variable not set: ``${NAME:-default}``."""
    return text.rpartition(":-")[2].removesuffix("}") if text.startswith("${") else text


def test_the_sidecar_gets_settings_that_it_takes() -> None:
    """Its environment is a configuration, for the simulated WeChat's account."""
    given = {name: default(value) for name, value in SERVICES["wxproxy"]["environment"].items()}
    secret = DIRECTORY / default(COMPOSE["secrets"]["appsecret"]["file"])
    assert given["WXPROXY_SECRET_FILE"] == "/run/secrets/appsecret"

    held = config.load({}, {**given, "WXPROXY_SECRET_FILE": str(secret)})

    assert held.accounts[0].appid == APPID
    assert secret.read_text("utf-8").strip() == SECRET
    assert secret.stat().st_mode & 0o004, "user 65532 must be able to read it"
    upstream = str(held.accounts[0].upstream[0])
    assert upstream == "http://wechat:" + SERVICES["wechat"]["command"][-1].rpartition(":")[2]


def test_the_application_shares_the_sidecars_network_and_waits_for_it() -> None:
    """127.0.0.1 is the sidecar's, and the start is gated as in a pod."""
    application = SERVICES["app"]

    assert application["network_mode"] == "service:wxproxy"
    assert application["depends_on"]["wxproxy"]["condition"] == "service_healthy"
    listen = config.load({}, {"WXPROXY_APPID": APPID, "WXPROXY_SECRET": SECRET}).listen
    url = application["environment"]["WECHAT_API_BASE_URL"]
    assert url == f"http://{listen.host}:{listen.port}"


def test_the_sidecar_is_hardened() -> None:
    """No privileges, nothing to write to but /tmp, and time to drain."""
    service = SERVICES["wxproxy"]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp"]
    held = config.load({}, {"WXPROXY_APPID": APPID, "WXPROXY_SECRET": SECRET})
    assert float(service["stop_grace_period"].removesuffix("s")) > held.drain_seconds + 1


def test_images_are_of_this_version() -> None:
    """Sidecar and simulated WeChat are what this folder is of."""
    images = {SERVICES[name]["image"] for name in ("wxproxy", "wechat")}

    assert images == {f"wxproxy:{__version__}"}


def test_every_mounted_file_exists() -> None:
    """Prometheus and Grafana get the rules and the dashboard that Kubernetes gets."""
    mounted = {
        (DIRECTORY / volume.split(":")[0]).resolve()
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
    }

    assert all(path.is_file() for path in mounted)
    assert {MONITORING / "alerts.yaml", MONITORING / "wxproxy-dashboard.json"} <= mounted


def test_prometheus_scrapes_the_sidecar() -> None:
    """Target and labels are the sidecar's."""
    document = yaml.safe_load((DIRECTORY / "prometheus.yml").read_text("utf-8"))
    ((target,),) = (job["static_configs"] for job in document["scrape_configs"])
    port = SERVICES["wxproxy"]["environment"]["WXPROXY_OPS_LISTEN"].rpartition(":")[2]

    assert target == {"targets": [f"wxproxy:{port}"], "labels": {"container": "wxproxy"}}


def test_prometheus_takes_its_configuration() -> None:
    """promtool finds nothing wrong with it."""
    ended = subprocess.run(
        [
            program("promtool"),
            "check",
            "config",
            "--syntax-only",
            str(DIRECTORY / "prometheus.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
