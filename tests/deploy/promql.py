"""What an expression asks of the metrics, as far as their table can tell."""

import re
from collections.abc import Iterator

from wxproxy.metric_table import METRICS, MetricSpec

# What the scrape adds, and what a histogram's series have.
TARGET_LABELS = {"job", "instance", "namespace", "pod", "container"}
_PROCESS_METRICS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
_HISTOGRAM_SERIES = ("_bucket", "_sum", "_count")
_SPECS = {spec.name: spec for spec in METRICS}

_SELECTOR = re.compile(r"\b((?:wxproxy|process)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")


def troubles(expression: str) -> list[str]:
    """What the expression names and the program does not have: metrics, labels, their values."""
    selectors = _SELECTOR.findall(expression)
    found = [trouble for name, matchers in selectors for trouble in _selector(name, matchers)]
    known = {label for name, _ in selectors for label in _labels(name)}
    for grouping in _GROUPING.findall(expression):
        wanted = {label.strip() for label in grouping.split(",")}
        found += (f"label {label}" for label in wanted - known - TARGET_LABELS)
    return found


def metrics(expression: str) -> set[str]:
    """The metrics of the table that the expression uses."""
    return {spec.name for name, _ in _SELECTOR.findall(expression) if (spec := _spec(name))}


def _spec(name: str) -> MetricSpec | None:
    for suffix in _HISTOGRAM_SERIES:
        base = _SPECS.get(name.removesuffix(suffix))
        if name.endswith(suffix) and base is not None and base.type == "histogram":
            return base
    exact = _SPECS.get(name)
    return exact if exact is not None and exact.type != "histogram" else None


def _labels(name: str) -> set[str]:
    spec = _spec(name)
    if spec is None:
        return set()
    return {label.name for label in spec.labels} | ({"le"} if spec.type == "histogram" else set())


def _selector(name: str, matchers: str) -> Iterator[str]:
    spec = _spec(name)
    if spec is None:
        if name not in _PROCESS_METRICS:
            yield f"metric {name}"
        return
    closed = {label.name: set(label.values) for label in spec.labels}
    for label, _operator, value in _MATCHER.findall(matchers):
        if label not in closed | dict.fromkeys(TARGET_LABELS):
            yield f"{name}: label {label}"
        elif not value.startswith("$") and closed.get(label):
            yield from (
                f"{name}: {label}={one}" for one in value.split("|") if one not in closed[label]
            )
