"""A clock that tests turn, a WeChat that hands out tokens without a network, and a keeper."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wxproxy import refusals
from wxproxy.accounts import DEFAULT_UPSTREAMS, Account, Kind, Origin, TokenApi
from wxproxy.errors import FetchFailed
from wxproxy.events import Event, RefreshFinished, RejectionSettled, TokenContested
from wxproxy.keeper import KeeperSettings, TokenKeeper
from wxproxy.redact import Secret
from wxproxy.schedule import Fetched, Token

SECRET = "fake-app-secret-0123456789abcdef"
_STABLE_RENEWAL_S = 300.0
_OVERLAP_S = 300.0


class _FakeTimer:
    def __init__(self, deadline: float, callback: Callable[[], None]) -> None:
        self.deadline = deadline
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        if self._callback is not None:
            self._callback()


class FakeClock:
    """Stands still until a test advances it."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._timers: list[_FakeTimer] = []

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return 1_700_000_000.0 + self._now

    def advance(self, seconds: float) -> None:
        """Turn the hands; whoever waited long enough wakes at the loop's next turn."""
        self._now += seconds
        due = [timer for timer in self._timers if timer.deadline <= self._now]
        self._timers = [timer for timer in self._timers if timer.deadline > self._now]
        for timer in due:
            timer.fire()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _FakeTimer:
        timer = _FakeTimer(self._now + seconds, callback)
        self._timers.append(timer)
        return timer


async def fetches_ended() -> None:
    """Wait until no keeper's fetch is under way: over sockets, a turn of the clock outruns it."""
    while fetches := [one for one in asyncio.all_tasks() if "-fetch-" in one.get_name()]:
        await asyncio.wait(fetches)


async def settle() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(12):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class FetchCall:
    """A call to the fake's token endpoint."""

    at: float
    force: bool
    secret: str


class FakeWeChat:
    """One account at WeChat: hands out tokens by the rules of its token API, and proves them.

    Attributes:
        fetches, proofs: what was called, oldest first; proofs as times.
        expires_in: life of a new token in seconds.
        failure: raised by each fetch, until set to None.
        proof: what each proof gives; "true" to tell by the token.
        open, proofs_open: cleared, fetches or proofs hang until they are set.
        slow_s: seconds that pass between the call of fetch and its sending.
    """

    def __init__(self, api: TokenApi, clock: FakeClock) -> None:
        self.api = api
        self.fetches: list[FetchCall] = []
        self.proofs: list[float] = []
        self.expires_in = 7200
        self.failure: FetchFailed | None = None
        self.proof: bool | str | None = "true"
        self.open = asyncio.Event()
        self.open.set()
        self.proofs_open = asyncio.Event()
        self.proofs_open.set()
        self.slow_s = 0.0
        self._clock = clock
        self._issued = 0
        self._latest = ""
        self._latest_ends_at = 0.0
        self._dies_at: dict[str, float] = {}

    @property
    def forced(self) -> int:
        return sum(call.force for call in self.fetches)

    def takes(self, token: str) -> bool:
        """Whether an API call with this token would succeed now."""
        return self._clock.now() < self._dies_at.get(token, float("-inf"))

    def revoke(self) -> None:
        """Kill the latest token; stable and WeCom go on handing it out to plain asks."""
        self._dies_at[self._latest] = float("-inf")

    def fetch_elsewhere(self) -> None:
        """Another program fetches a token."""
        self._issue()

    async def fetch(
        self,
        account: Account,
        secret: Secret,
        *,
        force: bool = False,
        sending: Callable[[], None] = lambda: None,
    ) -> Fetched:
        self._clock.advance(self.slow_s)
        sending()
        self.fetches.append(FetchCall(self._clock.now(), force, secret.reveal()))
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        left_s = self._hand_out(force=force)
        return Fetched(self._latest, left_s)

    async def prove(self, account: Account, token: str) -> bool | None:
        self.proofs.append(self._clock.now())
        await self.proofs_open.wait()
        return self.takes(token) if isinstance(self.proof, str) else self.proof

    def _hand_out(self, *, force: bool) -> int:
        left_s = int(self._latest_ends_at - self._clock.now())
        renews_below = {
            TokenApi.STABLE: float("inf") if force else _STABLE_RENEWAL_S,
            TokenApi.CLASSIC: float("inf"),
            TokenApi.GETTOKEN: 0.0,
        }[self.api]
        if left_s > renews_below:
            return self.expires_in if self.api is TokenApi.GETTOKEN else left_s
        self._issue(at_once=force)
        return self.expires_in

    def _issue(self, *, at_once: bool = False) -> None:
        now = self._clock.now()
        old_ends_at = float("-inf") if at_once else now + _OVERLAP_S
        for token, dies_at in self._dies_at.items():
            self._dies_at[token] = min(dies_at, old_ends_at)
        self._issued += 1
        self._latest = f"84_{self.api}_{self._issued:0130d}"
        self._latest_ends_at = now + self.expires_in
        self._dies_at[self._latest] = self._latest_ends_at


