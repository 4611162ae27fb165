"""The alert rules: they mean metrics that exist, and fire when they should and else not."""

import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.files import MONITORING, program
from tests.deploy.kustomize import load_all
from tests.deploy.promql import troubles
from wxproxy.metric_table import METRICS
from wxproxy.refusals import RefusalClass, refusal

ALERTS = MONITORING / "alerts.yaml"
CASES = Path(__file__).with_name("alerts.test.yaml")


def rules() -> list[dict[str, Any]]:
    (document,) = load_all(ALERTS)
    (group,) = document["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


every_rule = pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])


@every_rule
def test_a_rule_means_metrics_that_exist(rule: dict[str, Any]) -> None:
    """Names, labels and values are those of the program's table."""
    assert troubles(rule["expr"]) == []


def test_what_does_not_exist_is_found() -> None:
    """The check of expressions sees wrong names, labels and values."""
    assert troubles("wxproxy_made_up_total") == ["metric wxproxy_made_up_total"]
    assert troubles("wxproxy_request_duration_seconds") != []
    assert troubles('wxproxy_token_valid{colour="red"}') == ["wxproxy_token_valid: label colour"]
    assert troubles('wxproxy_retries_total{outcome="odd"}') == [
        "wxproxy_retries_total: outcome=odd"
    ]
    assert troubles("sum by (colour) (wxproxy_token_valid)") == ["label colour"]
    assert troubles("sum by (le) (rate(wxproxy_request_duration_seconds_bucket[5m]))") == []


@every_rule
def test_a_rule_tells_what_to_do(rule: dict[str, Any]) -> None:
    """Each alert has a severity, one line of summary and a runbook of numbered steps."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert "\n" not in rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"].startswith("1. ")


def errcodes(alert: str) -> set[int]:
    (expression,) = (rule["expr"] for rule in rules() if rule["alert"] == alert)
    _, _, rest = expression.partition('refresh_errors_total{errcode=~"')
    return {int(code) for code in rest.partition('"')[0].split("|")}


@pytest.mark.parametrize(
    ("alert", "classes"),
    [
        ("WxproxySecretRefused", {RefusalClass.CONFIGURATION}),
        ("WxproxyAddressRefused", {RefusalClass.WAITING, RefusalClass.BLOCKED}),
        ("WxproxyAccountRefused", {RefusalClass.ACCOUNT}),
        ("WxproxyQuotaUsedUp", {RefusalClass.QUOTA}),
    ],
    ids=["secret", "address", "account", "quota"],
)
def test_every_refusal_that_somebody_must_end_pages(alert: str, classes: set[RefusalClass]) -> None:
    """Each alert has exactly the errcodes of its classes in the program's table of refusals."""
    (spec,) = (one for one in METRICS if one.name == "wxproxy_token_refresh_errors_total")
    (label,) = (one for one in spec.labels if one.name == "errcode")
    known = {int(value) for value in label.values if value.lstrip("-").isdigit()}

    assert errcodes(alert) == {code for code in known if refusal(code).refusal_class in classes}


def test_the_operator_gets_the_same_rules() -> None:
    """PrometheusRule is alerts.yaml, indented, under its head."""
    text = (MONITORING / "prometheusrule.yaml").read_text("utf-8")
    head, _, spec = text.partition("\nspec:\n")

    assert spec == textwrap.indent(ALERTS.read_text("utf-8"), "  ")
    resource = yaml.safe_load(head)
    kind = (resource["apiVersion"], resource["kind"])
    assert kind == ("monitoring.coreos.com/v1", "PrometheusRule")


def test_prometheus_takes_the_rules() -> None:
    """promtool finds nothing wrong with them."""
    promtool(["check", "rules", str(ALERTS)])


def test_rules_fire_when_they_should_and_else_not() -> None:
    """The cases of alerts.test.yaml hold: each rule firing, each not, whole cycles without any."""
    promtool(["test", "rules", str(CASES)])


def test_every_rule_is_seen_firing_and_not_firing() -> None:
    """Each rule fires at some moment of a case, and at another of the same case does not."""
    (document,) = load_all(CASES)
    seen: set[str] = set()
    for case in document["tests"]:
        moments = [
            set(re.findall(r'alertname="(\w+)"', str(moment["exp_samples"])))
            for moment in case["promql_expr_test"]
        ]
        seen |= set().union(*moments) - set.intersection(*moments)

    assert seen == {rule["alert"] for rule in rules()}


def promtool(arguments: list[str]) -> None:
    ended = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
