"""Thousands of requests that wait for one token; the same burst through nginx."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.bench import Bench, Fleet, Running, Samples
from benchmarks.client import many, replies_at, request, send_to_all
from benchmarks.proxies import Command, Site, wxproxy_environment
from benchmarks.table import Row, Table
from benchmarks.upstream import SMALL

_WAITERS = 5_000
_QUICK_WAITERS = 500
# Time for the proxy to read them all; less than token_wait_seconds, which is 3.
_GATHER_SECONDS = 1.5


def watched(site: Site, environment: dict[str, str]) -> tuple[Command, Path]:
    """wxproxy with its loop watched, and the file that its notes go to."""
    file = site.directory / "watch.json"
    argv = [site.program, "-m", "benchmarks.watched"]
    return Command(argv, environment | {"BENCH_WATCH": str(file)}), file


def noted(one: Running, file: Path) -> dict[str, float]:
    """What was seen since the last time this was asked."""
    file.unlink(missing_ok=True)
    one.program.send_signal(signal.SIGUSR1)
    one.program.wait_until(file.stat)
    seen: dict[str, float] = json.loads(file.read_text())
    return seen


def burst(bench: Bench) -> Iterator[Table]:
    """5,000 requests that wait for one token, and 5,000 at once through nginx and Envoy."""
    count = _QUICK_WAITERS if bench.effort.quick else _WAITERS
    cells: dict[str, Samples] = {}
    for _ in range(bench.effort.rounds):
        bench.check_time()
        if "wxproxy" in bench.found:
            for name, value in _stampede(bench, count).items():
                cells.setdefault(name, {}).setdefault("wxproxy", []).append(value)
    others = [name for name in ("envoy", "nginx") if name in bench.found]
    with bench.fresh("plain", others) as fleet:
        last = _plain_bursts(bench, fleet, count)
    cells.setdefault("last reply", {}).update(last)
    units = {"token calls": "", "waiting requests": ""}
    table = Table(
        f"{count:,} requests at once, on as many connections",
        ("wxproxy", *others),
        [Row(name, units.get(name, "ms"), samples) for name, samples in cells.items()],
        "nginx",
    )
    table.notes.append(
        "wxproxy has no token when they come and gets it when they all wait; its times count"
        " from the token's release, the others' from the first request."
    )
    yield table


def _stampede(bench: Bench, count: int) -> dict[str, float]:
    site = bench.site("wxproxy", bench.upstream.plain, purpose="burst")
    command, file = watched(site, wxproxy_environment(site))
    address = ("127.0.0.1", site.port)
    bench.tokens.hold()
    calls_before = bench.tokens.calls
    with bench.start("wxproxy burst", command) as program:
        program.wait_until(lambda: bench.tokens.check_calls(calls_before + 1))
        with many(address, count) as connections:
            send_to_all(connections, request(SMALL))
            sleep(_GATHER_SECONDS)
            released = perf_counter()
            bench.tokens.release()
            ended = replies_at(connections)
        seen = noted(Running(program, address), file)
    return {
        "token calls": bench.tokens.calls - calls_before,
        "waiting requests": seen["waiters"],
        "token's release to first waiter resumed": (seen["first_at"] - released) * 1e3,
        "first to last waiter resumed": (seen["last_at"] - seen["first_at"]) * 1e3,
        "first reply": (ended[0] - released) * 1e3,
        "last reply": (ended[-1] - released) * 1e3,
    }


def _plain_bursts(bench: Bench, fleet: Fleet, count: int) -> Samples:
    def measure(one: Running) -> tuple[float]:
        with many(one.address, count) as connections:
            started = perf_counter()
            send_to_all(connections, request(SMALL))
            return ((replies_at(connections)[-1] - started) * 1e3,)

    figures = bench.alternate("burst", fleet, measure)
    return figures[0] if figures else {}
