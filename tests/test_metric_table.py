"""The table of metrics."""

import re
from pathlib import Path

import pytest

import wxproxy
from wxproxy.metric_table import ERROR_CODES, METRICS, OTHER, MetricSpec

SOURCES = Path(wxproxy.__file__).parent
# Words that no client is answered with: they end a command, a token call or a connection.
NEVER_ANSWERED = {"config", "no_accounts", "fetch_failed", "client_gone"}

ids = [spec.name for spec in METRICS]


@pytest.mark.parametrize("spec", METRICS, ids=ids)
def test_names_follow_the_conventions_of_prometheus(spec: MetricSpec) -> None:
    """A name has the prefix, counters end in _total, and times are in seconds."""
    assert re.fullmatch(r"wxproxy_[a-z_]+", spec.name)
    assert spec.name.endswith("_total") == (spec.type == "counter")
    assert (spec.type != "histogram") or spec.name.endswith("_seconds")
    assert bool(spec.buckets) == (spec.type == "histogram")
    assert spec.help.endswith(".")


def test_no_metric_is_listed_twice() -> None:
    """Each name stands once in the table."""
    assert len(set(ids)) == len(METRICS)


@pytest.mark.parametrize("spec", METRICS, ids=ids)
def test_account_and_route_never_meet(spec: MetricSpec) -> None:
    """No metric multiplies accounts by routes, and no histogram has labels at all."""
    names = {label.name for label in spec.labels}

    assert not {"account", "route"} <= names
    assert not (spec.type == "histogram" and names)


@pytest.mark.parametrize("spec", METRICS, ids=ids)
def test_values_at_start_are_of_the_closed_set(spec: MetricSpec) -> None:
    """A series that exists from the start is one that can be counted."""
    for label in spec.labels:
        assert not label.values or set(label.at_start) <= set(label.values)


def test_every_error_that_a_client_can_see_has_its_label() -> None:
    """Each code that the sources give an error is in the table, so that none becomes other."""
    written = re.compile(r'\bcode\s*=\s*"([a-z_]+)"')
    codes = {
        code for file in SOURCES.glob("*.py") for code in written.findall(file.read_text("utf-8"))
    }

    assert {"no_token", "upstream_broken"} <= codes
    assert codes - NEVER_ANSWERED <= set(ERROR_CODES)
    assert OTHER in ERROR_CODES
