"""Runs the real commands as processes of their own, and waits for what they say."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_ROOT = str(Path(__file__).parent.parent)
_DEADLINE_SECONDS = 20.0


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of its own, and with the given ones."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("WXPROXY_")}
    return {**own, "PYTHONPATH": _ROOT, "PYTHONUNBUFFERED": "1", **given}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    status: int
    out: str
    err: str


class Command:
    """A running ``wxproxy`` command; its standard output and error are kept as text."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.out = ""
        self.err = ""
        self._readers = asyncio.gather(self._read("out"), self._read("err"))

    async def _read(self, name: str) -> None:
        stream = self._process.stdout if name == "out" else self._process.stderr
        assert stream is not None
        while chunk := await stream.read(65536):
            setattr(self, name, getattr(self, name) + chunk.decode())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.returncode

    def close_input(self) -> None:
        """End its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until either output matches."""
        async with asyncio.timeout(_DEADLINE_SECONDS):
            while True:
                found = re.search(pattern, self.out) or re.search(pattern, self.err)
                if found:
                    return found
                assert not self._readers.done(), f"ended without {pattern}: {self.err}"
                await asyncio.sleep(0.01)

    async def ended(self, *, seconds: float = _DEADLINE_SECONDS) -> Ended:
        """Wait until it has ended by itself, at most so long."""
        async with asyncio.timeout(seconds):
            status = await self._process.wait()
            await self._readers
        return Ended(status, self.out, self.err)

    async def kill(self) -> None:
        """End it by force if it still runs."""
        if self.status is None:
            self._process.kill()
        await self._process.wait()
        await self._readers


@asynccontextmanager
async def running(
    *argv: str,
    env: Mapping[str, str] | None = None,
    program: tuple[str, ...] = (sys.executable, "-m", "wxproxy"),
    directory: Path | None = None,
) -> AsyncIterator[Command]:
    """Start ``wxproxy``, or another program; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(*program, *argv),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(env or {}),
        cwd=directory,
    )
    command = Command(process)
    try:
        yield command
    finally:
        await command.kill()


async def run(*argv: str, env: Mapping[str, str] | None = None) -> Ended:
    """Run ``wxproxy`` with these arguments to its end."""
    async with running(*argv, env=env) as command:
        return await command.ended()
