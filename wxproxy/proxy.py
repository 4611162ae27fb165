"""What happens to a request on the proxy listener: choose, inject, forward, look, retry once.

The flow is ``handle`` → ``_deliver`` → ``_ask`` → ``RoundTrips.run``; the rules that it applies
are in routing, headers and errcodes, the connections in server and upstream.

Who closes what: ``RoundTrips.run`` hands over an open upstream connection, and ``_ask`` gives it
back to the pool only when the whole request was written and the reply read to its end; every
other way out, cancellation included, closes it. ``handle`` gives back the kept body.
"""

import asyncio
import logging
import traceback
from collections.abc import Mapping

from aiohttp.streams import StreamReader

from wxproxy.body import BodyKeeper
from wxproxy.client_body import ClientBodies, accept
from wxproxy.clock import Clock
from wxproxy.errcodes import LOOK_LIMIT, TOKEN_BAD, find_errcode, inflate
from wxproxy.errors import (
    ClientGone,
    ForeignToken,
    RequestRefused,
    TokenUnavailable,
    UpstreamError,
    WxProxyError,
)
from wxproxy.exchange import Answer, Exchange, ProxyLimits, Served
from wxproxy.headers import ReplyHead, RequestHead, filter_reply, scan_request
from wxproxy.local import LocalRequest, LocalRoutes
from wxproxy.logs import log_event
from wxproxy.metrics import Metrics
from wxproxy.paths import Rule
from wxproxy.relay import Relay
from wxproxy.replies import JSON_TYPE, connection_line, error_headers, own_reply
from wxproxy.round_trip import RoundTrips
from wxproxy.routing import Credential, LocalPlan, Plan, Router
from wxproxy.schedule import Token
from wxproxy.server import ClientConnection, RequestMessage
from wxproxy.tasks import spawn

logger = logging.getLogger("wxproxy.proxy")

# A reply of up to this length is read to its end for a client that left, to keep the connection.
_WORTH_READING_BYTES = 1 << 20

_BUSY_ERRCODE = -1

# What a token call or a control route may have for a body.
_LOCAL_BODY_BYTES = 64 * 1024


