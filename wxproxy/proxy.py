"""What happens to a request on the proxy listener: choose, inject, forward, look, retry once.

The flow is ``handle`` → ``_forward`` → ``_ask`` → ``_round_trip``; the rules that it applies are
in routing, headers and errcodes, the connections in server and upstream.

Who closes what: ``_round_trip`` hands over an open upstream connection, and ``_ask`` gives it
back to the pool only when the whole request was written and the reply read to its end; every
other way out, cancellation included, closes it. ``handle`` gives back the kept body.
"""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aiohttp import ClientError
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestPayloadError

from wxproxy.body import BodyKeeper, KeptBody
from wxproxy.clock import Clock
from wxproxy.credentials import SecretSource
from wxproxy.errcodes import LOOK_LIMIT, TOKEN_BAD, find_errcode, inflate
from wxproxy.errors import (
    ClientGone,
    ForeignToken,
    RequestRefused,
    TokenUnavailable,
    UpstreamError,
    WxProxyError,
)
from wxproxy.headers import ReplyHead, RequestHead, filter_reply, scan_request
from wxproxy.keeper import TokenKeeper
from wxproxy.local import LocalRequest, LocalRoutes
from wxproxy.metrics import Metrics
from wxproxy.paths import Rule
from wxproxy.replies import (
    END_OF_CHUNKS,
    JSON_TYPE,
    as_chunk,
    connection_line,
    error_headers,
    own_reply,
    status_line,
)
from wxproxy.routing import Credential, LocalPlan, Plan, Router
from wxproxy.schedule import Token
from wxproxy.server import CONTINUE, ClientConnection, RequestMessage
from wxproxy.tasks import spawn
from wxproxy.upstream import Upstream, UpstreamConnection, UpstreamPool, content_in_hand

logger = logging.getLogger("wxproxy.proxy")

# A reply of up to this length is read to its end for a client that left, to keep the connection.
_WORTH_READING_BYTES = 1 << 20

_WITHOUT_BODY = frozenset({204, 304})
_NEEDS_LENGTH = frozenset({"POST", "PUT", "PATCH"})
_BUSY_ERRCODE = -1

# What a token call or a control route may have for a body.
_LOCAL_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyLimits:
    """Limits of one exchange; times in seconds, sizes in bytes."""

    body_gap_s: float
    reply_head_s: float
    reply_gap_s: float
    body_bytes: int
    interim_replies: int
    error_status_http: bool


@dataclass(frozen=True, slots=True)
class Served:
    """What serves one account: its keeper, its AppSecret and its upstreams."""

    keeper: TokenKeeper
    secret: SecretSource
    upstreams: tuple[Upstream, ...]


