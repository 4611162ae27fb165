"""The measurements, by the names that ``--only`` takes.

A case yields its tables as it goes; rows of tables with the same title come together.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.cases import (
    beside,
    bulk,
    burst,
    distance,
    features,
    memory,
    retry,
    scale,
    scrape,
    startup,
)
from benchmarks.table import Table


@dataclass(frozen=True, slots=True)
class Case:
    """One of them.

    Attributes:
        in_quick: whether ``--quick`` runs it when ``--only`` does not say what to run.
    """

    measure: Callable[[Bench], Iterator[Table]]
    in_quick: bool = False


CASES = {
    "rps": Case(beside.throughput, in_quick=True),
    "latency": Case(beside.latency, in_quick=True),
    "rate": Case(beside.fixed_rate, in_quick=True),
    "memory": Case(memory.after_load),
    "renewal": Case(memory.renewal),
    "bulk": Case(bulk.bulk),
    "accounts": Case(scale.accounts),
    "idle": Case(scale.idle_connections),
    "burst": Case(burst.burst),
    "retry": Case(retry.retry, in_quick=True),
    "features": Case(features.features),
    "scrape": Case(scrape.scrape),
    "startup": Case(startup.startup, in_quick=True),
    "distance": Case(distance.distance, in_quick=True),
}
