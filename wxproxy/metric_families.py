"""Counts kept as plain integers, and the text that prometheus_client makes of them."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, product

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from wxproxy.metric_table import ACCOUNT, OTHER, MetricSpec

# 1 to 5 ms of work, by format: what a scrape may hold the event loop for at once.
SAMPLES_PER_SLICE = 200


class Counts:
    """One counter's integers, by label values from their closed sets."""

    __slots__ = ("_allowed", "series")

    def __init__(
        self, spec: MetricSpec, accounts: Sequence[str], *, at_zero: Sequence[str]
    ) -> None:
        self._allowed = tuple(
            frozenset(accounts) if label is ACCOUNT else frozenset(label.values) or None
            for label in spec.labels
        )
        self.series: dict[tuple[str, ...], int] = dict.fromkeys(
            product(*(at_zero if label is ACCOUNT else label.at_start for label in spec.labels)), 0
        )

    def add(self, *labels: str) -> None:
        """Count one. A value outside its label's closed set is counted as ``other``."""
        series = self.series
        if labels not in series:
            labels = self._closed(labels)
            series.setdefault(labels, 0)
        series[labels] += 1

    def _closed(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            value if allowed is None or value in allowed else OTHER
            for value, allowed in zip(labels, self._allowed, strict=True)
        )


class Distribution:
    """One histogram's integers."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, spec: MetricSpec) -> None:
        self.bounds = spec.buckets
        self.counts = [0] * (len(spec.buckets) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration in its bucket."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


def _label_names(spec: MetricSpec) -> list[str]:
    return [label.name for label in spec.labels]


def counter_family(spec: MetricSpec, counts: Counts) -> Metric:
    """A counter as prometheus_client takes it."""
    family = CounterMetricFamily(spec.name, spec.help, labels=_label_names(spec))
    for labels, value in counts.series.items():
        family.add_metric(labels, value)
    return family


def gauge_family(
    spec: MetricSpec, values: Iterable[tuple[tuple[str, ...], float | None]]
) -> Metric:
    """A gauge as prometheus_client takes it; values of None have no series."""
    family = GaugeMetricFamily(spec.name, spec.help, labels=_label_names(spec))
    for labels, value in values:
        if value is not None:
            family.add_metric(labels, value)
    return family


def histogram_family(spec: MetricSpec, distribution: Distribution) -> Metric:
    """A histogram as prometheus_client takes it."""
    buckets = zip(
        (*map(str, distribution.bounds), "+Inf"), accumulate(distribution.counts), strict=True
    )
    family = HistogramMetricFamily(spec.name, spec.help, labels=())
    family.add_metric((), list(buckets), distribution.total)
    return family


class _Families(Collector):
    """What an encoder is given instead of a whole registry."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def slices(encode: Callable[[Collector], bytes], registry: Collector) -> Iterator[bytes]:
    """What the encoder makes of the registry, in pieces of at most SAMPLES_PER_SLICE samples."""
    end = encode(_Families())
    for family in registry.collect():
        samples, family.samples = family.samples, []
        head = encode(_Families(family)).removesuffix(end)
        yield head
        for start in range(0, len(samples), SAMPLES_PER_SLICE):
            family.samples = samples[start : start + SAMPLES_PER_SLICE]
            yield encode(_Families(family)).removesuffix(end)[len(head) :]
    yield end
