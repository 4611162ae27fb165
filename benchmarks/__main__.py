"""``python -m benchmarks``: run the cases, print the tables, write them to a directory."""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from benchmarks import machine
from benchmarks.bench import Bench, Effort, OutOfTime, find_peers
from benchmarks.cases import CASES
from benchmarks.machine import BenchError, Cores, find_program, printed
from benchmarks.proxies import PEERS
from benchmarks.table import Table, as_data, document
from benchmarks.tokens import TokenEndpoint
from benchmarks.upstream import Upstream, check_reply

_HERE = Path(__file__).parent
_NEEDED = {
    "wrk": "the Debian package wrk",
    "nginx": "the Debian package nginx-light",
    "openssl": "the Debian package openssl",
    "taskset": "the Debian package util-linux",
}
_QUICK_SECONDS = 50
_SCHEMES = ("plain", "tls")


def main() -> int:
    """Run what the command line asks for; the exit status."""
    chosen = _arguments()
    missing = [package for name, package in _NEEDED.items() if not find_program(name, ())]
    if missing:
        print(f"benchmarks: install {', '.join(missing)}", file=sys.stderr)
        return 2
    # Leaves the "with" blocks, which end every program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = monotonic()
    tables, about, notes = _run(chosen, started)
    about["took"] = f"{monotonic() - started:.0f} s"
    _write(chosen.results, tables, about, notes)
    print(document(about, tables, notes))
    return 0 if tables else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", type=_listed(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--proxies", type=_listed(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--upstream", type=_listed(_SCHEMES), help="plain, tls")
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (5)")
    parser.add_argument("--seconds", type=int, help="whole seconds of a round (3)")
    parser.add_argument("--quick", action="store_true", help="a rough look that ends in 60 s")
    parser.add_argument(
        "--programs", type=Path, default=Path(".venv-bench/bin"), help="where other proxies are"
    )
    parser.add_argument("--results", type=Path, default=_HERE / "results", help="where to write")
    return parser.parse_args()


def _listed(names: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    known = tuple(names)

    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(word.strip() for word in text.split(","))
        for word in chosen:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return chosen

    return parse


def _effort(chosen: argparse.Namespace, started: float) -> Effort:
    return Effort(
        rounds=chosen.rounds or (1 if chosen.quick else 5),
        seconds=chosen.seconds or (1 if chosen.quick else 3),
        schemes=chosen.upstream or _SCHEMES,
        quick=chosen.quick,
        deadline=started + _QUICK_SECONDS if chosen.quick else None,
    )


def _run(
    chosen: argparse.Namespace, started: float
) -> tuple[list[Table], dict[str, str], list[str]]:
    """The tables, what they depend on, and notes on what is missing."""
    cores = Cores.here()
    os.sched_setaffinity(0, cores.others)
    machine.raise_file_limit()
    directory = (_HERE / "out").resolve()
    places = (chosen.programs.resolve(),)
    names = tuple(name for name in PEERS if name in (chosen.proxies or PEERS))
    found, missing = find_peers(names, places)
    nginx = find_program("nginx", ())
    assert nginx is not None
    with TokenEndpoint() as tokens:
        upstream = Upstream(nginx, directory, token_port=tokens.port)
        with (
            upstream.start(cores.others) as program,
            Bench(
                _effort(chosen, started), cores, directory, upstream, tokens, names, found
            ) as bench,
        ):
            program.wait_until(lambda: check_reply(upstream.plain.address))
            bench.notes.extend(missing)
            if len(cores.others) == 1 and cores.others == cores.proxy:
                bench.note("there is one core only: the proxies share it with the load")
            tables = _measure(bench, _chosen_cases(chosen))
            return tables, _about(bench), bench.notes


def _chosen_cases(chosen: argparse.Namespace) -> tuple[str, ...]:
    if chosen.only:
        only: tuple[str, ...] = chosen.only
        return only
    return tuple(name for name, case in CASES.items() if case.in_quick or not chosen.quick)


def _measure(bench: Bench, names: Sequence[str]) -> list[Table]:
    tables: dict[str, Table] = {}
    for name in names:
        print(f"benchmarks: {name}", file=sys.stderr, flush=True)
        try:
            for table in CASES[name].measure(bench):
                if table.title in tables:
                    tables[table.title].rows.extend(table.rows)
                else:
                    tables[table.title] = table
        except OutOfTime:
            bench.note(f"{name}: cut short, because a quick run's time was over")
        except (BenchError, OSError) as exc:
            bench.note(f"{name}: {exc}")
    return list(tables.values())


def _about(bench: Bench) -> dict[str, str]:
    versions = [PEERS[name].version_of(program) for name, program in bench.found.items()]
    versions.append("wrk " + printed(["wrk", "-v"], r"wrk \S*?([\d.]+)"))
    effort = bench.effort
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "wxproxy commit": _commit(),
        "versions": ", ".join(versions),
        **machine.facts(bench.cores),
        "effort": f"medians of {effort.rounds} rounds of {effort.seconds} s, in turn"
        + (", quick: a rough look" if effort.quick else ""),
    }


def _commit() -> str:
    argv = ["git", "-C", str(_HERE), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _write(
    directory: Path, tables: Sequence[Table], about: dict[str, str], notes: Sequence[str]
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "latest.md").write_text(document(about, tables, notes))
    data = json.dumps(as_data(about, tables, notes), indent=1)
    (directory / "latest.json").write_text(data + "\n")


if __name__ == "__main__":
    sys.exit(main())