class Exchange:
    """One request on its way; made for each, so kept small.

    Attributes:
        content: the whole body, or None when it streams from the client or from ``kept``.
        kept: the body as kept for a retry, or None.
        from_client: whether the body still comes from the client.
        length: the body's length in bytes.
        sent_at: ``Clock.now`` when the head was written.
        written: whether the whole request was written.
        rejected_with: WeChat's errcode for the first attempt's token, or 0.
        upstream_s: seconds from the head written to the reply's head, of the last attempt.
        stage: what is being done, for counting the clients that leave.
    """

    __slots__ = (
        "account",
        "attempts",
        "connection",
        "content",
        "from_client",
        "head",
        "keeper",
        "kept",
        "length",
        "message",
        "payload",
        "plan",
        "rejected_with",
        "secret",
        "sent_at",
        "stage",
        "status",
        "upstream_s",
        "upstreams",
        "written",
    )

    def __init__(
        self,
        connection: ClientConnection,
        message: RequestMessage,
        payload: StreamReader,
        *,
        head: RequestHead,
        plan: Plan,
        served: Served,
    ) -> None:
        self.connection = connection
        self.message = message
        self.payload = payload
        self.head = head
        self.plan = plan
        self.account = plan.account
        self.keeper = served.keeper
        self.secret = served.secret
        self.upstreams = served.upstreams
        self.content: bytes | None = None
        self.kept: KeptBody | None = None
        self.from_client = False
        self.length = 0
        self.attempts = 1
        self.rejected_with = 0
        self.sent_at = 0.0
        self.written = False
        self.upstream_s: float | None = None
        self.stage = "body"
        self.status = 0

    @property
    def may_retry(self) -> bool:
        """Whether a token error may be answered by sending once more."""
        return (
            self.plan.rule is Rule.INJECT
            and self.attempts == 1
            and (self.content is not None or self.kept is not None)
        )

    def stop_if_gone(self, stage: str) -> None:
        """Note what comes next.

        Raises:
            ClientGone: the client left during what came before.
        """
        if self.connection.is_gone:
            raise ClientGone("the client left")
        self.stage = stage


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply that is wholly in hand, nothing of it sent yet."""

    status: int
    reason: str
    head: ReplyHead
    content: bytes


class Proxy:
    """Serves the proxy listener."""

    def __init__(
        self,
        *,
        router: Router,
        served: Mapping[str, Served],
        pool: UpstreamPool,
        bodies: BodyKeeper,
        local: LocalRoutes,
        metrics: Metrics,
        clock: Clock,
        limits: ProxyLimits,
    ) -> None:
        self._router = router
        self._served = served
        self._pool = pool
        self._bodies = bodies
        self._local = local
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._warned_foreign: set[str] = set()
        self.in_flight = 0

    # -- the edge: every outcome becomes a reply, a metric and nothing else ------------------

    async def handle(
        self, connection: ClientConnection, message: RequestMessage, payload: StreamReader
    ) -> None:
        """Serve one request; raises nothing but CancelledError."""
        started = self._clock.now()
        self.in_flight += 1
        account, path, upstream_s = "", "", None
        exchange: Exchange | None = None
        try:
            head = scan_request(message.raw_headers, message.version)
            plan = self._router.plan(message.method, message.path, head, connection.account)
            path = plan.path
            if isinstance(plan, LocalPlan):
                status = await self._answer_locally(connection, message, payload, head, plan)
            else:
                account = plan.account.name
                exchange = Exchange(
                    connection, message, payload, head=head, plan=plan, served=self._served[account]
                )
                self._count_credential(exchange)
                await self._forward(exchange)
                status = exchange.status
                upstream_s = exchange.upstream_s
        except ClientGone:
            status = ClientGone.status
            self._metrics.client_gone(exchange.stage if exchange is not None else "body")
            connection.abort()
        except WxProxyError as exc:
            if isinstance(exc, TokenUnavailable):
                self._metrics.injection("no_token")
            elif isinstance(exc, ForeignToken):
                self._metrics.foreign_token("refuse")
            status = self.answer_error(connection, exc)
        except asyncio.CancelledError:
            connection.abort()
            raise
        except Exception as exc:
            self._log_bug(exc)
            status = self.answer_error(
                connection, WxProxyError("wxproxy has a bug here; its log names the place")
            )
        finally:
            self.in_flight -= 1
            if exchange is not None and exchange.kept is not None:
                await exchange.kept.close()
        self._metrics.request_done(
            account, path, message.method, status, self._clock.now() - started, upstream_s
        )

    def answer_error(self, connection: ClientConnection, exc: WxProxyError) -> int:
        """Answer with an error of the sidecar's own, or cut off a reply that had begun."""
        self._metrics.error(exc.code)
        if connection.replied:
            connection.abort()
            return exc.status
        if not connection.has_whole_request:
            connection.keeps_alive = False
        status = exc.status if self._limits.error_status_http else 200
        connection.replied = True
        reply = own_reply(
            status,
            exc.body(),
            headers=error_headers(exc),
            connection=connection_line(connection.version, keeps_alive=connection.keeps_alive),
            to_head=connection.to_head,
        )
        try:
            connection.write(reply)
        except ClientGone:
            return ClientGone.status
        return status

    def _count_credential(self, exchange: Exchange) -> None:
        plan = exchange.plan
        if plan.outcome == "client_supplied":
            self._metrics.foreign_token("pass")
        if plan.foreign:
            self._metrics.foreign_token("replace")
            if exchange.account.name not in self._warned_foreign:
                self._warned_foreign.add(exchange.account.name)
                logger.warning(
                    "a client sends a real-looking access_token that is none of ours; it is"
                    " replaced: stop fetching tokens in that client",
                    extra={"fields": {"event": "foreign_token", "account": exchange.account.name}},
                )

    @staticmethod
    def _log_bug(exc: Exception) -> None:
        # The exception's text may hold a URL or a body, so only its kind and place are logged.
        frame = traceback.extract_tb(exc.__traceback__)[-1]
        logger.error(
            "bug: %s at %s:%s in %s",
            type(exc).__name__,
            frame.filename,
            frame.lineno,
            frame.name,
            extra={"fields": {"event": "bug"}},
        )

    async def _answer_locally(
        self,
        connection: ClientConnection,
        message: RequestMessage,
        payload: StreamReader,
        head: RequestHead,
        plan: LocalPlan,
    ) -> int:
        """Answer a token endpoint or control route; gives the HTTP status."""
        _accept(connection, message, payload, head)
        body = b""
        while chunk := await self._next_chunk(connection, payload):
            body += chunk
            if len(body) > _LOCAL_BODY_BYTES:
                raise _too_large(_LOCAL_BODY_BYTES)
        reply = await self._local.answer(LocalRequest(message.method, plan, body))
        if reply is None:
            return await self._pass_on(connection, message, payload, head, plan, body)
        if reply.code:
            self._metrics.error(reply.code)
        connection.replied = True
        if connection.server.draining:
            connection.keeps_alive = False
        connection.write(
            own_reply(
                reply.status,
                reply.body(),
                headers=(JSON_TYPE,),
                connection=connection_line(connection.version, keeps_alive=connection.keeps_alive),
                to_head=connection.to_head,
            )
        )
        return reply.status

    async def _pass_on(
        self,
        connection: ClientConnection,
        message: RequestMessage,
        payload: StreamReader,
        head: RequestHead,
        plan: LocalPlan,
        body: bytes,
    ) -> int:
        """Forward somebody else's token call untouched."""
        account = self._router.choose(plan.candidates)
        foreign = Plan(
            account, Rule.PASS, plan.path, plan.target, Credential.NONE, "client_supplied"
        )
        x = Exchange(
            connection, message, payload, head=head, plan=foreign, served=self._served[account.name]
        )
        x.content, x.length = body, len(body)
        self._count_credential(x)
        await self._deliver(x)
        return x.status

    # -- forwarding --------------------------------------------------------------------------

    async def _forward(self, x: Exchange) -> None:
        await self._take_body(x)
        if x.plan.rule is Rule.SIGNED and x.content and x.account.placeholder.encode() in x.content:
            raise RequestRefused(
                "this call signs the token into its body, and the body has the placeholder: set"
                " token_endpoint = real for it",
                code="placeholder_in_signed_body",
            )
        await self._deliver(x)

    async def _deliver(self, x: Exchange) -> None:
        token = await self._token(x)
        self._metrics.injection(x.plan.outcome)
        while True:
            answer = await self._ask(x, token)
            if answer is None:
                return
            if self._is_token_trouble(x, token, answer):
                assert token is not None
                other = await self._other_token(x, token)
                if other is not None:
                    token = other
                    x.attempts = 2
                    continue
            self._reply(x, token, answer)
            if x.connection.writing_paused:
                await x.connection.drain()
            return

    async def _token(self, x: Exchange) -> Token | None:
        if x.plan.credential is not Credential.TOKEN:
            return None
        token = x.keeper.current()
        if token is None:
            x.stage = "token"
            token = await x.keeper.token()
            x.stop_if_gone("connect")
        return token

    def _is_token_trouble(self, x: Exchange, token: Token | None, answer: Answer) -> bool:
        """Whether the first attempt's reply calls the token bad; notes what any reply says."""
        if answer.status != 200:
            return False
        errcode = self._errcode(answer)
        if errcode:
            self._metrics.wechat_errcode(x.account.name, errcode)
        if token is None:
            return False
        if errcode not in TOKEN_BAD[x.account.kind]:
            if errcode != _BUSY_ERRCODE:
                x.keeper.succeeded(token, x.plan.path, x.sent_at)
            if x.attempts == 2:
                self._metrics.retry(x.rejected_with, "ok")
            return False
        if x.attempts == 2:
            self._metrics.retry(x.rejected_with, "failed")
            return False
        x.rejected_with = errcode
        return True

    @staticmethod
    def _errcode(answer: Answer) -> int | None:
        content = answer.content
        if len(content) > LOOK_LIMIT:
            return None
        if answer.head.content_encoding:
            inflated = inflate(content, answer.head.content_encoding)
            if inflated is None:
                return None
            content = inflated
        return find_errcode(content)

    async def _other_token(self, x: Exchange, token: Token) -> Token | None:
        """A token to retry with, once WeChat called this one bad; None to pass its answer on."""
        if not x.may_retry:
            # The answer passes on, but the keeper must learn of it for the calls that follow.
            spawn(
                x.keeper.reject(token, path=x.plan.path, sent_at=x.sent_at), name="wxproxy-reject"
            )
            signed = x.plan.rule is Rule.SIGNED
            self._metrics.retry(
                x.rejected_with, "skipped_signed" if signed else "skipped_body_too_large"
            )
            return None
        x.stage = "retry"
        other = await x.keeper.reject(token, path=x.plan.path, sent_at=x.sent_at)
        x.stop_if_gone("retry")
        if other is None or other is token:
            self._metrics.retry(x.rejected_with, "no_other_token")
            return None
        if x.from_client:
            # WeChat answered before it had the whole body; the rest is needed for the retry.
            await self._collect(x, x.kept)
            x.from_client = False
        x.stop_if_gone("connect")
        return other

    async def _ask(self, x: Exchange, token: Token | None) -> Answer | None:
        """Send the request; give the reply if it is wholly in hand, else pass it on and give None.

        Raises:
            UpstreamError: no reply could be had.
            ClientGone: the client left.
        """
        upstream, up, message, payload = await self._round_trip(x, token)
        whole = False
        try:
            reply = filter_reply(message.raw_headers)
            content = b""
            if payload.is_eof():
                content, whole = content_in_hand(payload), True
            elif x.connection.is_gone:
                if reply.content_length is not None and (
                    reply.content_length <= _WORTH_READING_BYTES
                ):
                    _, whole = await self._read_some(x, payload, _WORTH_READING_BYTES)
                raise ClientGone("the client left")
            elif _may_be_small(x, message.code, reply):
                plain = not reply.content_encoding
                content, whole = await self._read_some(x, payload, LOOK_LIMIT, only_json=plain)
            if whole:
                return Answer(message.code, message.reason, reply, content)
            if token is not None and message.code == 200:
                # Too long, or no JSON: no error of WeChat's.
                x.keeper.succeeded(token, x.plan.path, x.sent_at)
            if x.attempts == 2:
                self._metrics.retry(x.rejected_with, "ok")
            await self._stream(x, token, message, reply, payload, content)
            whole = True
            return None
        finally:
            if whole and x.written:
                self._pool.give_back(upstream, up)
            else:
                self._pool.discard(upstream, up)

    # -- towards WeChat ----------------------------------------------------------------------

    async def _round_trip(
        self, x: Exchange, token: Token | None
    ) -> tuple[Upstream, UpstreamConnection, Any, StreamReader]:
        """Write the request and wait for the reply's head. The connection is the caller's."""
        # Safe to send again as long as not one byte of a reply came: a GET or HEAD of our own.
        resend = x.plan.rule is Rule.INJECT and x.message.method in ("GET", "HEAD")
        while True:
            upstream, up = await self._connect(x)
            try:
                message, payload = await self._send(x, upstream, up, token)
            except UpstreamError as exc:
                stale = up.reused and not up.heard and exc.status == 502
                self._pool.discard(upstream, up)
                self._metrics.upstream_error(exc.code)
                if not (stale and resend and x.content is not None):
                    raise
                resend = False
                self._pool.drop_idle(upstream)
                x.stop_if_gone("connect")
            except BaseException:
                self._pool.discard(upstream, up)
                raise
            else:
                x.upstream_s = self._clock.now() - x.sent_at
                return upstream, up, message, payload

    async def _connect(self, x: Exchange) -> tuple[Upstream, UpstreamConnection]:
        """A connection to the first upstream that has one."""
        failure: UpstreamError | None = None
        for upstream in self._pool.in_order(x.upstreams):
            up = self._pool.take(upstream)
            if up is not None:
                return upstream, up
            x.stage = "connect"
            try:
                up = await self._pool.open(upstream)
            except UpstreamError as exc:
                self._metrics.upstream_error(exc.code)
                failure = exc
            else:
                if x.connection.is_gone:
                    self._pool.give_back(upstream, up)
                    raise ClientGone("the client left")
                return upstream, up
            x.stop_if_gone("connect")
        assert failure is not None
        raise failure

    async def _send(
        self, x: Exchange, upstream: Upstream, up: UpstreamConnection, token: Token | None
    ) -> tuple[Any, StreamReader]:
        up.expect_reply(to_head=x.message.method == "HEAD")
        x.written = False
        x.stage = "reply"
        head = self._request_head(x, upstream, token)
        x.sent_at = self._clock.now()
        if x.content is None:
            return await self._upload(x, up, head)
        up.send(head + x.content)
        x.written = True
        x.connection.wait_for(up, self._limits.reply_head_s)
        return await self._final_head(up)

    def _request_head(self, x: Exchange, upstream: Upstream, token: Token | None) -> bytes:
        plan = x.plan
        if token is not None:
            credential = token.value
        elif plan.credential is Credential.SECRET:
            credential = quote(x.secret.current().reveal(), safe="")
        else:
            credential = ""
        line = f"{x.message.method} {plan.prefix}{credential} HTTP/1.1\r\n".encode("ascii")
        if x.length or x.message.method in _NEEDS_LENGTH or x.head.content_length is not None:
            # Never chunked: WeChat answers 412 (wechat-facts.md S44, S45).
            length = b"Content-Length: %d\r\n\r\n" % x.length
        else:
            length = b"\r\n"
        return b"".join((line, upstream.host_line, x.head.forward, length))

    async def _final_head(self, up: UpstreamConnection) -> tuple[Any, StreamReader]:
        for _ in range(self._limits.interim_replies + 1):
            message, payload = await up.read_head()
            if message.code >= 200:
                return message, payload
            if message.code == 101:
                raise UpstreamError("WeChat switched protocols, which was not asked for")
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
        async for chunk in self._chunks(x):
            up.send(chunk)
            if up.writing_paused:
                x.connection.wait_for(up, self._limits.reply_gap_s)
                await up.drain()

    # -- the client's body -------------------------------------------------------------------

    async def _take_body(self, x: Exchange) -> None:
        """Read the body whole where it is small or chunked; else prepare to stream it."""
        payload = x.payload
        length = x.head.content_length or 0
        if not length and not x.message.chunked:
            x.content = b""
            return
        if length > self._limits.body_bytes:
            raise _too_large(self._limits.body_bytes)
        _accept(x.connection, x.message, payload, x.head)
        if x.message.chunked:
            x.kept = self._bodies.growing()
            await self._collect(x, x.kept)
            x.length = x.kept.size
            x.content = x.kept.content() if x.kept.is_in_memory else None
            return
        x.length = length
        x.kept = self._bodies.in_memory(length)
        if x.kept is not None:
            await self._collect(x, x.kept)
            x.content = x.kept.content()
            return
        x.from_client = True
        x.kept = self._bodies.in_file(length)

    async def _collect(self, x: Exchange, kept: KeptBody | None) -> None:
        assert kept is not None
        while chunk := await self._next_chunk(x.connection, x.payload):
            try:
                await kept.add(chunk)
            except OSError:
                raise RequestRefused(
                    "the body cannot be collected: spool_dir cannot be written",
                    code="body_too_large",
                    status=413,
                ) from None

    async def _next_chunk(self, connection: ClientConnection, payload: StreamReader) -> bytes:
        """More of the client's body; empty at its end."""
        connection.wait_for(payload, self._limits.body_gap_s)
        try:
            return await payload.readany()
        except (RequestPayloadError, HttpProcessingError):
            raise RequestRefused("the request's body is not valid HTTP/1.1") from None
        except RuntimeError:
            # aiohttp's "Connection closed."
            raise ClientGone("the client left") from None

    async def _chunks(self, x: Exchange) -> AsyncIterator[bytes]:
        """The body as it is to be sent, kept on the way when it comes from the client."""
        if not x.from_client:
            assert x.kept is not None
            async for chunk in x.kept.chunks():
                yield chunk
            return
        while chunk := await self._next_chunk(x.connection, x.payload):
            if x.kept is not None:
                try:
                    await x.kept.add(chunk)
                except OSError:
                    kept, x.kept = x.kept, None  # the disk is full: it goes on without a retry
                    await kept.close()
            yield chunk
        x.from_client = False

    # -- towards the client ------------------------------------------------------------------

    async def _read_some(
        self, x: Exchange, payload: StreamReader, limit: int, *, only_json: bool = False
    ) -> tuple[bytes, bool]:
        """Read up to ``limit`` bytes; give them, and whether that is the whole reply."""
        content = b""
        while len(content) <= limit:
            x.connection.wait_for(payload, self._limits.reply_gap_s)
            chunk = await self._reply_chunk(payload)
            if not chunk:
                return content, True
            content += chunk
            if only_json and not _may_be_json(content):
                break
        return content, payload.is_eof() and not _more_in_hand(payload)

    @staticmethod
    async def _reply_chunk(payload: StreamReader) -> bytes:
        try:
            return await payload.readany()
        except UpstreamError:
            raise
        except (ClientError, HttpProcessingError, OSError, RuntimeError):
            raise UpstreamError("WeChat's reply broke off") from None

    def _reply(self, x: Exchange, token: Token | None, answer: Answer) -> None:
        """Send a reply that is wholly in hand, in one write."""
        connection = x.connection
        if x.message.method == "HEAD" or answer.status in _WITHOUT_BODY:
            framing = _length_line(answer.head.content_length)
        else:
            framing = b"Content-Length: %d\r\n" % len(answer.content)
        head = self._reply_head(x, token, answer.status, answer.reason, answer.head, framing)
        connection.write(head + answer.content)

    async def _stream(
        self,
        x: Exchange,
        token: Token | None,
        message: Any,
        reply: ReplyHead,
        payload: StreamReader,
        begun: bytes,
    ) -> None:
        """Pass a reply on as it comes, at the client's pace."""
        connection = x.connection
        chunked = False
        if reply.content_length is not None:
            framing = _length_line(reply.content_length)
        elif x.message.version >= (1, 1):
            chunked = True
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            connection.keeps_alive = False  # its end is the connection's end
            framing = b""
        head = self._reply_head(x, token, message.code, message.reason, reply, framing)
        connection.write(head)
        chunk = begun or await self._next_reply_chunk(x, payload)
        while chunk:
            connection.write(as_chunk(chunk) if chunked else chunk)
            await connection.drain()
            chunk = await self._next_reply_chunk(x, payload)
        if chunked:
            connection.write(END_OF_CHUNKS)

    async def _next_reply_chunk(self, x: Exchange, payload: StreamReader) -> bytes:
        x.connection.wait_for(payload, self._limits.reply_gap_s)
        return await self._reply_chunk(payload)

    def _reply_head(
        self,
        x: Exchange,
        token: Token | None,
        status: int,
        reason: str,
        reply: ReplyHead,
        framing: bytes,
    ) -> bytes:
        connection = x.connection
        if not connection.has_whole_request or connection.server.draining:
            connection.keeps_alive = False
        connection.replied = True
        x.status = status
        attempts = b"X-Wxproxy-Attempts: 2\r\n" if x.attempts == 2 else b"X-Wxproxy-Attempts: 1\r\n"
        token_line = f"X-Wxproxy-Token-Id: {token.id}\r\n\r\n".encode() if token else b"\r\n"
        return b"".join(
            (
                status_line(status, reason),
                reply.forward,
                framing,
                connection_line(connection.version, keeps_alive=connection.keeps_alive),
                attempts,
                token_line,
            )
        )


def _accept(
    connection: ClientConnection,
    message: RequestMessage,
    payload: StreamReader,
    head: RequestHead,
) -> None:
    """Tell a client that asked (``Expect: 100-continue``) to send its body."""
    if head.expect_continue and not payload.is_eof():
        connection.write(CONTINUE)


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(
        f"the body is over the limit of {limit} bytes", code="body_too_large", status=413
    )


def _more_in_hand(payload: StreamReader) -> bool:
    return not payload.at_eof()


def _may_be_small(x: Exchange, code: int, reply: ReplyHead) -> bool:
    return (
        code == 200
        and x.message.method != "HEAD"
        and (reply.content_length is None or reply.content_length <= LOOK_LIMIT)
    )


def _may_be_json(content: bytes) -> bool:
    """Whether it may begin a JSON object."""
    begun = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    return not begun or begun[:1] == b"{"


def _length_line(length: int | None) -> bytes:
    return b"" if length is None else b"Content-Length: %d\r\n" % length
