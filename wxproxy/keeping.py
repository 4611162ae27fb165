"""What the parts of the token keeper share: settings, status, what they need of others, a bell."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from wxproxy.accounts import Account
from wxproxy.clock import Clock
from wxproxy.events import RefreshFinished
from wxproxy.redact import Secret
from wxproxy.schedule import Fetched


class TokenFetcher(Protocol):
    """What the keeper needs of wechat.TokenClient."""

    async def fetch(
        self, account: Account, secret: Secret, *, force: bool, sending: Callable[[], None]
    ) -> Fetched:
        """See wechat.TokenClient.fetch."""
        ...

    async def prove(self, account: Account, token: str) -> bool | None:
        """See wechat.TokenClient.prove."""
        ...


class SecretHolder(Protocol):
    """What the keeper needs of credentials.SecretSource."""

    def current(self) -> Secret:
        """The secret as it is now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSettings:
    """What the operator chose.

    Attributes:
        refresh_lead_s: how long before its expiry a token is due.
        token_wait_s: longest wait of a caller.
        force_refresh: whether a stable token that was proved bad may be replaced by force.
        classic_fetches_per_day: budget of each classic account.
    """

    refresh_lead_s: float
    token_wait_s: float
    force_refresh: bool
    classic_fetches_per_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LastResult:
    """How the last call to the token endpoint ended.

    Attributes:
        reason: "" when ok, a reason of FetchFailed, or ``budget`` when our own forbade the call.
        cure: one line for a person; "" when ok.
        at_wall: Unix time.
    """

    ok: bool
    at_wall: float
    reason: str = ""
    errcode: int = 0
    rid: str = ""
    refused_ip: str = ""
    cure: str = ""

    @classmethod
    def of(cls, event: RefreshFinished, at_wall: float) -> "LastResult":
        """What the end of a call leaves to be shown."""
        return cls(
            ok=event.ok,
            at_wall=at_wall,
            reason=event.reason,
            errcode=event.errcode,
            rid=event.rid,
            refused_ip=event.refused_ip,
            cure=event.cure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperStatus:
    """What may be shown of a keeper.

    Attributes ending in ``_wall`` are Unix times; None means never, or that there is no token.

    Attributes:
        next_refresh_in_s: 0 while a fetch is in flight.
        counts: fetches, failures, rejections, forced, proofs and contested since the start.
        attention: what a person should look at now, with its cure; "" when nothing.
    """

    name: str
    appid: str
    kind: str
    token_api: str
    state: str
    token_id: str
    age_s: float | None
    seconds_left: float | None
    next_refresh_in_s: float
    expires_at_wall: float | None
    consecutive_failures: int
    last_attempt_wall: float | None
    last_success_wall: float | None
    last: LastResult | None
    counts: Mapping[str, int]
    attention: str


class Bell:
    """Wakes all who wait for it. Each has a future of its own, so that leaving costs O(1)."""

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: set[asyncio.Future[None]] = set()

    async def wait(self, seconds: float) -> None:
        """Until the next ring, at most so long."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        timer = self._clock.call_later(seconds, lambda: _wake(future))
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    def ring(self) -> None:
        """Wake everybody."""
        for future in self._waiting:
            _wake(future)
        self._waiting.clear()


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
