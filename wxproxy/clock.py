"""Time as an argument: one clock object that tests can replace."""

import asyncio
import time
from functools import partial
from typing import Any, Protocol


class Clock(Protocol):
    """Two readings and one wait.

    Ages and deadlines use ``now``; only timestamps for people and Prometheus use ``wall``.
    """

    def now(self) -> float:
        """Seconds since some start, counting the time that the machine was suspended."""
        ...

    def wall(self) -> float:
        """Unix time in seconds."""
        ...

    async def wait(self, future: "asyncio.Future[Any]", seconds: float) -> bool:
        """Wait for the future, at most ``seconds``; True when it is done.

        The future is neither cancelled nor consumed, whether the wait ends in time or not and
        whether the waiting task is cancelled or not.
        """
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

    async def wait(self, future: "asyncio.Future[Any]", seconds: float) -> bool:
        """See Clock.wait."""
        await asyncio.wait((future,), timeout=max(0.0, seconds))
        return future.done()
