"""Time as an argument: one clock object that tests can replace."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Two readings and a timer.

    Ages and deadlines use ``now``; only timestamps for people and Prometheus use ``wall``.
    """

    def now(self) -> float:
        """Seconds since some start, counting the time that the machine was suspended."""
        ...

    def wall(self) -> float:
        """Unix time in seconds."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> "Timer":
        """Call back once ``seconds`` have passed, unless cancelled before."""
        ...


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """Forget it; harmless when it was made already."""
        ...


class SystemClock:
    """The machine's clock. Linux counts suspended time in CLOCK_BOOTTIME; elsewhere monotonic."""

    # Bound once, without a frame of their own: clocks are read on the path of each request.
    now = staticmethod(
        partial(time.clock_gettime, time.CLOCK_BOOTTIME)
        if hasattr(time, "CLOCK_BOOTTIME")
        else time.monotonic
    )
    wall = staticmethod(time.time)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See Clock.call_later; suspended time does not count here."""
        return asyncio.get_running_loop().call_later(max(0.0, seconds), callback)
