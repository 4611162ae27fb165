"""What each feature costs: throughput without it, in turn with the full product."""

from collections.abc import Iterator

from benchmarks.bench import Bench, Running
from benchmarks.cases.beside import under_load
from benchmarks.figures import median
from benchmarks.proxies import Command, wxproxy_environment
from benchmarks.table import Row, Table
from benchmarks.watched import FEATURES

_ALL = "the full product"


def features(bench: Bench) -> Iterator[Table]:
    """Requests a second and processor time of wxproxy, each feature left out in turn."""
    if "wxproxy" not in bench.found:
        return
    commands: dict[str, tuple[Command, int]] = {}
    for feature in (_ALL, *FEATURES):
        site = bench.site("wxproxy", bench.upstream.plain, purpose="features")
        left_out = {} if feature == _ALL else {"BENCH_WITHOUT": feature}
        argv = [site.program, "-m", "benchmarks.watched"]
        commands[feature] = (Command(argv, wxproxy_environment(site) | left_out), site.port)

    def measure(one: Running) -> tuple[float, float]:
        return under_load(one, connections=32, seconds=bench.effort.seconds)

    with bench.running(commands) as fleet:
        figures = bench.alternate("features", fleet, measure)
    if not figures or _ALL not in figures[1]:
        return
    per_second, cpu_us = figures
    full_us = median(cpu_us[_ALL])
    measures = [
        Row(
            feature if feature == _ALL else f"without {feature}",
            "",
            {
                "req/s": per_second[feature],
                "µs CPU each": cpu_us[feature],
                "µs saved": [full_us - one for one in cpu_us[feature]],
            },
        )
        for feature in cpu_us
    ]
    yield Table(
        "Cost of features (plain, 32 connections)",
        ("req/s", "µs CPU each", "µs saved"),
        measures,
        notes=["Of header rules, what a cache in their place saves."],
    )
