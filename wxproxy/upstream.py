"""Origins that requests are sent to, and which connection a request gets.

An idle one, newest first; else, a few at a time, a new one. Beyond that few, requests wait in
line for a connection that another gives back or for their turn to connect. So a burst goes out
on connections that are warm as soon as there are some, instead of opening, and with TLS shaking
hands on, as many as it has requests: seen with 5,000 on one core, a fifth sooner.
"""

import asyncio
from collections import deque

from wxproxy.accounts import Origin
from wxproxy.errors import UpstreamError, UpstreamTimeout
from wxproxy.upstream_connection import Connector, UpstreamConnection

_SINKING_SECONDS = 30.0  # how long an upstream that could not be connected to goes last

# So many connect at once, and as many more of those in line every so often.
_CONNECTS_AT_ONCE = 16
_MINDING_SECONDS = 0.02

# None of those in line while the loop runs late by this, but for so long at most.
_LATE_SECONDS = 0.0015
_MOST_PATIENCE_SECONDS = 0.2

# Worth a connection, or None: the turn to make one.
_Place = asyncio.Future[UpstreamConnection | None]


class Upstream:
    """One origin, shared by every account that uses it, and its connections.

    Args:
        connect_s: limit for waiting in line, DNS, TCP and TLS together.
        idle_s: how long an unused connection is kept.
        limit: most connections.

    Attributes:
        origin: its scheme, host and port.
        host_line: the ``Host`` header, ready to send.
        in_use: connections that requests hold now.
    """

    __slots__ = (
        "_connect_s",
        "_connecting",
        "_connector",
        "_grew_at",
        "_idle",
        "_idle_s",
        "_is_minded",
        "_limit",
        "_line",
        "_loop",
        "_route",
        "_sinking_until",
        "host_line",
        "in_use",
        "origin",
    )

    def __init__(
        self, origin: Origin, connector: Connector, *, connect_s: float, idle_s: float, limit: int
    ) -> None:
        self.origin = origin
        self.host_line = f"Host: {origin.netloc}\r\n".encode()
        self.in_use = 0
        self._loop = asyncio.get_running_loop()
        self._connector = connector
        self._route = connector.route(origin)
        self._sinking_until = 0.0
        self._connect_s = connect_s
        self._idle_s = idle_s
        self._limit = limit
        self._connecting = 0
        self._idle: list[UpstreamConnection] = []
        self._line: deque[tuple[_Place, float]] = deque()  # with the time until which it waits
        self._is_minded = False
        self._grew_at = 0.0

    @property
    def is_sinking(self) -> bool:
        """Whether it could not be connected to lately, and goes last for a while."""
        return self._sinking_until > self._loop.time()

    @property
    def idle(self) -> int:
        """Connections kept for later requests."""
        return sum(connection.is_usable for connection in self._idle)

    def take(self) -> UpstreamConnection | None:
        """An idle connection, newest first, or None when one must be opened."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_usable and connection.idle_since + self._idle_s >= self._loop.time():
                self.in_use += 1
                connection.reused = True
                connection.heard = False
                return connection
            connection.end()
        return None

    async def open(self) -> UpstreamConnection:
        """A new connection, or one that came back meanwhile, within the connect limit.

        Raises:
            UpstreamError: it could not be had (``upstream_unreachable``).
            UpstreamTimeout: not within the limit.
        """
        until = self._loop.time() + self._connect_s
        try:
            while self._line or self._connecting >= _CONNECTS_AT_ONCE or not self._has_room:
                given = await self._stand_in_line(until)
                if given is None:
                    break
                if given.is_usable:
                    return given
                self.discard(given)  # it broke between being given and being got
            else:
                self._connecting += 1
            return await self._connect(until)
        except TimeoutError:
            self._sink()
            through = f" through the proxy {self._route.proxy}" if self._route.proxy else ""
            raise UpstreamTimeout(
                f"no connection to {self.origin}{through} within {self._connect_s:g} s"
            ) from None

    def give_back(self, connection: UpstreamConnection) -> None:
        """Return a connection whose request was written and whose reply was read to the end."""
        if not connection.is_usable:
            self.discard(connection)
            return
        while self._line:
            place, _ = self._line.popleft()
            if not place.done():
                connection.reused = True
                connection.heard = False
                place.set_result(connection)
                return
        self.in_use -= 1
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def discard(self, connection: UpstreamConnection) -> None:
        """Close a connection in any other state."""
        connection.end()
        self.in_use -= 1
        self._give_turn()

    def drop_idle(self) -> None:
        """Close the unused connections, so that the next one is fresh."""
        while self._idle:
            self._idle.pop().end()

    def sweep(self) -> None:
        """Close connections that were not used for too long, and forget those that broke."""
        oldest = self._loop.time() - self._idle_s
        idle, self._idle = self._idle, []
        for connection in idle:
            if connection.is_usable and connection.idle_since >= oldest:
                self._idle.append(connection)
            else:
                connection.end()

    async def _connect(self, until: float) -> UpstreamConnection:
        """Make a connection, in the turn that was counted."""
        try:
            async with asyncio.timeout_at(until):
                connection = await self._connector.connect(self._route)
        except BaseException as exc:
            self._leave_turn()
            if isinstance(exc, UpstreamError):
                self._sink()
            raise
        self._connecting -= 1
        self.in_use += 1
        return connection

    @property
    def _has_room(self) -> bool:
        return self.in_use + self._connecting < self._limit

    async def _stand_in_line(self, until: float) -> UpstreamConnection | None:
        """Wait for a connection that is given back, or, None, for the turn to make one.

        Raises:
            TimeoutError: neither came.
        """
        place: _Place = self._loop.create_future()
        self._line.append((place, until))
        if not self._is_minded:
            self._is_minded = True
            self._mind_later()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                got = place.result()
                if got is None:
                    self._leave_turn()
                else:
                    self.give_back(got)
            raise

    def _mind_later(self) -> None:
        due = self._loop.time() + _MINDING_SECONDS
        self._loop.call_at(due, self._mind_line, due)

    def _mind_line(self, due: float) -> None:
        """End what waited too long; let more connect where that can help."""
        line, now = self._line, self._loop.time()
        while line and (line[0][0].done() or line[0][1] <= now):
            place, _ = line.popleft()
            if not place.done():
                place.set_exception(TimeoutError())
        # A loop that is late has its hands full: more connections would serve nobody sooner.
        if now - due < _LATE_SECONDS or now - self._grew_at >= _MOST_PATIENCE_SECONDS:
            self._grew_at = now
            for _ in range(_CONNECTS_AT_ONCE):
                self._give_turn()
        self._is_minded = bool(line)
        if line:
            self._mind_later()

    def _leave_turn(self) -> None:
        """Give up a turn to connect: the next in line gets it."""
        self._connecting -= 1
        self._give_turn()

    def _give_turn(self) -> None:
        """Let the first in line connect, if there is one, and room."""
        while self._line and self._has_room:
            place, _ = self._line.popleft()
            if not place.done():
                self._connecting += 1
                place.set_result(None)
                return

    def _sink(self) -> None:
        self._sinking_until = self._loop.time() + _SINKING_SECONDS


class UpstreamPool:
    """Every upstream. Arguments are those of Upstream."""

    def __init__(
        self, connector: Connector, *, connect_s: float, idle_s: float, limit: int
    ) -> None:
        self._connector = connector
        self._connect_s = connect_s
        self._idle_s = idle_s
        self._limit = limit
        self._upstreams: dict[Origin, Upstream] = {}

    def upstream(self, origin: Origin) -> Upstream:
        """The one Upstream object of an origin."""
        found = self._upstreams.get(origin)
        if found is None:
            found = self._upstreams[origin] = Upstream(
                origin,
                self._connector,
                connect_s=self._connect_s,
                idle_s=self._idle_s,
                limit=self._limit,
            )
        return found

    @property
    def in_use(self) -> int:
        """Connections that requests hold now."""
        return sum(upstream.in_use for upstream in self._upstreams.values())

    @property
    def idle(self) -> int:
        """Connections kept for later requests."""
        return sum(upstream.idle for upstream in self._upstreams.values())

    def sweep(self) -> None:
        """Close what was not used for too long; called once a second."""
        for upstream in self._upstreams.values():
            upstream.sweep()

    async def close(self) -> None:
        """Close every connection."""
        for upstream in self._upstreams.values():
            upstream.drop_idle()
        await self._connector.close()
