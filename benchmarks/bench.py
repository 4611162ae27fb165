"""What the cases share: the programs in use, alternating rounds, and notes on what went wrong."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeVar

from benchmarks.client import Address
from benchmarks.machine import BenchError, Cores, Program, find_program, free_port
from benchmarks.proxies import PEERS, Command, Site
from benchmarks.tokens import TokenEndpoint
from benchmarks.upstream import Target, Upstream, check_reply

_T = TypeVar("_T")

Samples = dict[str, list[float]]
"""The samples of one figure, by the column that they belong to."""


class OutOfTime(Exception):
    """The run's time is over; what was measured so far counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long and how often things are measured.

    Attributes:
        seconds: of one round; wrk knows whole seconds only.
        schemes: which of plain and tls.
        quick: smaller numbers of everything.
        deadline: on ``monotonic``, after which no round begins; None for none.
    """

    rounds: int
    seconds: int
    schemes: tuple[str, ...]
    quick: bool
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy in use."""

    program: Program
    address: Address

    def url(self, path: str) -> str:
        """A path on it, for wrk."""
        host, port = self.address
        return f"http://{host}:{port}{path}"


Fleet = Mapping[str, Running]


@dataclass(slots=True)
class Bench:
    """A run of the benchmarks.

    Attributes:
        names: the proxies asked for, in the order of their columns.
        found: executables by the name of the proxy; those that are missing are absent.
        notes: what could not be measured and why, each once.
    """

    effort: Effort
    cores: Cores
    directory: Path
    upstream: Upstream
    tokens: TokenEndpoint
    names: tuple[str, ...]
    found: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _fleets: dict[str, Fleet] = field(default_factory=dict)

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def note(self, text: str) -> None:
        """Say it below the tables."""
        if text not in self.notes:
            self.notes.append(text)

    def check_time(self) -> None:
        """Raises OutOfTime after the deadline."""
        if self.effort.deadline is not None and monotonic() > self.effort.deadline:
            raise OutOfTime

    def fleet(self, scheme: str) -> Fleet:
        """Every proxy on this upstream, started at first use and kept for the other cases."""
        if scheme not in self._fleets:
            self._fleets[scheme] = self._stack.enter_context(self.fresh(scheme))
        return self._fleets[scheme]

    @contextmanager
    def fresh(
        self,
        scheme: str,
        names: Sequence[str] = tuple(PEERS),
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Fleet]:
        """Those of these proxies that were found, newly started and answering."""
        target = self.upstream.target(scheme)
        commands: dict[str, tuple[Command, int]] = {}
        for name in names:
            if name in self.found:
                site = self.site(name, target)
                command = PEERS[name].command(site)
                own = dict(command.environment) | dict(environment or {})
                commands[name] = (Command(command.argv, own), site.port)
        with self.running(commands) as fleet:
            yield fleet

    @contextmanager
    def running(self, commands: Mapping[str, tuple[Command, int]]) -> Iterator[Fleet]:
        """These commands, each with its port, once they answer; the others are noted."""
        with ExitStack() as stack:
            started = {
                name: stack.enter_context(self.start(name, command))
                for name, (command, _) in commands.items()
            }
            fleet: dict[str, Running] = {}
            for name, program in started.items():
                address = ("127.0.0.1", commands[name][1])
                try:
                    program.wait_until(partial(check_reply, address))
                except BenchError as exc:
                    self.note(f"{name}: {exc}")
                else:
                    fleet[name] = Running(program, address)
            yield fleet

    def start(self, name: str, command: Command) -> Program:
        """Start a proxy on its core; the caller leaves the program's ``with`` block."""
        return Program(
            command.argv,
            cores=self.cores.proxy,
            log=self.own_directory(name) / f"{name}.log",
            environment=command.environment,
        )

    def site(self, name: str, target: Target, *, purpose: str = "bench") -> Site:
        """A place for a proxy that was found to run in."""
        scheme = "tls" if target.tls else "plain"
        directory = self.own_directory(f"{name}-{purpose}-{scheme}")
        return Site(self.found[name], free_port(), target, directory)

    def own_directory(self, name: str) -> Path:
        """A directory by that name."""
        directory = self.directory / name.replace(" ", "-")
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def alternate(
        self, what: str, fleet: Mapping[str, _T], measure: Callable[[_T], Sequence[float]]
    ) -> list[Samples]:
        """Let the proxies take turns, one measurement of each per round.

        Gives the samples of each figure that a measurement has, by proxy. One that fails is
        noted, and left out.
        """
        taken: dict[str, list[Sequence[float]]] = {name: [] for name in fleet}
        for _ in range(self.effort.rounds):
            for name in list(taken):
                self.check_time()
                try:
                    taken[name].append(measure(fleet[name]))
                except (BenchError, OSError) as exc:
                    del taken[name]
                    self.note(f"{name}, {what}: {exc}")
        figures = max((len(rows[0]) for rows in taken.values()), default=0)
        return [
            {name: [row[index] for row in rows] for name, rows in taken.items()}
            for index in range(figures)
        ]


def find_peers(names: Sequence[str], places: Sequence[Path]) -> tuple[dict[str, str], list[str]]:
    """The executables of these proxies, and a note for each that is missing."""
    found: dict[str, str] = {}
    missing: list[str] = []
    for name in names:
        peer = PEERS[name]
        program = find_program(peer.executable, places)
        if program:
            found[name] = program
        else:
            missing.append(f"{name} is missing: install {peer.package}")
    return found, missing
