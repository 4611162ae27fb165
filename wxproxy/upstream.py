"""Connections to WeChat: aiohttp's connector and response parser below ``ClientSession``.

This is the only module that uses aiohttp's client below its documented surface (see
tests/test_aiohttp_contract.py). Pooling, TLS, DNS cache and happy eyeballs stay the library's;
ours are the choice of a pooled connection and one prepared request object per upstream.

Never log or pass on aiohttp's exceptions: they may hold the URL. Each is mapped here.
"""

import asyncio
import socket
import ssl
import time
from typing import Any, cast

from aiohttp import ClientError, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EofStream, StreamReader
from yarl import URL

from wxproxy.accounts import Origin
from wxproxy.egress import EgressProxy
from wxproxy.errors import UpstreamError, UpstreamTimeout
from wxproxy.resolver import StaleResolver
from wxproxy.unreachable import explain

_SINKING_SECONDS = 30.0  # how long an upstream that could not be connected to goes last
_DNS_CACHE_SECONDS = 60

# One address family that does not answer must leave time for the other within the limit.
_NO_TIMEOUT = ClientTimeout(total=None)


class Upstream:
    """One origin that requests are sent to.

    Attributes:
        origin: its scheme, host and port.
        proxy: what tunnels to it go through, or None.
        host_line: the ``Host`` header, ready to send.
        sinking_until: event-loop time until which it is tried after the others.
    """

    __slots__ = ("host_line", "key", "origin", "proxy", "request", "sinking_until")

    def __init__(
        self, origin: Origin, loop: asyncio.AbstractEventLoop, proxy: EgressProxy | None = None
    ) -> None:
        self.origin = origin
        self.proxy = proxy
        self.host_line = f"Host: {origin.netloc}\r\n".encode()
        self.request = ClientRequest(
            "GET",
            URL(str(origin)),
            loop=loop,
            proxy=URL(str(proxy)) if proxy else None,
            # With the Host that the connector would add: the key of the pool is a hash of these.
            proxy_headers=proxy.headers(origin) if proxy else None,
        )
        self.key = self.request.connection_key
        self.sinking_until = 0.0


class UpstreamConnection(ResponseHandler):
    """One connection to an upstream, taken by one request at a time.

    Attributes:
        reused: whether an earlier request used it.
        heard: whether any byte came since it was taken.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.reused = False
        self.heard = False
        self.upstream: Upstream | None = None
        self._parses_bodies = False

    def data_received(self, data: bytes) -> None:
        self.heard = True
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Wake whoever waits, for a head or, unlike aiohttp's own, for more of a body."""
        super().set_exception(exc, *cause)
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(exc)

    @property
    def is_usable(self) -> bool:
        """Whether a request may be written: open, and nothing stray has come in on it."""
        transport = self.transport
        return transport is not None and not transport.is_closing() and not self.should_close

    @property
    def has_reply(self) -> bool:
        """Whether a reply's head, or the connection's end, has come."""
        return bool(self._buffer) or self._exception is not None or self._eof

    def send(self, data: bytes) -> None:
        """Write bytes of the request.

        Raises:
            UpstreamError: the connection is closed.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise UpstreamError("the connection to WeChat broke while the request was sent")
        transport.write(data)

    async def drain(self) -> None:
        """Wait until the upstream has taken what was written.

        Raises:
            UpstreamError: the connection broke.
        """
        if self.writing_paused:
            try:
                await self._drain_helper()
            except (ClientError, OSError):
                raise UpstreamError(_BROKE) from None

    def expect_reply(self, *, to_head: bool) -> None:
        """Prepare the parser for the reply of the request about to be written."""
        if self._parses_bodies and not to_head:
            return  # after a whole reply the parser stands at the beginning of the next
        self._parses_bodies = not to_head
        self.set_response_params(skip_payload=to_head, read_until_eof=True, auto_decompress=False)

    async def read_head(self) -> tuple[Any, StreamReader]:
        """The next reply head and its body's stream.

        Raises:
            UpstreamError: the connection ended, or sent what is no HTTP.
            UpstreamTimeout: the watching sweep said so.
        """
        try:
            return await self.read()
        except UpstreamError:
            raise
        except (ClientError, HttpProcessingError, OSError, EofStream):
            raise UpstreamError(_BROKE) from None


_BROKE = "the connection to WeChat broke before a whole reply had come"


class _Connector(TCPConnector):
    """aiohttp's connector with our protocol, newest connection first, strays refused."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = lambda: UpstreamConnection(self._loop)  # type: ignore[assignment]

    def take(self, upstream: Upstream) -> UpstreamConnection | None:
        """The newest idle connection that is fit for use, or None."""
        idle = self._conns.get(upstream.key)
        oldest = time.monotonic() - cast(float, self._keepalive_timeout)
        while idle:
            protocol, since = idle.pop()
            connection = cast(UpstreamConnection, protocol)
            if connection.is_usable and since >= oldest:
                self._acquired.add(connection)
                if self._limit_per_host:
                    self._acquired_per_host[upstream.key].add(connection)
                return connection
            connection.close()
        return None

    async def _get(self, key: Any, traces: Any) -> Connection | None:
        # connect() looks here first, and again after it waited for a free place.
        idle = self._conns.get(key)
        while idle:
            protocol, since = idle.pop()
            connection = cast(UpstreamConnection, protocol)
            if connection.is_usable:
                idle.appendleft((connection, since))
                return await super()._get(key, traces)
            connection.close()
        return None

    def give_back(self, upstream: Upstream, connection: UpstreamConnection) -> None:
        self._release(upstream.key, connection)

    def discard(self, upstream: Upstream, connection: UpstreamConnection) -> None:
        self._release(upstream.key, connection, should_close=True)


