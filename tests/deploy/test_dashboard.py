"""The dashboard: every query means metrics that exist, and none of the main ones is left out."""

import json
from typing import Any

import pytest

from tests.deploy.files import MONITORING, only
from tests.deploy.kustomize import render
from tests.deploy.promql import metrics, troubles
from wxproxy.metric_table import METRICS

DASHBOARD = json.loads((MONITORING / "wxproxy-dashboard.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
VARIABLES = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
# Shown by /status, by another metric, or needed by machines alone.
NOT_SHOWN = {
    "wxproxy_client_gone_total",
    "wxproxy_credential_injections_total",
    "wxproxy_foreign_tokens_total",
    "wxproxy_secret_last_reload_success_timestamp_seconds",
    "wxproxy_secret_reloads_total",
    "wxproxy_token_endpoint_stubbed_total",
    "wxproxy_token_last_refresh_attempt_timestamp_seconds",
    "wxproxy_token_last_refresh_success_timestamp_seconds",
    "wxproxy_token_refresh_duration_seconds",
}

every_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def queries(panel: dict[str, Any]) -> list[str]:
    """The expressions of a panel."""
    return [target["expr"] for target in panel["targets"]]


@every_panel
def test_a_panel_asks_for_metrics_that_exist(panel: dict[str, Any]) -> None:
    """Names, labels and values are those of the program's table."""
    assert queries(panel)
    for query in queries(panel):
        assert troubles(query) == []


def test_variables_come_from_metrics_that_exist() -> None:
    """The choices of account and sidecar are labels of a metric, and are used."""
    asked = " ".join(query for panel in PANELS for query in queries(panel))

    for name in ("account", "instance"):
        assert VARIABLES[name]["definition"] == f"label_values(wxproxy_token_valid, {name})"
        assert f"${name}" in asked


def test_every_panel_uses_the_chosen_data_source() -> None:
    """No panel is bound to somebody's own Prometheus."""
    assert "datasource" in VARIABLES
    for panel in PANELS:
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_no_metric_is_forgotten() -> None:
    """Each metric of the table is on the dashboard, or named above as left out."""
    shown = {name for panel in PANELS for query in queries(panel) for name in metrics(query)}

    assert shown == {spec.name for spec in METRICS} - NOT_SHOWN


def test_panels_do_not_overlap() -> None:
    """Each place of the grid belongs to one panel, and each panel has an id of its own."""
    places = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_grafana_is_given_the_dashboard() -> None:
    """The ConfigMap has the label that Grafana's sidecar looks for, and the file as it stands."""
    config_map = only(render(MONITORING), "ConfigMap")

    assert config_map["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert json.loads(config_map["data"]["wxproxy-dashboard.json"]) == DASHBOARD
