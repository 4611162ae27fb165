"""Cores, processes, and what a process used. Linux only: it reads /proc."""

import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Self

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 5.0


def _build() -> str:
    return "the distribution's build" if sys.base_prefix == "/usr" else "not the distribution's"


class BenchError(Exception):
    """A measurement that cannot be taken; says which and why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the measured proxy has, and which ones everything else."""

    proxy: tuple[int, ...]
    others: tuple[int, ...]

    @classmethod
    def here(cls) -> Self:
        """The first usable core for the proxy; with one core only, both share it."""
        usable = sorted(os.sched_getaffinity(0))
        return cls((usable[0],), tuple(usable[1:]) or (usable[0],))


class Program:
    """A running process, stopped on leaving the ``with`` block.

    Attributes:
        log: the file that holds what it printed.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cores: Sequence[int],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self._name = log.stem
        pinned = ["taskset", "-c", ",".join(map(str, cores)), *argv]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                pinned,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=clean_environment() | dict(environment or {}),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_until(self, is_ready: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait until ``is_ready`` raises neither OSError nor BenchError.

        Raises:
            BenchError: the process ended, or the time did.
        """
        deadline = monotonic() + seconds
        while True:
            try:
                is_ready()
                return
            except (OSError, BenchError) as exc:
                why = str(exc) or type(exc).__name__
            if self._process.poll() is not None:
                raise BenchError(f"{self._name} ended at once: {self._last_words()}")
            if monotonic() > deadline:
                raise BenchError(f"{self._name} was not ready in {seconds:.0f} s: {why}")
            sleep(0.001)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it printed nothing"

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far, its own and the kernel's for it."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_SECONDS

    def resident_mb(self) -> float:
        """Resident memory in MB (10^6 bytes)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        if found is None:
            raise BenchError(f"{self._name} has ended")
        return int(found[1]) * 1024 / 1e6


def clean_environment() -> dict[str, str]:
    """This process's environment without what would configure a proxy."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WXPROXY_") and not name.lower().endswith("_proxy")
    }


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def raise_file_limit() -> int:
    """Allow as many open files as may be; how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def find_program(name: str, places: Sequence[Path]) -> str | None:
    """The program in one of these directories, or on the path."""
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", ""), "/usr/sbin"])
    return shutil.which(name, path=path)


def printed(argv: Sequence[str], pattern: str) -> str:
    """What the pattern's group finds in what a program prints, as its version."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown version"


def facts(cores: Cores) -> dict[str, str]:
    """What the figures depend on besides the programs."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return {
        "processor": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "cores": f"proxy on {_listed(cores.proxy)}, load and upstream on {_listed(cores.others)}",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{sys.version.split()[0]}, {_build()}",
    }


def _listed(cores: Sequence[int]) -> str:
    return ", ".join(map(str, cores))
