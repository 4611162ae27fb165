"""``wxproxy serve`` with its event loop watched, or with one feature left out.

``BENCH_WATCH=FILE``: on SIGUSR1 the file gets, as JSON, the longest time that the loop was held
since the last such signal in milliseconds, how many callers had waited for a token, and when the
first and the last of them went on, on ``perf_counter``, which all processes of Linux share.

``BENCH_WITHOUT=NAME``: the feature does nothing. What a feature is, ``FEATURES`` says by the
places in wxproxy; a place that no longer exists ends the process, so that no figure is of
something else.
"""

import asyncio
import functools
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

_BEAT_SECONDS = 0.002


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _zero(*_: Any, **__: Any) -> int:
    return 0


def _remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.lru_cache(maxsize=4096)(function)


def _always(replacement: Callable[..., Any]) -> Callable[[Any], Callable[..., Any]]:
    return lambda _original: replacement


FEATURES: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "metrics": {
        "wxproxy.metrics:Metrics.request_done": _always(_nothing),
        "wxproxy.metrics:Metrics.injection": _always(_nothing),
    },
    "errcode look": {"wxproxy.proxy:find_errcode": _always(_zero)},
    "rejection bookkeeping": {"wxproxy.keeper:TokenKeeper.succeeded": _always(_nothing)},
    "timeouts": {"wxproxy.server:ClientConnection.wait_for": _always(_nothing)},
    "request header rules": {"wxproxy.proxy:scan_request": _remembered},
    "reply header rules": {"wxproxy.proxy:filter_reply": _remembered},
}
"""Name → place → what takes the place of what is there.

The rules for headers cannot be left out, so they are remembered: a cache answers for them.
"""


def leave_out(feature: str) -> None:
    """Replace what the feature consists of.

    Raises:
        AttributeError, ImportError: wxproxy has no such place any more.
    """
    for place, replace in FEATURES[feature].items():
        module, _, dotted = place.partition(":")
        owner: Any = importlib.import_module(module)
        *within, name = dotted.split(".")
        for part in within:
            owner = getattr(owner, part)
        setattr(owner, name, replace(getattr(owner, name)))


class Watch:
    """What is written to the file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._held_s = 0.0
        self._resumed: list[float] = []

    async def beat(self) -> None:
        """Note how late the loop is, for ever."""
        while True:
            due = perf_counter() + _BEAT_SECONDS
            await asyncio.sleep(_BEAT_SECONDS)
            self._held_s = max(self._held_s, perf_counter() - due)

    def resumed(self) -> None:
        """Note that a caller that had waited goes on."""
        self._resumed.append(perf_counter())

    def write(self, *_: object) -> None:
        """Write the file whole, and begin anew."""
        noted = {
            "held_ms": self._held_s * 1e3,
            "waiters": len(self._resumed),
            "first_at": min(self._resumed, default=0.0),
            "last_at": max(self._resumed, default=0.0),
        }
        self._held_s = 0.0
        self._resumed.clear()
        unfinished = self._file.with_suffix(".part")
        unfinished.write_text(json.dumps(noted))
        unfinished.replace(self._file)


def watch(file: Path) -> None:
    """Watch the app from its start."""
    from wxproxy.app import App
    from wxproxy.keeper import TokenKeeper
    from wxproxy.schedule import Token

    noted = Watch(file)
    started, waited = App.start, TokenKeeper.token
    beats: list[asyncio.Task[None]] = []

    async def start(self: App) -> None:
        await started(self)
        beats.append(asyncio.get_running_loop().create_task(noted.beat()))

    async def token(self: TokenKeeper) -> Token:
        got = await waited(self)
        noted.resumed()
        return got

    App.start = start  # type: ignore[method-assign]  # this is what watching means
    TokenKeeper.token = token  # type: ignore[method-assign]  # the same
    signal.signal(signal.SIGUSR1, noted.write)


def main() -> None:
    """Change what the environment asks for, then serve."""
    from wxproxy.cli import run

    if feature := os.environ.get("BENCH_WITHOUT"):
        leave_out(feature)
    if file := os.environ.get("BENCH_WATCH"):
        watch(Path(file))
    sys.exit(run(["serve"]))


if __name__ == "__main__":
    main()
