"""What the sidecar saves clients that open a connection for each call, far from WeChat."""

import sys
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.client import ask_once, connect, request, timed_ms
from benchmarks.figures import median
from benchmarks.machine import Program, free_port
from benchmarks.proxies import PEERS
from benchmarks.table import Row, Table
from benchmarks.tokens import token_of
from benchmarks.upstream import SMALL, Target, trust

_ROUND_TRIP_MS = 30
_CALLS = 40
_QUICK_CALLS = 8
_WARM_UP_CALLS = 2


def distance(bench: Bench) -> Iterator[Table]:
    """From connect to reply over 30 ms: TLS 1.3 to the upstream, and plain to the sidecar."""
    port = free_port()
    tls = bench.upstream.tls
    far = Target(port, True, tls.ca_file)
    argv = [sys.executable, "-m", "benchmarks.relay", str(port), str(tls.port)]
    log = bench.own_directory("relay") / "relay.log"
    with Program([*argv, str(_ROUND_TRIP_MS)], cores=bench.cores.others, log=log) as relay:
        relay.wait_until(lambda: connect(far.address).close())
        cells = {"direct, TLS 1.3": _calls(bench, far, far)}
        for name in ("wxproxy", "envoy"):
            if name in bench.found:
                bench.check_time()
                cells[f"through {name}"] = _through(bench, name, far)
    direct_ms = median(cells["direct, TLS 1.3"])
    gains = {column: [direct_ms / one for one in samples] for column, samples in cells.items()}
    table = Table(
        f"A connection for each call, {_ROUND_TRIP_MS} ms from WeChat",
        tuple(cells),
        [Row("connect to reply", "ms", cells), Row("times as fast", "", gains)],
    )
    table.notes.append(
        "A relay on this machine stands for the distance. It cannot delay the TCP handshake, so"
        " it adds a round trip to the first bytes of each connection."
    )
    yield table


def _through(bench: Bench, name: str, far: Target) -> list[float]:
    site = bench.site(name, far, purpose="distance")
    with bench.running({name: (PEERS[name].command(site), site.port)}) as fleet:
        for one in fleet.values():
            near = Target(one.address[1], False, far.ca_file)
            return _calls(bench, near, far)
    return []


def _calls(bench: Bench, to: Target, far: Target) -> list[float]:
    """Milliseconds of each call, on a connection of its own and without a resumed session."""
    tls = trust(far.ca_file) if to.tls else None
    path = SMALL + ("&access_token=" + token_of("direct") if to.tls else "")
    sent = request(path, headers=["Connection: close"])
    for _ in range(_WARM_UP_CALLS):
        ask_once(to.address, sent, tls=tls)
    count = _QUICK_CALLS if bench.effort.quick else _CALLS
    return [timed_ms(lambda: ask_once(to.address, sent, tls=tls)) for _ in range(count)]
