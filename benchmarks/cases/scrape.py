"""Prometheus scrapes a sidecar with 1,000 accounts while it serves."""

from collections.abc import Iterator
from threading import Thread
from time import sleep

from benchmarks import rate
from benchmarks.bench import Bench, Running, Samples
from benchmarks.cases.burst import noted, watched
from benchmarks.cases.scale import with_accounts
from benchmarks.client import Address, connect, request, timed_ms
from benchmarks.figures import quantile
from benchmarks.machine import free_port
from benchmarks.table import Row, Table
from benchmarks.upstream import SMALL

_ACCOUNTS = 1000
_PER_SECOND = 500
_INTERVAL_SECONDS = 5
_SCRAPES = 4
_QUICK_SCRAPES = 1


def scrape(bench: Bench) -> Iterator[Table]:
    """Latency at 500 requests a second and the longest hold of the loop, with and without."""
    if "wxproxy" not in bench.found:
        return
    site = bench.site("wxproxy", bench.upstream.plain, purpose="scrape")
    ops = ("127.0.0.1", free_port())
    accounts = with_accounts(site, _ACCOUNTS, ops_port=ops[1])
    command, file = watched(site, dict(accounts.environment))
    tokens_then = bench.tokens.calls + _ACCOUNTS
    with bench.running({"wxproxy scrape": (command, site.port)}) as fleet:
        for one in fleet.values():
            one.program.wait_until(lambda: bench.tokens.check_calls(tokens_then))
            scrapes = _QUICK_SCRAPES if bench.effort.quick else _SCRAPES
            noted(one, file)
            cells: dict[str, Samples] = {}
            for column, count in (("not scraped", 0), ("scraped", scrapes)):
                took_ms, latencies = _serve(one, ops, count, scrapes * _INTERVAL_SECONDS)
                held_ms = noted(one, file)["held_ms"]
                for name, values in (
                    ("p99", [quantile(latencies, 0.99)]),
                    ("slowest", [max(latencies)]),
                    ("longest hold of the loop", [held_ms]),
                    ("a scrape", took_ms),
                ):
                    cells.setdefault(name, {})[column] = values
            measures = [Row(name, "ms", samples) for name, samples in cells.items()]
            yield Table(
                f"Scraped every {_INTERVAL_SECONDS} s with {_ACCOUNTS:,} accounts, at"
                f" {_PER_SECOND} req/s",
                ("not scraped", "scraped"),
                measures,
            )


def _serve(
    one: Running, ops: Address, scrapes: int, seconds: int
) -> tuple[list[float], list[float]]:
    """How long each scrape took and each request, in milliseconds."""
    took_ms: list[float] = []

    def scraper() -> None:
        for _ in range(scrapes):
            sleep(_INTERVAL_SECONDS / 2)
            took_ms.append(timed_ms(lambda: _scrape(ops)))
            sleep(_INTERVAL_SECONDS / 2)

    thread = Thread(target=scraper)
    thread.start()
    latencies = rate.latencies_ms(
        one.address, request(SMALL), per_second=_PER_SECOND, seconds=seconds
    )
    thread.join()
    return took_ms, latencies


def _scrape(ops: Address) -> None:
    with connect(ops) as connection:
        connection.sendall(request("/metrics", headers=["Connection: close"]))
        while connection.recv(1 << 20):
            pass
