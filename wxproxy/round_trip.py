"""One attempt at WeChat: a connection, the request written, the reply's head awaited."""

import asyncio
from typing import Any
from urllib.parse import quote

from aiohttp.streams import StreamReader

from wxproxy.client_body import ClientBodies
from wxproxy.clock import Clock
from wxproxy.errors import ClientGone, UpstreamError
from wxproxy.exchange import Exchange, ProxyLimits
from wxproxy.metrics import Metrics
from wxproxy.paths import Rule
from wxproxy.routing import Credential
from wxproxy.schedule import Token
from wxproxy.tasks import spawn
from wxproxy.upstream import Upstream
from wxproxy.upstream_connection import UpstreamConnection

_NEEDS_LENGTH = frozenset({"POST", "PUT", "PATCH"})
_SAFE = frozenset({"GET", "HEAD"})


class RoundTrips:
    """Sends requests to their accounts' upstreams."""

    def __init__(
        self,
        bodies: ClientBodies,
        *,
        metrics: Metrics,
        clock: Clock,
        limits: ProxyLimits,
    ) -> None:
        self._bodies = bodies
        self._metrics = metrics
        self._now = clock.now
        self._limits = limits

    async def run(
        self, x: Exchange, token: Token | None
    ) -> tuple[Upstream, UpstreamConnection, Any, StreamReader]:
        """Write the request and wait for the reply's head. The connection is the caller's.

        Raises:
            UpstreamError: no reply could be had.
            ClientGone: the client left before anything was sent, or in the middle of its body.
        """
        # Safe to send again as long as not one byte of a reply came: a GET or HEAD of our own.
        may_resend = x.plan.rule is Rule.INJECT and x.message.method in _SAFE
        resent = False
        while True:
            upstream = x.upstreams[0]
            up = upstream.take() if len(x.upstreams) == 1 else None
            if up is None:
                upstream, up = await self._connect(x)
            try:
                head = self._prepare(x, upstream, up, token)
                if x.content is None:
                    message, payload = await self._upload(x, up, head)
                else:
                    up.send(head + x.content)
                    x.written = True
                    x.connection.wait_for(up, self._limits.reply_head_s)
                    message, payload = await up.read_head()
                    if message.code < 200:
                        message, payload = await self._final_head(up, message.code)
            except UpstreamError as exc:
                is_stale = up.reused and not up.heard and exc.status == UpstreamError.status
                upstream.discard(up)
                self._metrics.upstream_error(exc.code)
                if resent:
                    self._metrics.retry("connection", "failed")
                if not (is_stale and may_resend and not resent and x.content is not None):
                    raise
                resent = True
                upstream.drop_idle()
                x.stop_if_gone("connect")
            except BaseException:
                upstream.discard(up)
                raise
            else:
                if resent:
                    self._metrics.retry("connection", "ok")
                x.upstream_s = self._now() - x.sent_at
                return upstream, up, message, payload

    async def _connect(self, x: Exchange) -> tuple[Upstream, UpstreamConnection]:
        """A connection to the first upstream that has one."""
        failure: UpstreamError | None = None
        for upstream in sorted(x.upstreams, key=lambda one: one.is_sinking):
            up = upstream.take()
            if up is not None:
                return upstream, up
            x.stage = "connect"
            try:
                up = await upstream.open()
            except UpstreamError as exc:
                self._metrics.upstream_error(exc.code)
                failure = exc
            else:
                if x.connection.is_gone:
                    upstream.give_back(up)
                    raise ClientGone("the client left")
                return upstream, up
            x.stop_if_gone("connect")
        assert failure is not None
        raise failure

    def _prepare(
        self, x: Exchange, upstream: Upstream, up: UpstreamConnection, token: Token | None
    ) -> bytes:
        """Make everything ready for the write; gives the request's head."""
        plan, method = x.plan, x.message.method
        up.expect_reply(to_head=method == "HEAD")
        x.written = False
        x.stage = "reply"
        if token is not None:
            credential = token.value
        elif plan.credential is Credential.SECRET:
            credential = quote(x.secret.current().reveal(), safe="")
        else:
            credential = ""
        line = f"{method} {plan.prefix}{credential} HTTP/1.1\r\n".encode("ascii")
        if x.length or method in _NEEDS_LENGTH or x.head.content_length is not None:
            # Never chunked: WeChat answers 412 (wechat-facts.md S44, S45).
            length = b"Content-Length: %d\r\n\r\n" % x.length
        else:
            length = b"\r\n"
        x.sent_at = self._now()
        return b"".join((line, upstream.host_line, x.head.forward, length))

    async def _final_head(
        self, up: UpstreamConnection, code: int = 100
    ) -> tuple[Any, StreamReader]:
        """Skip interim replies; ``code`` is that of the one that was read already, if any."""
        for _ in range(self._limits.interim_replies):
            if code == 101:
                raise UpstreamError("WeChat switched protocols, which was not asked for")
            message, payload = await up.read_head()
            code = message.code
            if code >= 200:
                return message, payload
        raise UpstreamError("WeChat sent too many interim (1xx) replies")

    async def _upload(
        self, x: Exchange, up: UpstreamConnection, head: bytes
    ) -> tuple[Any, StreamReader]:
        """Write head and body while listening for an early reply, which ends the upload."""
        x.stage = "body"
        up.send(head)
        pump = spawn(self._pump(x, up), name="wxproxy-upload")
        reply = spawn(self._final_head(up), name="wxproxy-early-reply")
        try:
            await asyncio.wait((pump, reply), return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                failure = pump.exception()
                x.written = failure is None
                if not reply.done() and failure is not None and up.is_connected():
                    raise failure  # the client's side failed; no reply will come
                x.connection.wait_for(up, self._limits.reply_head_s)
            x.stage = "reply"
            return await reply
        finally:
            pump.cancel()
            reply.cancel()
            await asyncio.wait((pump, reply))
            for task in (pump, reply):
                if not task.cancelled():
                    task.exception()

    async def _pump(self, x: Exchange, up: UpstreamConnection) -> None:
        async for chunk in self._bodies.chunks(x):
            up.send(chunk)
            if up.writing_paused:
                x.connection.wait_for(up, self._limits.reply_gap_s)
                await up.drain()
