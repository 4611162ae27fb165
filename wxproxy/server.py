"""Client connections: aiohttp's HTTP parser and protocol, served by one task a connection.

This is the only module that uses aiohttp's server below its documented surface (see
tests/test_aiohttp_contract.py): ``RequestHandler`` brings the C parser and its flow control;
everything from a parsed head on is ours, so that a request costs no request or response object,
and a reply one ``transport.write``. Neither aiohttp's error pages nor its error and access logs
are used: they quote the request target, tokens included.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo
from aiohttp.web_server import Server

from wxproxy.accounts import Account
from wxproxy.errors import (
    ClientGone,
    ClientTimeout,
    RequestRefused,
    Unavailable,
    UpstreamTimeout,
    WxProxyError,
)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# Unread body up to this size is taken in before closing, so that the client can read the answer
# that it did not wait for, instead of meeting a reset.
_LINGER_BYTES = 1 << 20
_LINGER_SECONDS = 2.0

# What of a long reply may wait for its client; a quarter of it before more is read.
_LONG_REPLY_BYTES = 1 << 19

_NEVER = math.inf

# Pause the client at twice this: with what one read brings, all that an upload may hold in the
# parser's hands.
_READ_BUFFER_BYTES = 1 << 14


class RequestMessage(Protocol):
    """What is used of aiohttp's parsed request head."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str:
        """The request target as sent, undecodable bytes as surrogates."""
        ...

    @property
    def version(self) -> tuple[int, int]: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def should_close(self) -> bool: ...
    @property
    def chunked(self) -> bool: ...


class Expirable(Protocol):
    """Something being waited for that can be told that its time is over."""

    def set_exception(self, exc: BaseException) -> None: ...


Handler = Callable[["ClientConnection", RequestMessage, StreamReader], Awaitable[None]]
ErrorReply = Callable[["ClientConnection", WxProxyError], object]