class Proxy:
    """Serves the proxy listener.

    Attributes:
        in_flight: requests being served now.
    """

    def __init__(
        self,
        *,
        router: Router,
        served: Mapping[str, Served],
        bodies: BodyKeeper,
        local: LocalRoutes,
        metrics: Metrics,
        clock: Clock,
        limits: ProxyLimits,
    ) -> None:
        self._router = router
        self._served = served
        self._local = local
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._bodies = ClientBodies(bodies, limits)
        self._round_trips = RoundTrips(self._bodies, metrics=metrics, clock=clock, limits=limits)
        self._relay = Relay(limits.reply_gap_s)
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
                if exchange.head.content_length or message.chunked:
                    await self._bodies.take(exchange)
                    self._refuse_signed_placeholder(exchange)
                else:
                    exchange.content = b""
                await self._deliver(exchange)
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
                exchange.kept.close()
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
                log_event(
                    logger,
                    logging.WARNING,
                    "foreign_token",
                    account=exchange.account.name,
                    cause="a client sends a real-looking access_token that is none of ours",
                    cure="it is replaced; stop fetching tokens in that client",
                )

    @staticmethod
    def _log_bug(exc: Exception) -> None:
        # The exception's text may hold a URL or a body, so only its kind and place are logged.
        frame = traceback.extract_tb(exc.__traceback__)[-1]
        log_event(
            logger,
            logging.ERROR,
            "bug",
            exception=type(exc).__name__,
            place=f"{frame.filename}:{frame.lineno} in {frame.name}",
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
        accept(connection, payload, head)
        body = await self._bodies.read_small(connection, payload, _LOCAL_BODY_BYTES)
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
        foreign = Plan(account, Rule.PASS, plan.path, plan.target, Credential.NONE, "skipped")
        x = Exchange(
            connection, message, payload, head=head, plan=foreign, served=self._served[account.name]
        )
        x.content, x.length = body, len(body)
        self._count_credential(x)
        await self._deliver(x)
        return x.status

    # -- forwarding --------------------------------------------------------------------------

    @staticmethod
    def _refuse_signed_placeholder(x: Exchange) -> None:
        if x.plan.rule is Rule.SIGNED and x.account.placeholder.encode() in (x.content or b""):
            raise RequestRefused(
                "this call signs the token into its body, and the body has the placeholder: set"
                " token_endpoint = real for it",
                code="placeholder_in_signed_body",
            )

    async def _deliver(self, x: Exchange) -> None:
        """Inject the token, ask WeChat, and once more where that may help; then answer."""
        token: Token | None = None
        if x.plan.credential is Credential.TOKEN:
            token = x.keeper.current()
            if token is None:
                x.stage = "token"
                token = await x.keeper.token()
                x.stop_if_gone("connect")
        self._metrics.injection(x.plan.outcome)
        while True:
            try:
                answer = await self._ask(x, token)
            except UpstreamError:
                if x.attempts == 2:
                    self._metrics.retry(x.rejected_with, "failed")
                raise
            if answer is None:
                return
            if self._is_token_trouble(x, token, answer):
                assert token is not None
                other = await self._other_token(x, token)
                if other is not None:
                    token = other
                    x.attempts = 2
                    continue
            self._relay.send(x, token, answer)
            if x.connection.writing_paused:
                await x.connection.drain()
            return

    async def _ask(self, x: Exchange, token: Token | None) -> Answer | None:
        """Send the request; give the reply if it is wholly in hand, else pass it on and give None.

        Raises:
            UpstreamError: no reply could be had.
            ClientGone: the client left.
        """
        upstream, up, message, payload = await self._round_trips.run(x, token)
        whole = False
        try:
            reply = filter_reply(message.raw_headers)
            content = b""
            if payload.is_eof():
                content, whole = self._relay.in_hand(payload), True
            elif x.connection.is_gone:
                if reply.content_length is not None and (
                    reply.content_length <= _WORTH_READING_BYTES
                ):
                    _, whole = await self._relay.read_up_to(x, payload, _WORTH_READING_BYTES)
                raise ClientGone("the client left")
            elif _may_be_small(x, message.code, reply):
                plain = not reply.content_encoding
                content, whole = await self._relay.read_up_to(
                    x, payload, LOOK_LIMIT, only_json=plain
                )
            if whole:
                return Answer(message.code, message.reason, reply, content)
            if token is not None and message.code == 200:
                # Too long, or no JSON: no error of WeChat's.
                x.keeper.succeeded(token, x.plan.path, x.sent_at)
            await self._relay.stream(x, token, message, reply, payload, content)
            if x.attempts == 2:
                self._metrics.retry(x.rejected_with, "ok")
            whole = True
            return None
        except UpstreamError as exc:
            self._metrics.upstream_error(exc.code)
            raise
        finally:
            x.connection.stop_waiting()
            if whole and x.written:
                upstream.give_back(up)
            else:
                upstream.discard(up)

    def _is_token_trouble(self, x: Exchange, token: Token | None, answer: Answer) -> bool:
        """Whether the first attempt's reply calls the token bad; notes what any reply says."""
        if answer.status != 200:
            return False
        errcode, speaks = self._look(answer)
        if errcode:
            self._metrics.wechat_errcode(x.account.name, errcode)
        if token is None:
            return False
        if errcode not in TOKEN_BAD[x.account.kind]:
            if speaks and errcode != _BUSY_ERRCODE:
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
    def _look(answer: Answer) -> tuple[int | None, bool]:
        """The reply's errcode, and whether the reply says anything about the token at all.

        An empty one (to HEAD, too) does not, nor one in an encoding that is not read here.
        """
        content = answer.content
        if len(content) > LOOK_LIMIT:
            return None, True  # no error of WeChat's is that long
        if content and answer.head.content_encoding:
            content = inflate(content, answer.head.content_encoding) or b""
        return find_errcode(content), bool(content)

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
            await self._bodies.collect(x)
        x.stop_if_gone("connect")
        return other


def _may_be_small(x: Exchange, code: int, reply: ReplyHead) -> bool:
    return (
        code == 200
        and x.message.method != "HEAD"
        and (reply.content_length is None or reply.content_length <= LOOK_LIMIT)
    )
