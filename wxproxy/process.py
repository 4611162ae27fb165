"""What a serving command needs of its process: signals, event loop, limits of the system."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

_ALLOCATOR_STEP_BYTES = 1 << 20
_EXIT_BY_SIGNAL = 128


class Signals:
    """SIGTERM and SIGINT: the first asks for a stop, a second exits at once.

    That exit's status is 128 and the signal's number, as after a kill. Make one before the
    slow imports: as process 1 of a container a process without handlers is deaf to SIGTERM.

    Attributes:
        stopping: set by the first signal.
    """

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._received = False
        self._loop: asyncio.AbstractEventLoop | None = None
        # Not loop.add_signal_handler: it knows neither Windows nor a loop that is stuck.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell this loop from now on, and of a signal that came before it."""
        self._loop = loop
        if self._received:
            self.stopping.set()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._received:
            os._exit(_EXIT_BY_SIGNAL + number)
        self._received = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stopping.set)


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, int]], signals: Signals) -> NoReturn:
    """Run ``main`` with the event that a signal sets, and leave with the status it returns.

    Leaves without waiting for threads: a name lookup may hang in one for half a minute.
    Exceptions of ``main`` pass.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        signals.attach(runner.get_loop())
        status = runner.run(main(signals.stopping))
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(status)


def prepare() -> None:
    """Raise the limit of open files, and let the allocator keep large buffers."""
    _raise_file_limit()
    # glibc maps and unmaps each block over 128 KiB until one of that size was freed; uvloop
    # makes such a block for each read from TLS. Seen: 1.4 times the requests a second.
    bytearray(_ALLOCATOR_STEP_BYTES)


def _raise_file_limit() -> None:
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says "unlimited" and refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
