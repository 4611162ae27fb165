"""Arithmetic on samples, and the reading of wrk's report; pure."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["WrkReport", "by_package", "median", "parse_import_times", "parse_wrk", "quantile"]

_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}
_NON_2XX = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \|( +)(\S+)$", re.MULTILINE)


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of all does not exceed.

    Raises:
        ValueError: there is no sample.
    """
    if not samples:
        raise ValueError("no samples")
    return sorted(samples)[max(0, math.ceil(share * len(samples)) - 1)]


@dataclass(frozen=True, slots=True)
class WrkReport:
    """What wrk saw.

    Attributes:
        failed: replies of another status than 2xx or 3xx.
        broken: errors of connecting, reading and writing, and replies over two seconds.
    """

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    broken: int


def parse_wrk(report: str) -> WrkReport:
    """Read what ``wrk --latency`` prints.

    Raises:
        ValueError: it is no such report.
    """
    requests = re.search(r"(\d+) requests in ", report)
    per_second = re.search(r"Requests/sec:\s+([\d.]+)", report)
    if requests is None or per_second is None:
        raise ValueError("wrk printed no report")
    failed = _NON_2XX.search(report)
    broken = _SOCKET_ERRORS.search(report)
    return WrkReport(
        requests=int(requests[1]),
        per_second=float(per_second[1]),
        p50_ms=_latency_ms(report, "50"),
        p99_ms=_latency_ms(report, "99"),
        failed=int(failed[1]) if failed else 0,
        broken=sum(map(int, broken.groups())) if broken else 0,
    )


def _latency_ms(report: str, percent: str) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m) *$", report, re.MULTILINE)
    if found is None:
        raise ValueError("wrk printed no latencies: it needs --latency")
    return float(found[1]) * _MS[found[2]]


@dataclass(frozen=True, slots=True)
class ImportTime:
    """One module's import; ``own_us`` without, ``all_us`` with what it imported itself."""

    module: str
    own_us: int
    all_us: int


def parse_import_times(report: str) -> list[ImportTime]:
    """Read what ``python -X importtime`` prints among other lines."""
    return [
        ImportTime(module=found[4], own_us=int(found[1]), all_us=int(found[2]))
        for found in _IMPORT.finditer(report)
    ]


def by_package(imports: Sequence[ImportTime]) -> dict[str, float]:
    """Milliseconds that the modules of each top-level package took themselves, most first."""
    own_ms: dict[str, float] = {}
    for one in imports:
        package = one.module.partition(".")[0]
        own_ms[package] = own_ms.get(package, 0.0) + one.own_us / 1e3
    return dict(sorted(own_ms.items(), key=lambda item: -item[1]))
