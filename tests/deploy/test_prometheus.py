"""A real Prometheus scrapes a running sidecar: metrics, dashboard and alerts in earnest."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.deploy.files import MONITORING, only, rendered
from tests.deploy.kustomize import pod_template
from tests.deploy.pod import configuration, started
from tests.deploy.prometheus import Prometheus, prometheus
from tests.harness import APPID, SECRET
from wxproxy.sandbox import Sandbox

CALLERS = 8
VARIABLES = {"$__rate_interval": "1m", "$account": ".*", "$instance": ".*"}


@asynccontextmanager
async def load(url: str) -> AsyncIterator[list[dict[str, object]]]:
    """Call the API from several tasks until the end; the answers so far."""
    answers: list[dict[str, object]] = []

    async def call(client: aiohttp.ClientSession) -> None:
        while True:
            async with client.get(url + "/cgi-bin/user/get") as reply:
                answers.append(await reply.json(content_type=None))
            await asyncio.sleep(0.02)

    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as callers:
        tasks = [callers.create_task(call(client)) for _ in range(CALLERS)]
        yield answers
        for task in tasks:
            task.cancel()


def queries() -> dict[str, list[str]]:
    """The dashboard's queries by panel, with its variables as Grafana fills them in."""
    panels = json.loads((MONITORING / "wxproxy-dashboard.json").read_text("utf-8"))["panels"]
    found = {panel["title"]: [one["expr"] for one in panel["targets"]] for panel in panels}
    for expressions in found.values():
        for variable, value in VARIABLES.items():
            expressions[:] = [one.replace(variable, value) for one in expressions]
    return found


def scrape_job(ops: str) -> dict[str, Any]:
    """scrape.yaml with what Kubernetes tells of a pod: the sidecar, and the application's port.

    Debian's Prometheus is built without Kubernetes' discovery; what follows it is the same.
    """
    (job,) = yaml.safe_load((MONITORING / "scrape.yaml").read_text("utf-8"))
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    template = pod_template(only(rendered("native-sidecar"), "Deployment"))
    shared = {
        "namespace": "shop",
        "pod_name": "shop-0",
        "pod_phase": "Running",
        **{f"pod_label_{name}": text for name, text in template["metadata"]["labels"].items()},
    }
    told = []
    for key, is_init in (("initContainers", "true"), ("containers", "false")):
        (container,) = template["spec"][key]
        (port,) = container["ports"]
        own = {
            "pod_container_init": is_init,
            "pod_container_name": container["name"],
            "pod_container_port_name": port["name"],
        }
        labels = {
            "__meta_kubernetes_" + re.sub(r"\W", "_", name): text
            for name, text in (shared | own).items()
        }
        target = ops if is_init == "true" else f"127.0.0.1:{port['containerPort']}"
        told.append({"targets": [target], "labels": labels})
    return {**job, "static_configs": told}


async def firing(server: Prometheus, account: str) -> dict[str, str]:
    """The summary of each alert that fires for an account, or for none."""
    return {
        rule["name"]: alert["annotations"]["summary"]
        for rule in await server.rules()
        for alert in rule["alerts"]
        if alert["state"] == "firing" and alert["labels"].get("account", account) == account
    }


async def test_prometheus_sees_a_revoked_token_under_load(sandbox: Sandbox, tmp_path: Path) -> None:
    """Series, every query of the dashboard and the rules say what happened; nothing false fires."""
    accounts = [("shop", APPID, SECRET), ("news", "wxsandbox0000000002", "wrong-secret")]
    config = configuration(tmp_path, upstream=sandbox.url, accounts=accounts)

    async with (
        started(config, overlay="native-sidecar") as pod,
        prometheus(
            tmp_path,
            job=scrape_job(pod.ops.removeprefix("http://")),
            rules=MONITORING / "alerts.yaml",
        ) as server,
        load(pod.proxy) as answers,
    ):
        await server.until('wxproxy_requests_total{account="shop",code="200"}', lambda n: n > 50)
        retried = 'sum(wxproxy_retries_total{reason="40001",outcome="ok"})'
        assert await server.value(retried) == 0, "the series is there before anything happens"
        sandbox.revoke(APPID)
        await server.until(retried, lambda n: n > 0)
        # Series that appear with their first use, for the panels that show them.
        async with aiohttp.ClientSession() as client:
            await client.get(pod.proxy + "/_wxproxy/unknown")
        await server.until('wxproxy_errors_total{code="unknown_route"}', lambda n: n == 1)
        seen = await server.value('wxproxy_requests_total{account="shop",code="200"}')
        assert seen is not None
        await server.until(
            'wxproxy_requests_total{account="shop",code="200"}', lambda n: n > seen + 50
        )

        assert all("errcode" not in answer for answer in answers), "a caller saw the dead token"
        facts = {
            "count(up)": 1,
            'up{job="wxproxy",namespace="shop",pod="shop-0",container="wxproxy"}': 1,
            'wxproxy_token_valid{account="shop"}': 1,
            'wxproxy_token_valid{account="news"}': 0,
            'wxproxy_token_refreshes_total{account="shop",trigger="startup",result="ok"}': 1,
            'wxproxy_token_rejections_total{account="shop",outcome="replaced"}': 1,
            'sum(wxproxy_token_refreshes_total{account="shop",result="error"})': 0,
            'wxproxy_token_refresh_consecutive_failures{account="shop"}': 0,
            "sum(wxproxy_upstream_errors_total)": 0,
        }
        assert {name: await server.value(name) for name in facts} == facts
        left = await server.value('wxproxy_token_expiry_timestamp_seconds{account="shop"} - time()')
        assert left is not None
        assert 7100 < left <= 7200

        empty = {
            (panel, expression)
            for panel, expressions in queries().items()
            for expression in expressions
            if not await server.query(expression)
        }
        assert empty == set()

        rules = await server.rules()
        assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}
        assert await firing(server, "shop") == {}
        refused = (await firing(server, "news"))["WxproxySecretRefused"]
        assert "of news on" in refused
        assert "errcode 40125" in refused
