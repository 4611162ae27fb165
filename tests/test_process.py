"""What the serving commands' process does about signals, threads and limits of the system."""

import asyncio
import ctypes
import signal
import sys

import pytest

from tests.commands import Ended, running

# Each program says "ready" once it has got as far as its test needs.
HANGS = """
import asyncio, sys, time
if "no-uvloop" in sys.argv:
    sys.modules["uvloop"] = None
from wxproxy import process
signals = process.Signals()
async def main(stopping):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    print("ready", flush=True)
    await stopping.wait()
    print("stopping", flush=True)
    if "twice" in sys.argv:
        await asyncio.sleep(60)
    return 7
process.run(main, signals)
"""
BUSY_BEFORE_THE_LOOP = """
import sys
from wxproxy import process
signals = process.Signals()
print("ready", flush=True)
sys.stdin.read()
async def main(stopping):
    await stopping.wait()
    return 7
process.run(main, signals)
"""
STUCK = """
import sys, time
from wxproxy import process
signals = process.Signals()
async def main(stopping):
    print("ready", flush=True)
    while True:
        pass
process.run(main, signals)
"""
FAILS = """
from wxproxy import process
from wxproxy.errors import ConfigError
async def main(stopping):
    raise ConfigError("told")
try:
    process.run(main, process.Signals())
except ConfigError as exc:
    print(exc.message)
"""


async def stopped(program: str, number: signal.Signals, *argv: str, times: int = 1) -> Ended:
    """Run a program, send it a signal so often once it is ready, and wait for its end."""
    async with running("-c", program, *argv, program=(sys.executable,)) as command:
        await command.says("ready")
        for _ in range(times - 1):
            command.send(number)
            await command.says("stopping")
        command.send(number)
        return await command.ended(seconds=5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
@pytest.mark.parametrize("loop", ["uvloop", "no-uvloop"])
async def test_a_signal_stops_without_waiting_for_threads(
    number: signal.Signals, loop: str
) -> None:
    """A name lookup that hangs in a thread does not hold the exit up, whatever the loop."""
    ended = await stopped(HANGS, number, loop)

    assert (ended.status, ended.out) == (7, "ready\nstopping\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
async def test_a_second_signal_exits_at_once(number: signal.Signals) -> None:
    """Its status is that of a process killed by the signal."""
    ended = await stopped(HANGS, number, "twice", times=2)

    assert ended.status == 128 + number


async def test_a_second_signal_ends_a_loop_that_is_stuck() -> None:
    """The handler does not need the event loop's help."""
    async with running("-c", STUCK, program=(sys.executable,)) as command:
        await command.says("ready")
        status = None
        while status is None:  # signals sent at once may be delivered as one
            command.send(signal.SIGTERM)
            await asyncio.sleep(0.01)
            status = command.status

    assert status == 128 + signal.SIGTERM


async def test_a_signal_before_the_loop_runs_is_not_lost() -> None:
    """A stop while modules are still being imported stops the command."""
    async with running("-c", BUSY_BEFORE_THE_LOOP, program=(sys.executable,)) as command:
        await command.says("ready")
        command.send(signal.SIGTERM)
        command.close_input()
        ended = await command.ended(seconds=5)

    assert ended.status == 7


async def test_an_error_of_the_command_reaches_its_caller() -> None:
    """The command line turns a configuration error into its message."""
    async with running("-c", FAILS, program=(sys.executable,)) as command:
        ended = await command.ended()

    assert (ended.status, ended.out, ended.err) == (0, "told\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
async def test_the_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    """Ten thousand clients need more than the usual 1,024 files."""
    program = """
import resource
from wxproxy import process
limit = resource.RLIMIT_NOFILE
_, hard = resource.getrlimit(limit)
resource.setrlimit(limit, (64, hard))
process.prepare()
print(resource.getrlimit(limit) == (hard, hard))
"""
    async with running("-c", program, program=(sys.executable,)) as command:
        ended = await command.ended()

    assert ended.out == "True\n"


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2") if sys.platform == "linux" else True,
    reason="glibc alone maps large blocks so, and counts them",
)
async def test_large_buffers_are_not_mapped_anew_each_time() -> None:
    """Without the allocator step each read from TLS maps and unmaps its buffer."""
    program = """
import ctypes
from wxproxy import process
class Info(ctypes.Structure):
    _fields_ = [(str(n), ctypes.c_size_t) for n in range(10)]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.argtypes = [ctypes.c_size_t]
libc.malloc.restype = ctypes.c_void_p
def mapped():
    return getattr(libc.mallinfo2(), "3")
process.prepare()
before = mapped()
libc.malloc(512 * 1024)
print(mapped() - before)
"""
    async with running("-c", program, program=(sys.executable,)) as command:
        ended = await command.ended()

    assert ended.out == "0\n"
