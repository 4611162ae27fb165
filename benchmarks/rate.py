"""Requests at a fixed rate, whether or not earlier ones were answered.

A latency counts from the moment a request was due, so that the wait for a free connection
counts too. The generator's own lateness in waking up does not: it is no proxy's fault.
"""

import gc
import select
import socket
from collections import deque
from time import perf_counter

from benchmarks.client import Address, many, missing_bytes
from benchmarks.machine import BenchError

_PATIENCE_SECONDS = 2.0


class _Generator:
    def __init__(self, connections: list[socket.socket], sent: bytes) -> None:
        self._free = list(connections)
        self._sent = sent
        self._due: deque[float] = deque()
        self._begun: dict[socket.socket, float] = {}
        self._received: dict[socket.socket, bytes] = {}
        self.latencies_ms: list[float] = []

    @property
    def is_done(self) -> bool:
        return not self._begun and not self._due

    def add_due(self, count: int) -> None:
        """Note that so many requests are due now, and send what has a connection."""
        self._due.extend([perf_counter()] * count)
        while self._due and self._free:
            connection = self._free.pop()
            self._begun[connection] = self._due.popleft()
            self._received[connection] = b""
            connection.sendall(self._sent)

    def read(self, wait_s: float) -> None:
        """Read what comes within the time, which select keeps to the microsecond."""
        for connection in select.select(list(self._begun), [], [], wait_s)[0]:
            chunk = connection.recv(65536)
            if not chunk:
                raise BenchError("a connection was closed before its reply was whole")
            self._received[connection] += chunk
            if missing_bytes(self._received[connection]) <= 0:
                self.latencies_ms.append((perf_counter() - self._begun.pop(connection)) * 1e3)
                self._free.append(connection)


def latencies_ms(
    address: Address, sent: bytes, *, per_second: int, seconds: float, connections: int = 32
) -> list[float]:
    """The latency of each request in milliseconds.

    Raises:
        BenchError: the proxy fell behind by more than two seconds, or broke a connection.
    """
    with many(address, connections) as opened:
        generator = _Generator(opened, sent)
        gc.collect()
        gc.disable()
        try:
            _run(generator, per_second, round(per_second * seconds))
        finally:
            gc.enable()
    return generator.latencies_ms


def _run(generator: _Generator, per_second: int, total: int) -> None:
    begun, started = 0, perf_counter()
    while begun < total:
        now = perf_counter()
        due = min(total, int((now - started) * per_second) + 1)
        generator.add_due(due - begun)
        begun = due
        generator.read(max(0.0, started + begun / per_second - perf_counter()))
    deadline = perf_counter() + _PATIENCE_SECONDS
    while not generator.is_done:
        if perf_counter() > deadline:
            raise BenchError(f"cannot keep up with {per_second} requests a second")
        generator.read(0.1)
        generator.add_due(0)
