"""Time from exec to the first forwarded reply, and where wxproxy's goes."""

from collections.abc import Iterator
from time import perf_counter

from benchmarks.bench import Bench
from benchmarks.cases.beside import rows
from benchmarks.client import Address
from benchmarks.figures import by_package, parse_import_times
from benchmarks.machine import BenchError
from benchmarks.proxies import PEERS, Command
from benchmarks.table import Row, Table
from benchmarks.upstream import check_reply

_PACKAGES = 12


def startup(bench: Bench) -> Iterator[Table]:
    """From exec to the first forwarded reply, and import time by package."""

    def measure(name: str) -> tuple[float]:
        site = bench.site(name, bench.upstream.plain, purpose="startup")
        command = PEERS[name].command(site)
        return (_seconds_to_first_reply(bench, name, command, ("127.0.0.1", site.port)),)

    names = {name: name for name in bench.found}
    figures = bench.alternate("start", names, measure)
    yield rows(bench, [Row("exec to first forwarded reply", "s", cells) for cells in figures])
    if "wxproxy" in bench.found:
        yield _imports(bench)


def _seconds_to_first_reply(bench: Bench, name: str, command: Command, address: Address) -> float:
    started = perf_counter()
    with bench.start(f"{name} startup", command) as program:
        program.wait_until(lambda: check_reply(address))
        return perf_counter() - started


def _imports(bench: Bench) -> Table:
    site = bench.site("wxproxy", bench.upstream.plain, purpose="startup")
    command = PEERS["wxproxy"].command(site)
    python, *arguments = command.argv
    watched = Command([python, "-X", "importtime", *arguments], command.environment)
    with bench.start("wxproxy imports", watched) as program:
        program.wait_until(lambda: check_reply(("127.0.0.1", site.port)))
        log = program.log
    imports = parse_import_times(log.read_text(errors="replace"))
    if not imports:
        raise BenchError("python -X importtime printed nothing")
    packages = by_package(imports)
    shown = list(packages.items())[:_PACKAGES]
    rest = sum(packages.values()) - sum(took for _, took in shown)
    measures = [Row(package, "", {"ms": [took]}) for package, took in shown]
    measures += [Row("others", "", {"ms": [rest]})]
    measures += [Row("all", "", {"ms": [sum(packages.values())]})]
    return Table(
        "Imports of wxproxy serve, by package",
        ("ms",),
        measures,
        notes=["Each package's own modules, without what they import; measuring slows them."],
    )