class UpstreamPool:
    """Connections to every upstream.

    Args:
        connect_s: limit for waiting for a place, DNS, TCP and TLS together.
        idle_s: how long an unused connection is kept.
        limit: connections to one upstream.
        family: ``socket.AF_UNSPEC``, or the only address family to use.
        tls: trust settings; verification is always on.
        proxy: what upstreams that it serves are reached through; its name is what is resolved,
            and ``family`` is the proxy's.
        resolver: the system's by default.
    """

    def __init__(
        self,
        *,
        connect_s: float,
        idle_s: float,
        limit: int,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        tls: ssl.SSLContext | None = None,
        proxy: EgressProxy | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect_s = connect_s
        self._proxy = proxy
        self._connector = _Connector(
            limit=0,
            limit_per_host=limit,
            keepalive_timeout=idle_s,
            family=family,
            ssl=tls or True,
            resolver=StaleResolver(resolver),
            ttl_dns_cache=_DNS_CACHE_SECONDS,
        )
        self._upstreams: dict[Origin, Upstream] = {}

    def upstream(self, origin: Origin) -> Upstream:
        """The one Upstream object of an origin, shared by every account that uses it."""
        found = self._upstreams.get(origin)
        if found is None:
            proxy = self._proxy if self._proxy and self._proxy.serves(origin) else None
            found = self._upstreams[origin] = Upstream(origin, self._loop, proxy)
        return found

    def take(self, upstream: Upstream) -> UpstreamConnection | None:
        """An idle connection, newest first, or None when one must be opened."""
        connection = self._connector.take(upstream)
        if connection is not None:
            connection.reused = True
            connection.heard = False
        return connection

    async def open(self, upstream: Upstream) -> UpstreamConnection:
        """A connection that may be new, within the connect limit.

        Raises:
            UpstreamError: it could not be had (``upstream_unreachable``).
            UpstreamTimeout: not within the limit.
        """
        try:
            async with asyncio.timeout(self._connect_s):
                held = await self._connector.connect(upstream.request, [], _NO_TIMEOUT)
        except TimeoutError:
            self._sink(upstream)
            through = f" through the proxy {upstream.proxy}" if upstream.proxy else ""
            raise UpstreamTimeout(
                f"no connection to {upstream.origin}{through} within {self._connect_s:g} s"
            ) from None
        except (ClientError, OSError) as exc:
            self._sink(upstream)
            why = explain(upstream.origin, exc, upstream.proxy)
            raise UpstreamError(why, code="upstream_unreachable") from None
        connection = cast(UpstreamConnection, held.protocol)
        held._protocol = None  # ours to give back from here on; its finaliser would close it
        connection.reused = connection.upstream is not None
        connection.upstream = upstream
        connection.heard = False
        return connection

    def give_back(self, upstream: Upstream, connection: UpstreamConnection) -> None:
        """Return a connection whose request was written and whose reply was read to the end."""
        self._connector.give_back(upstream, connection)

    def discard(self, upstream: Upstream, connection: UpstreamConnection) -> None:
        """Close a connection in any other state."""
        self._connector.discard(upstream, connection)

    def drop_idle(self, upstream: Upstream) -> None:
        """Close the unused connections to an upstream, so that the next one is fresh."""
        while (connection := self._connector.take(upstream)) is not None:
            self._connector.discard(upstream, connection)

    def in_order(self, upstreams: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        """The upstreams in the order to try them: those that failed lately go last."""
        if len(upstreams) == 1:
            return upstreams
        now = self._loop.time()
        return tuple(sorted(upstreams, key=lambda one: one.sinking_until > now))

    @property
    def in_use(self) -> int:
        """Connections that requests hold now."""
        return len(self._connector._acquired)

    @property
    def idle(self) -> int:
        """Connections kept for later requests."""
        return sum(len(idle) for idle in self._connector._conns.values())

    async def close(self) -> None:
        """Close every connection."""
        await self._connector.close()

    def _sink(self, upstream: Upstream) -> None:
        upstream.sinking_until = self._loop.time() + _SINKING_SECONDS
