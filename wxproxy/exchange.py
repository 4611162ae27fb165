"""One request on its way through the proxy: what is known of it so far."""

from dataclasses import dataclass, field

from aiohttp.streams import StreamReader

from wxproxy.body import KeptBody
from wxproxy.credentials import SecretSource
from wxproxy.errors import ClientGone
from wxproxy.headers import ReplyHead, RequestHead
from wxproxy.keeper import TokenKeeper
from wxproxy.paths import Rule
from wxproxy.routing import Plan
from wxproxy.server import ClientConnection, RequestMessage
from wxproxy.upstream import Upstream


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


# Not frozen: made for each request, and a frozen dataclass takes three times as long to make.
@dataclass(slots=True)
class Answer:
    """A reply that is wholly in hand, nothing of it sent yet."""

    status: int
    reason: str
    head: ReplyHead
    content: bytes = field(repr=False)