class ClientConnection(RequestHandler):
    """One client connection; requests on it are served one after the other.

    Attributes:
        account: the account of the listener that it came in on, or None.
        keeps_alive: whether the connection stays open after the current reply.
        replied: whether the current request's reply has begun.
        version: the current request's HTTP version.
        to_head: whether it is a HEAD request, whose reply has no body.
        overloaded: whether it came in beyond the limit, to be told so and closed.
    """

    __slots__ = (
        "_busy",
        "_deadline",
        "_handler",
        "_payload",
        "_task",
        "_waited_for",
        "account",
        "keeps_alive",
        "overloaded",
        "replied",
        "server",
        "to_head",
        "version",
    )

    def __init__(self, server: "ProxyServer", account: Account | None) -> None:
        super().__init__(
            server,
            loop=server.loop,
            keepalive_timeout=0,  # the server's sweep closes idle connections
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None for "no access log"
            auto_decompress=False,
            read_bufsize=_READ_BUFFER_BYTES,
        )
        self.server = server
        self.account = account
        self.keeps_alive = True
        self.replied = False
        self.overloaded = False
        self.version: tuple[int, int] = (1, 1)
        self.to_head = False
        self._busy = False
        self._payload: StreamReader | None = None
        self._task: asyncio.Task[None] | None = None
        self._waited_for: Expirable | None = None
        self._deadline = server.loop.time() + server.idle_s

    # -- what the handler uses -------------------------------------------------------------

    @property
    def is_gone(self) -> bool:
        """Whether the client has left."""
        transport = self.transport
        return transport is None or transport.is_closing()

    @property
    def has_whole_request(self) -> bool:
        """Whether the current request's body has come in to its end."""
        return self._payload is None or self._payload.is_eof()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being served."""
        return self._busy

    def write(self, data: bytes) -> None:
        """Send bytes of a reply.

        Raises:
            ClientGone: the client has left.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the client left")
        transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken what was written, at most the write limit.

        Raises:
            ClientGone: the client left, or did not read in time and was cut off.
        """
        if not self.writing_paused:
            return
        self.wait_for(None, self.server.write_stall_s)
        try:
            await self._drain_helper()
        except ConnectionError:
            raise ClientGone("the client left") from None

    def expect_much(self) -> None:
        """Let more of a long reply wait for the client, so that reading and sending overlap."""
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=_LONG_REPLY_BYTES)

    def wait_for(self, what: Expirable | None, seconds: float) -> None:
        """Note what is waited for from now on; None means the client taking its reply."""
        self._waited_for = what
        self._deadline = self._loop.time() + seconds

    def stop_waiting(self) -> None:
        """Nothing is waited for that the sweep should end."""
        self._waited_for = None
        self._deadline = _NEVER

    def abort(self) -> None:
        """Cut the client off, so that a broken reply cannot pass for a whole one."""
        self.keeps_alive = False
        if self.transport is not None:
            self.transport.abort()

    # -- the connection's life -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = self._task_handler
        server = self.server
        self.overloaded = len(server.connections_open) >= server.max_connections
        server.connections_open.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._busy:
            self.server.forget(self)
        super().connection_lost(exc)
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(ClientGone("the client left in the middle of its request"))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        payload = self._payload
        if self._messages and payload is not None and not payload.is_eof():
            # The parser gave up in the middle of this body, and queued that as a next message.
            payload.set_exception(RequestPayloadError())
        if not self._busy and not self._messages and self._waited_for is None:
            # The first bytes of a head that is not complete: it has head_s from here.
            self.wait_for(_HEAD_BEGUN, self.server.head_s)

    async def start(self) -> None:
        """Serve requests until the connection ends; overrides aiohttp's request loop."""
        server = self.server
        try:
            while await self._next_message():
                message, payload = self._messages.popleft()
                if self._parser is not None:
                    self._parser.message_consumed()
                if self._buffer_paused:
                    self._resume_reading_if_drained()
                self._busy = True
                self._payload = payload
                self.stop_waiting()
                self.replied = False
                if isinstance(message, _ErrInfo):
                    self.keeps_alive = False
                    server.error_reply(self, _malformed(message))
                elif self.overloaded:
                    self.keeps_alive = False
                    server.error_reply(self, Unavailable(_OVERLOADED))
                else:
                    self.keeps_alive = not message.should_close
                    self.version = message.version
                    self.to_head = message.method == "HEAD"
                    await server.handler(self, message, payload)
                if not payload.is_eof():
                    self.keeps_alive = False
                    await self._linger(payload)
                self._payload = None
                self._waited_for = None
                self._busy = False
                if not self.keeps_alive or self._upgraded or server.draining:
                    break
        finally:
            server.forget(self)
            self._busy = False
            if self.transport is not None:
                self.transport.close()

    async def _next_message(self) -> bool:
        if self._messages:
            return True
        if self._force_close or self._close or self.transport is None:
            return False
        if self._waited_for is None:
            server = self.server
            allowed_s = server.head_s if self.overloaded else server.idle_s
            self._deadline = self._loop.time() + allowed_s
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            # force_close() and close() of the base class cancel the waiter, not the task.
            return False
        finally:
            self._waiter = None
        return bool(self._messages)

    async def _linger(self, payload: StreamReader) -> None:
        taken = 0
        self.wait_for(payload, _LINGER_SECONDS)
        try:
            while taken < _LINGER_BYTES and not self.is_gone:
                chunk = await payload.readany()
                if not chunk:
                    return
                taken += len(chunk)
        except Exception:
            return  # the answer was sent; how the rest of the request ends is nobody's concern

    def expire(self, now: float) -> None:
        """End what is waited for if its time is over (called by the server's sweep)."""
        if now < self._deadline:
            return
        self._deadline = _NEVER
        if self._waited_for is _HEAD_BEGUN:
            self.keeps_alive = False
            self.server.error_reply(self, _client_timeout())
            self.force_close()
        elif self._waited_for is None:
            if self._busy:
                self.abort()  # it does not read its reply
            else:
                self.force_close()
        else:
            from_client = self._waited_for is self._payload
            self._waited_for.set_exception(_client_timeout() if from_client else _wechat_timeout())

    def close_if_idle(self) -> None:
        """Close a connection on which no request is being served."""
        if not self._busy and not self._messages:
            self.force_close()

    def end(self) -> None:
        """Abort the connection and its request at once."""
        self.abort()
        if self._task is not None:
            self._task.cancel()

    # aiohttp's own versions log or answer with the request line.
    def handle_error(self, *args: Any, **kwargs: Any) -> Any:
        """Never used: errors are answered by ``ProxyServer.error_reply``."""
        raise AssertionError("unreachable")

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Say nothing: the arguments hold the request target."""


class _HeadBegun:
    def set_exception(self, exc: BaseException) -> None:
        """The sweep answers by itself."""


_HEAD_BEGUN = _HeadBegun()
_OVERLOADED = "too many client connections are open; raise the limit client_connections"


def _malformed(info: _ErrInfo) -> RequestRefused:
    # The parser's message quotes the request, so only its kind is passed on.
    kind = type(info.exc).__name__
    reason = {
        "LineTooLong": "its request line or a header is too long (8,190 bytes at most)",
        "InvalidURLError": "its target has characters that must be percent-encoded",
        "BadHttpMethod": "its method is unknown, or it is not HTTP (TLS on a plain port?)",
        "InvalidHeader": "a header is not allowed",
        "TransferEncodingError": "its chunked body is broken",
    }.get(kind, "its head or framing is broken or ambiguous")
    return RequestRefused(f"the request is not valid HTTP/1.1: {reason}")


def _client_timeout() -> ClientTimeout:
    return ClientTimeout("the request did not arrive in time")


def _wechat_timeout() -> UpstreamTimeout:
    return UpstreamTimeout("WeChat did not answer in time")


class ProxyServer(Server):
    """Makes and watches client connections.

    Attributes:
        connections_open: every connection whose socket or request is still alive.
        draining: set once; replies then carry ``Connection: close``.
    """

    def __init__(
        self,
        handler: Handler,
        error_reply: ErrorReply,
        *,
        idle_s: float,
        head_s: float,
        write_stall_s: float,
        max_connections: int,
    ) -> None:
        super().__init__(_unused)
        self.loop = self._loop
        self.handler = handler
        self.error_reply = error_reply
        self.idle_s = idle_s
        self.head_s = head_s
        self.write_stall_s = write_stall_s
        self.max_connections = max_connections
        self.draining = False
        self.connections_open: set[ClientConnection] = set()
        self._empty = asyncio.Event()

    def factory(self, account: Account | None) -> Callable[[], ClientConnection]:
        """A protocol factory for one listener; ``account`` is the listener's own, or None."""
        return lambda: ClientConnection(self, account)

    def sweep(self) -> None:
        """Expire what has waited too long; called once a second instead of a timer each."""
        now = self.loop.time()
        for connection in list(self.connections_open):
            connection.expire(now)

    def drain(self) -> None:
        """Close idle connections; the others close after the reply that they are at."""
        self.draining = True
        for connection in list(self.connections_open):
            connection.close_if_idle()

    def forget(self, connection: ClientConnection) -> None:
        """A connection and its request are over."""
        self.connections_open.discard(connection)
        if self.draining and not self.connections_open:
            self._empty.set()

    async def wait_until_empty(self, seconds: float) -> None:
        """Wait, after ``drain``, until every request has been answered, at most so long."""
        if self.connections_open:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()

    def end(self) -> None:
        """Abort every connection and request that is left."""
        for connection in list(self.connections_open):
            connection.end()


async def _unused(request: Any) -> Any:
    raise AssertionError("unreachable: connections serve themselves")
