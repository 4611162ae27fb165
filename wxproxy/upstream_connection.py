"""Connections to WeChat: aiohttp's connector and response parser below ``ClientSession``.

This is the only module that uses aiohttp's client below its documented surface (see
tests/test_aiohttp_contract.py). TLS, tunnels, DNS cache and happy eyeballs stay the library's;
the pool is in wxproxy.upstream.

Never log or pass on aiohttp's exceptions: they may hold the URL. Each is mapped here.
"""

import asyncio
import socket
import ssl
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
from wxproxy.errors import UpstreamError
from wxproxy.resolver import StaleResolver
from wxproxy.unreachable import explain

_DNS_CACHE_SECONDS = 60

# One address family that does not answer must leave time for the other within the limit.
_NO_TIMEOUT = ClientTimeout(total=None)


class UpstreamConnection(ResponseHandler):
    """One connection to an upstream, taken by one request at a time.

    Attributes:
        reused: whether an earlier request used it.
        heard: whether any byte came since it was taken.
        idle_since: event-loop time at which the pool got it back.
        lease: the connector's own hold on it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.reused = False
        self.heard = False
        self.idle_since = 0.0
        self.lease: Connection | None = None
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

    def end(self) -> None:
        """Close it, and let the connector forget it."""
        if self.lease is not None:
            self.lease.close()
            self.lease = None


_BROKE = "the connection to WeChat broke before a whole reply had come"


class Route:
    """An origin as the connector wants it: one request object for all its connections.

    Args:
        proxy: what tunnels to it go through, or None.
    """

    __slots__ = ("origin", "proxy", "request")

    def __init__(
        self, origin: Origin, proxy: EgressProxy | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.origin = origin
        self.proxy = proxy
        self.request = ClientRequest(
            "GET",
            URL(str(origin)),
            loop=loop,
            proxy=URL(str(proxy)) if proxy else None,
            proxy_headers=proxy.headers(origin) if proxy else None,
        )


class _TCPConnector(TCPConnector):
    """aiohttp's connector with our protocol. It keeps no connections: those are never released."""

    def __init__(self, **options: Any) -> None:
        super().__init__(limit=0, **options)
        self._factory = lambda: UpstreamConnection(self._loop)  # type: ignore[assignment]


class Connector:
    """Makes connections: DNS with a cache, happy eyeballs, TLS, tunnels.

    Args:
        family: ``socket.AF_UNSPEC``, or the only address family to use.
        tls: trust settings; verification is always on.
        proxy: what origins that it serves are reached through; its name is what is resolved,
            and ``family`` is the proxy's.
        resolver: the system's by default.
    """

    def __init__(
        self,
        *,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        tls: ssl.SSLContext | None = None,
        proxy: EgressProxy | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._proxy = proxy
        self._connector = _TCPConnector(
            family=family,
            ssl=tls or True,
            resolver=StaleResolver(resolver),
            ttl_dns_cache=_DNS_CACHE_SECONDS,
        )

    def route(self, origin: Origin) -> Route:
        """The way to an origin; its loop is the running one."""
        proxy = self._proxy if self._proxy and self._proxy.serves(origin) else None
        return Route(origin, proxy, asyncio.get_running_loop())

    async def connect(self, route: Route) -> UpstreamConnection:
        """A new connection; ``UpstreamConnection.end`` closes it.

        Raises:
            UpstreamError: it could not be had (``upstream_unreachable``).
        """
        try:
            lease = await self._connector.connect(route.request, [], _NO_TIMEOUT)
        except (ClientError, OSError) as exc:
            why = explain(route.origin, exc, route.proxy)
            raise UpstreamError(why, code="upstream_unreachable") from None
        connection = cast(UpstreamConnection, lease.protocol)
        connection.lease = lease
        return connection

    async def close(self) -> None:
        """Close every connection."""
        await self._connector.close()
