"""Many accounts, and many connections that do nothing."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, Running, Samples
from benchmarks.cases.beside import under_load
from benchmarks.client import many, replies_at, request, send_to_all
from benchmarks.load import accounts_script
from benchmarks.machine import BenchError
from benchmarks.proxies import Command, Site, wxproxy_environment
from benchmarks.table import Row, Table
from benchmarks.upstream import SMALL

_ACCOUNTS = (1, 100, 1000)
_IDLE = 10_000
_QUICK_IDLE = 1_000
_IDLE_PEERS = ("wxproxy", "envoy", "nginx")
_AT_ONCE = 100
_ROOM_FOR = 20_000
_ROOM = {"WXPROXY_CLIENT_CONNECTIONS": str(_ROOM_FOR)}
_FIGURES = (
    ("without them", "req/s"),
    ("with them", "req/s"),
    ("resident without them", "MB"),
    ("resident with them", "MB"),
    ("memory of each", "KB"),
)


def account_names(count: int) -> list[str]:
    """Names of that many accounts."""
    return [f"account{number:04d}" for number in range(count)]


def with_accounts(site: Site, count: int, *, ops_port: int = 0) -> Command:
    """wxproxy with that many accounts, the first of them the default."""
    lines = []
    for name in account_names(count):
        lines += ["[[accounts]]", f'name = "{name}"', f'appid = "wx{name}"']
        lines += ['secret = "bench-secret"', f'upstream = "{site.target.url}"']
    lines.insert(1, "default = true")
    config = site.directory / f"accounts-{count}.toml"
    config.write_text("\n".join(lines) + "\n")
    config.chmod(0o600)
    environment = wxproxy_environment(site, ops_port)
    for key in ("APPID", "SECRET", "UPSTREAM"):
        del environment[f"WXPROXY_{key}"]
    return Command(
        [site.program, "-m", "wxproxy", "serve"], environment | {"WXPROXY_CONFIG": str(config)}
    )


def accounts(bench: Bench) -> Iterator[Table]:
    """Throughput with 1, 100 and 1,000 accounts that take turns."""
    if "wxproxy" not in bench.found:
        return
    commands: dict[str, tuple[Command, int]] = {}
    scripts: dict[str, Path] = {}
    tokens_then = bench.tokens.calls + sum(_ACCOUNTS)
    for count in _ACCOUNTS:
        column = f"{count:,} accounts" if count > 1 else "1 account"
        site = bench.site("wxproxy", bench.upstream.plain, purpose=f"accounts-{count}")
        commands[column] = (with_accounts(site, count), site.port)
        scripts[column] = accounts_script(site.directory, account_names(count), SMALL)
    with bench.running(commands) as fleet:
        turns = {column: (one, scripts[column]) for column, one in fleet.items()}
        for one in fleet.values():
            one.program.wait_until(lambda: bench.tokens.check_calls(tokens_then))

        def measure(turn: tuple[Running, Path]) -> tuple[float, float]:
            one, script = turn
            seconds = bench.effort.seconds
            return under_load(one, connections=32, seconds=seconds, script=script)

        figures = bench.alternate("accounts", turns, measure)
        resident = {column: [one.program.resident_mb()] for column, one in fleet.items()}
    units = ("req/s", "µs CPU each")
    measures = [
        Row("32 connections, plain", unit, cells)
        for unit, cells in zip(units, figures, strict=False)
    ]
    measures.append(Row("resident", "MB", resident))
    yield Table("Accounts of one wxproxy", tuple(commands), measures, "1 account")


def idle_connections(bench: Bench) -> Iterator[Table]:
    """What 10,000 connections that have made one call each cost."""
    count = _QUICK_IDLE if bench.effort.quick else _IDLE
    cells: dict[str, Samples] = {figure: {} for figure, _ in _FIGURES}
    for name in (name for name in _IDLE_PEERS if name in bench.found):
        bench.check_time()
        with bench.fresh("plain", [name], environment=_ROOM) as fleet:
            for one in fleet.values():
                try:
                    figures = _idle(one, count, bench.effort.seconds)
                except (BenchError, OSError) as exc:
                    bench.note(f"{name}, idle connections: {exc}")
                else:
                    for (figure, _), value in zip(_FIGURES, figures, strict=True):
                        cells[figure][name] = [value]
    table = Table(
        f"{count:,} idle client connections",
        _IDLE_PEERS,
        [Row(figure, unit, cells[figure]) for figure, unit in _FIGURES],
    )
    table.notes.append(
        f"Each has made one call. wxproxy with client_connections = {_ROOM_FOR:,} instead of"
        " 10,000. Requests a second are those of 32 connections more."
    )
    yield table


def _idle(one: Running, count: int, seconds: int) -> tuple[float, ...]:
    rate_before, _ = under_load(one, connections=32, seconds=seconds)
    before_mb = one.program.resident_mb()
    with many(one.address, count) as connections:
        for begin in range(0, count, _AT_ONCE):
            some = connections[begin : begin + _AT_ONCE]
            send_to_all(some, request(SMALL))
            replies_at(some)
        with_them_mb = one.program.resident_mb()
        rate_with, _ = under_load(one, connections=32, seconds=seconds)
    each_kb = (with_them_mb - before_mb) * 1e3 / count
    return rate_before, rate_with, before_mb, with_them_mb, each_kb
