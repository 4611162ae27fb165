"""A distance: passes bytes on after half a round trip each way.

It cannot delay the TCP handshake, so the first bytes of each connection from its client wait
one more round trip. Run as ``python -m benchmarks.relay PORT TO_PORT ROUND_TRIP_MS``.
"""

import asyncio
import sys
from typing import cast


class _Side(asyncio.Protocol):
    """One end of a connection; what it receives reaches the other end later."""

    def __init__(self, delay_s: float, *, extra_s: float = 0.0) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self._loop = asyncio.get_running_loop()
        self._delay_s = delay_s
        self._not_before = self._loop.time() + delay_s + extra_s
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        for data in self._waiting:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        at = max(self._loop.time() + self._delay_s, self._not_before)
        self._loop.call_at(at, self._deliver, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._loop.call_later(self._delay_s, self._end)

    def _deliver(self, data: bytes) -> None:
        assert self.other is not None
        self.other.write(data)

    def write(self, data: bytes) -> None:
        """Send on this end, once it is connected."""
        if self.transport is None:
            self._waiting.append(data)
        else:
            self.transport.write(data)

    def _end(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


async def serve(port: int, to_port: int, round_trip_s: float) -> None:
    """Relay until cancelled."""
    loop = asyncio.get_running_loop()
    connecting: set[asyncio.Task[None]] = set()

    def accept() -> _Side:
        near = _Side(round_trip_s / 2, extra_s=round_trip_s)
        far = _Side(round_trip_s / 2)
        near.other, far.other = far, near

        async def connect() -> None:
            await loop.create_connection(lambda: far, "127.0.0.1", to_port)

        task = loop.create_task(connect())
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return near

    server = await loop.create_server(accept, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    _, own, to, milliseconds = sys.argv
    asyncio.run(serve(int(own), int(to), float(milliseconds) / 1e3))