def refused(errcode: int, *, refused_ip: str = "", rid: str = "") -> FetchFailed:
    """What the token client raises when WeChat answers with this code."""
    return FetchFailed(
        refusals.cure(errcode, refused_ip),
        reason="errcode",
        errcode=errcode,
        rid=rid,
        refused_ip=refused_ip,
    )


def unreachable() -> FetchFailed:
    """What the token client raises when no connection can be had."""
    return FetchFailed("cannot connect", reason="network", sent=False)


def unanswered() -> FetchFailed:
    """What the token client raises when a sent call gets no answer."""
    return FetchFailed("no answer", reason="timeout")


class SecretBox:
    """A secret that tests may change."""

    def __init__(self) -> None:
        self.value = SECRET

    def current(self) -> Secret:
        return Secret(self.value)


def make_account(api: TokenApi = TokenApi.STABLE, *, upstreams: tuple[str, ...] = ()) -> Account:
    """An account named shop."""
    kind = Kind.WECOM if api is TokenApi.GETTOKEN else Kind.OFFICIAL
    origins = upstreams or (DEFAULT_UPSTREAMS[kind],)
    return Account(
        "shop", "wx0123456789abcdef", kind, api, tuple(Origin.parse(url) for url in origins)
    )


class Kept:
    """A keeper with all that surrounds it.

    Attributes:
        jitter: what the keeper's random source gives.
        remembered: tokens that the account book was told of.
    """

    def __init__(
        self,
        api: TokenApi = TokenApi.STABLE,
        *,
        clock: FakeClock | None = None,
        force_refresh: bool = True,
        classic_fetches_per_day: int = 200,
    ) -> None:
        self.clock = clock or FakeClock()
        self.wechat = FakeWeChat(api, self.clock)
        self.secret = SecretBox()
        self.jitter = 0.0
        self.events: list[Event] = []
        self.remembered: list[str] = []
        self.keeper = TokenKeeper(
            make_account(api),
            client=self.wechat,
            secret=self.secret,
            clock=self.clock,
            emit=self.events.append,
            jitter=lambda: self.jitter,
            settings=KeeperSettings(
                refresh_lead_s=240.0,
                token_wait_s=3.0,
                force_refresh=force_refresh,
                classic_fetches_per_day=classic_fetches_per_day,
            ),
            remember=self.remembered.append,
        )

    async def start(self) -> Token:
        """Have the first token fetched."""
        self.keeper.start()
        await settle()
        return self.held

    @property
    def held(self) -> Token:
        """The token that is served now."""
        token = self.keeper.current()
        assert token is not None
        return token

    @property
    def refreshes(self) -> list[RefreshFinished]:
        return [event for event in self.events if isinstance(event, RefreshFinished)]

    @property
    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.events if isinstance(event, RejectionSettled)]

    @property
    def contested(self) -> list[int]:
        return [event.times for event in self.events if isinstance(event, TokenContested)]

    async def run(
        self,
        seconds: float,
        *,
        step: float = 1.0,
        each: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Let time pass in steps, with a tick and a chance to run at each."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            fetched = len(self.wechat.fetches)
            self.keeper.tick()
            if each is not None:
                await each()
            await asyncio.sleep(0)
            if len(self.wechat.fetches) != fetched or each is not None:
                await settle()

    async def call(self, path: str = "/cgi-bin/menu/get", *, always_bad: bool = False) -> bool:
        """One API call as the proxy makes it, retry included; whether it succeeded in the end."""
        token = self.keeper.current()
        if token is None:
            token = await self.keeper.token()
        sent_at = self.clock.now()
        if self.wechat.takes(token.value) and not always_bad:
            self.keeper.succeeded(token, path, sent_at)
            return True
        other = await self.keeper.reject(token, path=path, sent_at=sent_at)
        if other is None or always_bad or not self.wechat.takes(other.value):
            return False
        self.keeper.succeeded(other, path, sent_at)
        return True
