"""Every proxy under the same load: requests a second, processor time, latency."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import rate
from benchmarks.bench import Bench, Running, Samples
from benchmarks.client import request
from benchmarks.figures import quantile
from benchmarks.load import post_script, wrk
from benchmarks.table import Row, Table
from benchmarks.upstream import SMALL

_TITLE = "Side by side"
_REFERENCE = "envoy"
_BODY = '{"touser":"oBench000000000000000000000001","msgtype":"text","text":{"content":"hello"}}'


@dataclass(frozen=True, slots=True)
class _Load:
    name: str
    connections: int
    script: Path | None = None


def rows(bench: Bench, measures: Sequence[Row]) -> Table:
    """Rows of the table that sets the proxies side by side."""
    return Table(_TITLE, bench.names, list(measures), _REFERENCE)


def under_load(
    one: Running, *, connections: int, seconds: int, path: str = SMALL, script: Path | None = None
) -> tuple[float, float]:
    """Requests a second, and microseconds of processor time that each took."""
    before = one.program.cpu_seconds()
    report = wrk(one.url(path), connections=connections, seconds=seconds, script=script)
    used = one.program.cpu_seconds() - before
    return report.per_second, used / report.requests * 1e6


def throughput(bench: Bench) -> Iterator[Table]:
    """Requests a second and processor time, GET and POST."""
    loads = [_Load("GET, 32 connections", 32)]
    if not bench.effort.quick:
        script = post_script(bench.directory, _BODY)
        loads += [_Load("GET, 256 connections", 256), _Load("POST, 32 connections", 32, script)]
    for scheme in bench.effort.schemes:
        for load in loads:
            what = f"{load.name}, {scheme}"
            measure = partial(_measure, load=load, seconds=bench.effort.seconds)
            figures = bench.alternate(what, bench.fleet(scheme), measure)
            yield rows(bench, _rows(what, ("req/s", "µs CPU each"), figures))


def _measure(one: Running, *, load: _Load, seconds: int) -> tuple[float, float]:
    return under_load(one, connections=load.connections, seconds=seconds, script=load.script)


def _rows(what: str, units: Sequence[str], figures: Sequence[Samples]) -> list[Row]:
    # There are no figures at all where every proxy failed.
    return [Row(what, unit, cells) for unit, cells in zip(units, figures, strict=False)]


def latency(bench: Bench) -> Iterator[Table]:
    """p50 and p99 of a client that calls one after another."""
    for scheme in bench.effort.schemes:
        what = f"1 connection, {scheme}"
        measure = partial(_one_connection, seconds=bench.effort.seconds)
        figures = bench.alternate(what, bench.fleet(scheme), measure)
        names = (f"p50 at {what}", f"p99 at {what}")
        yield rows(
            bench, [Row(name, "ms", cells) for name, cells in zip(names, figures, strict=False)]
        )


def _one_connection(one: Running, *, seconds: int) -> tuple[float, float]:
    report = wrk(one.url(SMALL), connections=1, seconds=seconds)
    return report.p50_ms, report.p99_ms


def fixed_rate(bench: Bench) -> Iterator[Table]:
    """p99 at rates that a sidecar really sees, whether or not earlier calls were answered."""
    rates = (500,) if bench.effort.quick else (500, 2000)
    for scheme in bench.effort.schemes[: 1 if bench.effort.quick else None]:
        for per_second in rates:
            what = f"p99 at {per_second:,} req/s, {scheme}"
            measure = partial(_at_rate, per_second=per_second, seconds=bench.effort.seconds)
            figures = bench.alternate(what, bench.fleet(scheme), measure)
            yield rows(bench, _rows(what, ("ms",), figures))


def _at_rate(one: Running, *, per_second: int, seconds: int) -> tuple[float]:
    samples = rate.latencies_ms(one.address, request(SMALL), per_second=per_second, seconds=seconds)
    return (quantile(samples, 0.99),)
