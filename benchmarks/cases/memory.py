"""What stays in memory after a load, and whether a renewed pool is as fast as the first."""

from collections.abc import Iterator
from time import monotonic, sleep

from benchmarks.bench import Bench, Fleet, Running, Samples
from benchmarks.cases.beside import rows, under_load
from benchmarks.load import wrk
from benchmarks.machine import BenchError
from benchmarks.proxies import PEERS
from benchmarks.table import Row, Table
from benchmarks.upstream import KEEPALIVE_SECONDS, SMALL

_HALF = 100_000
_QUICK_HALF = 5_000
_PATIENCE_SECONDS = 60


def after_load(bench: Bench) -> Iterator[Table]:
    """Resident memory after 200,000 requests, and its growth over the second half of them."""
    half = _QUICK_HALF if bench.effort.quick else _HALF
    for scheme in bench.effort.schemes:
        resident: Samples = {}
        growth: Samples = {}
        for name in bench.found:
            bench.check_time()
            with bench.fresh(scheme, [name]) as fleet:
                for one in fleet.values():
                    try:
                        first = _memory_after(one, half, bench.effort.seconds)
                        second = _memory_after(one, half, bench.effort.seconds)
                    except BenchError as exc:
                        bench.note(f"{name}, memory, {scheme}: {exc}")
                    else:
                        resident[name], growth[name] = [second], [second - first]
        what = f"resident after {2 * half:,} requests, {scheme}"
        grown = f"grown in the second half, {scheme}"
        yield rows(bench, [Row(what, "MB", resident), Row(grown, "MB", growth, compared=False)])


def _memory_after(one: Running, count: int, seconds: int) -> float:
    """Resident memory after that many requests, or by less than a round more; in MB.

    Raises:
        BenchError: they take too long.
    """
    sent, started = 0, monotonic()
    while sent < count:
        if monotonic() - started > _PATIENCE_SECONDS:
            raise BenchError(
                f"{one.program.resident_mb():.0f} MB after {sent:,} requests, which took"
                f" {_PATIENCE_SECONDS} s; no more were sent"
            )
        sent += wrk(one.url(SMALL), connections=32, seconds=seconds).requests
    return one.program.resident_mb()


def renewal(bench: Bench) -> Iterator[Table]:
    """Throughput of fresh processes on TLS, before and after all upstream connections ended."""
    with bench.fresh("tls") as fleet:
        columns = [name for name in PEERS if name in fleet]
        before = _rounds(bench, "first pool", fleet)
        sleep(KEEPALIVE_SECONDS + 2)
        after = _rounds(bench, "renewed pool", fleet)
    ratios = {
        name: [new / old for old, new in zip(before[name], after[name], strict=True)]
        for name in columns
        if name in before and name in after
    }
    table = Table(
        "The pool renewed (TLS, 32 connections)",
        columns,
        [
            Row("before", "req/s", before),
            Row("after", "req/s", after),
            Row("after / before", "", ratios),
        ],
    )
    table.notes.append(
        f"Fresh processes; between the two, {KEEPALIVE_SECONDS + 2} s without a request, after"
        " which every upstream connection is a new one."
    )
    yield table


def _rounds(bench: Bench, what: str, fleet: Fleet) -> Samples:
    def measure(one: Running) -> tuple[float, float]:
        return under_load(one, connections=32, seconds=bench.effort.seconds)

    figures = bench.alternate(f"renewal, {what}", fleet, measure)
    return figures[0] if figures else {}
