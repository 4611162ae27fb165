"""The token keeper: decides when an account's token is fetched, and nothing else fetches.

States of the token, by the clock alone:

- FRESH: served.
- DUE: served, while one refresh runs behind it.
- EXPIRED, EMPTY: not served; callers wait for the one fetch in flight or due within their wait.

Invariants:

- At most one fetch and one look into a rejection are in flight; callers share them, and a
  caller that leaves cancels neither. So results arrive in the order of their fetches, and a
  valid one always replaces the token before it.
- A token is never served past its hard expiry, and never dropped because a fetch failed.
- After a refusal nothing is fetched before its wait is over, whoever asks; only a changed
  secret ends the wait.
- Rejecting a token that is no longer the current one fetches nothing. The current one is
  replaced by force, or killed by a classic fetch, only once WeChat itself has called it bad in
  a proof, and within budgets (budgets.py).
- An idle keeper has no timer and no task: ``tick`` compares the clock, so suspended time counts.
"""

import asyncio
from collections.abc import Callable

from wxproxy import budgets, refusals, schedule
from wxproxy.accounts import Account, TokenApi
from wxproxy.clock import Clock
from wxproxy.errors import FetchFailed, TokenUnavailable
from wxproxy.events import Event, RefreshFinished, Trigger
from wxproxy.keeping import (
    Bell,
    KeeperSettings,
    KeeperStatus,
    LastResult,
    SecretHolder,
    TokenFetcher,
)
from wxproxy.redact import token_id
from wxproxy.refusals import RefusalClass
from wxproxy.rejections import Rejections
from wxproxy.schedule import Fetched, Freshness, Token
from wxproxy.tasks import spawn

__all__ = ["KeeperSettings", "KeeperStatus", "TokenKeeper"]

_NEVER = float("-inf")
# Holds until a fetch has said better; it counts only if one ends by an error nobody foresaw.
_UNFORESEEN_RETRY_S = 60.0
_UNANSWERED_RETRY_S = 60.0
_CONTESTED = (
    "tokens keep dying early: another program fetches classic tokens for this appid; stop it, run"
    ' one process only, or set token_api = "stable"'
)
_COUNTED = ("fetches", "failures", "rejections", "forced", "proofs", "contested")


class TokenKeeper:
    """Keeps one account's token.

    Attributes:
        account: whose token.
        settled: whether it has had a token, or a refusal that does not pass by itself.
    """

    # With a thousand accounts the cache holds few keepers, so a request's cost grows with theirs.
    __slots__ = (
        "_classic_fetches",
        "_client",
        "_client_asks",
        "_clock",
        "_counts",
        "_draining",
        "_emit",
        "_failing",
        "_failures",
        "_failures_of_class",
        "_fetch_ended",
        "_fetching",
        "_fresh_until",
        "_jitter",
        "_last",
        "_last_attempt_wall",
        "_last_success_wall",
        "_next_fetch_at",
        "_next_trigger",
        "_now",
        "_refused_until",
        "_rejections",
        "_remember",
        "_secret",
        "_secret_version",
        "_settings",
        "_stopped",
        "_token",
        "account",
        "settled",
    )

    def __init__(
        self,
        account: Account,
        *,
        client: TokenFetcher,
        secret: SecretHolder,
        clock: Clock,
        emit: Callable[[Event], None],
        jitter: Callable[[], float],
        settings: KeeperSettings,
        remember: Callable[[str], None],
    ) -> None:
        self.account = account
        self.settled = False
        self._client = client
        self._secret = secret
        self._clock = clock
        self._now = clock.now
        self._emit = emit
        self._jitter = jitter
        self._settings = settings
        self._remember = remember

        self._token: Token | None = None
        self._fresh_until = _NEVER
        self._next_fetch_at = _NEVER
        self._refused_until = _NEVER
        self._next_trigger = Trigger.STARTUP
        self._fetching: asyncio.Task[None] | None = None
        self._fetch_ended = Bell(clock)
        self._secret_version = 0
        self._draining = False
        self._stopped = False

        self._classic_fetches = budgets.classic_fetches(settings.classic_fetches_per_day)
        self._client_asks = budgets.client_asks()
        self._failures = 0
        self._failing: RefusalClass | None = None
        self._failures_of_class = 0
        self._last: LastResult | None = None
        self._last_attempt_wall: float | None = None
        self._last_success_wall: float | None = None
        self._counts = dict.fromkeys(_COUNTED, 0)
        self._rejections = Rejections(
            account,
            fetches=self,
            client=client,
            clock=clock,
            emit=emit,
            settings=settings,
            counts=self._counts,
        )

    # -- serving -------------------------------------------------------------------------------

    def current(self) -> Token | None:
        """The token while it may be served, else None; makes sure that a due fetch runs."""
        now = self._now()
        if now < self._fresh_until:
            return self._token
        self._fetch_if_due(now)
        token = self._token
        return token if token is not None and now < token.expires_at else None

    async def token(self) -> Token:
        """The token, waited for if there is none.

        Raises:
            TokenUnavailable: none within ``token_wait_s``; at once while a refusal waits longer
                than that, and while draining.
        """
        deadline = self._now() + self._settings.token_wait_s
        while (token := self.current()) is None:
            left_s = deadline - self._now()
            if self._draining:
                raise TokenUnavailable("shutting down", code="draining")
            if left_s <= 0 or (self._fetching is None and self._next_fetch_at > deadline):
                raise self._unavailable()
            await self._fetch_ended.wait(left_s)
        return token

    def succeeded(self, token: Token, path: str, sent_at: float) -> None:
        """Note that WeChat took the token in a call to this path, sent at ``sent_at``."""
        # Identity first: this is on the path of each call, and the token is rarely another.
        if token is self._token or self.holds(token):
            self._rejections.succeeded(path, sent_at)

    async def reject(self, token: Token, *, path: str, sent_at: float) -> Token | None:
        """Say that WeChat called the token bad; gives another to retry with.

        None: there is no other within ``token_wait_s``, so WeChat's answer is to be passed on.

        Args:
            path: without query; "" for a rejection that a client reports.
            sent_at: when the call was sent, on ``Clock.now``.
        """
        self._counts["rejections"] += 1
        held = self.current()
        if held is not None and held.value == token.value and not self._stopped:
            await self._rejections.settle(held, path, sent_at)
            held = self.current()
        elif held is None:
            try:
                held = await self.token()
            except TokenUnavailable:
                return None
        return held if held is not None and held.value != token.value else None

    def holds(self, token: Token) -> bool:
        """Whether this is still the current token, be it expired."""
        return self._token is not None and self._token.value == token.value

    def is_current(self, value_or_id: str) -> bool:
        """Whether this is the token that is held, or its id."""
        return self._token is not None and value_or_id in (self._token.value, self._token.id)

    # -- when to fetch -------------------------------------------------------------------------

    def start(self) -> None:
        """Fetch the first token."""
        self._fetch_if_due(self._now())

    def tick(self) -> None:
        """Start what is due; to be called a few times a second, and cheap when nothing is."""
        now = self._now()
        if now >= self._next_fetch_at:
            self._fetch_if_due(now)

    async def ask(self) -> None:
        """Ask WeChat once more because a client wants to: never by force, at most once a minute.

        A classic token is replaced only if it was due anyhow or proved bad. Returns when the
        fetch has ended, well or badly, or after ``token_wait_s``.
        """
        if self.current() is None:
            return  # only the schedule fetches then, and ``token()`` waits for it
        if self._fetching is None and self.may_fetch():
            if self.account.token_api is TokenApi.CLASSIC:
                allowed = self._rejections.may_replace_classic()
            else:
                allowed = self._client_asks.take(self._now())
            if allowed:
                self._begin_fetch(Trigger.MANUAL)
        if self._fetching is not None:
            await self._fetch_ended.wait(self._settings.token_wait_s)

    def secret_changed(self) -> None:
        """Use the new secret: any wait ends, the current token stays.

        One plain fetch proves it now; but a classic one would kill the current token, so it
        waits for the next due refresh unless the last fetch had failed.
        """
        self._secret_version += 1
        if self.account.token_api is not TokenApi.CLASSIC or self._failures:
            self._prove_secret()

    def _prove_secret(self) -> None:
        now = self._now()
        self._refused_until = _NEVER
        self._next_fetch_at = now
        self._next_trigger = Trigger.SECRET_CHANGE
        self._fetch_if_due(now)

    def _fetch_if_due(self, now: float) -> None:
        if self._fetching is None and now >= self._next_fetch_at:
            self._begin_fetch(self._next_trigger)

    def may_fetch(self) -> bool:
        """Whether no refusal waits."""
        return self._now() >= self._refused_until

    async def fetch_for_rejection(self, *, force: bool = False) -> bool:
        """Fetch, or join the fetch in flight; whether WeChat gave a token."""
        if self._fetching is None and not self._begin_fetch(Trigger.REJECTED, force=force):
            return False
        await self.fetch_ended()
        return not self._failures

    async def fetch_ended(self) -> None:
        """Wait until no fetch is in flight."""
        if self._fetching is not None:
            await asyncio.wait((self._fetching,))

    def _begin_fetch(self, trigger: Trigger, *, force: bool = False) -> bool:
        """Start the one fetch; False when nothing may be fetched now."""
        now = self._now()
        if self._stopped or not self.may_fetch():
            return False
        if self.account.token_api is TokenApi.CLASSIC and not self._classic_fetches.take(now):
            self._out_of_budget()
            return False
        self._next_fetch_at = now + _UNFORESEEN_RETRY_S
        self._fetching = spawn(
            self._fetch(trigger, force=force), name=f"wxproxy-fetch-{self.account.name}"
        )
        return True

    # -- one fetch -----------------------------------------------------------------------------

    async def _fetch(self, trigger: Trigger, *, force: bool) -> None:
        secret_version = self._secret_version
        sent_at = self._now()

        def sending() -> None:
            nonlocal sent_at
            sent_at = self._now()

        self._last_attempt_wall = self._clock.wall()
        self._counts["fetches"] += 1
        self._counts["forced"] += force
        try:
            try:
                fetched = await self._client.fetch(
                    self.account, self._secret.current(), force=force, sending=sending
                )
                event = self._accept(fetched, sent_at, trigger, force=force)
            except FetchFailed as exc:
                event = self._note_failure(exc, sent_at, trigger, force=force)
            self._last = LastResult.of(event, self._clock.wall())
        finally:
            self._fetching = None
            self._fetch_ended.ring()
        if secret_version != self._secret_version and (
            not event.ok or self.account.token_api is not TokenApi.CLASSIC
        ):
            self._prove_secret()  # this one still used the secret before
        self._emit(event)

    def _accept(
        self, fetched: Fetched, sent_at: float, trigger: Trigger, *, force: bool
    ) -> RefreshFinished:
        """Raises FetchFailed when WeChat gave a token again whose time is over."""
        now, held = self._now(), self._token
        if held is not None and fetched.value == held.value:
            unchanged, token = True, self._seen_again(held, sent_at + fetched.expires_in_s)
        else:
            unchanged, token = False, self._new(fetched, sent_at)
        self._token = token
        self._fresh_until = token.due_at
        self._next_fetch_at = schedule.next_fetch_at(token, now=now, unchanged=unchanged)
        self._refused_until = _NEVER
        self._next_trigger = Trigger.SCHEDULED
        self._failures = self._failures_of_class = 0
        self._failing = None
        self._last_success_wall = self._clock.wall()
        self.settled = True
        return RefreshFinished(
            self.account.name,
            trigger,
            ok=True,
            duration_s=now - sent_at,
            token_id=token.id,
            expires_in_s=fetched.expires_in_s,
            forced=force,
            unchanged=unchanged,
        )

    def _new(self, fetched: Fetched, sent_at: float) -> Token:
        self._rejections.token_replaced()
        self._remember(fetched.value)
        return schedule.new_token(
            fetched,
            token_id(fetched.value),
            fetched_at=sent_at,
            lead_s=self._settings.refresh_lead_s,
            jitter=self._jitter(),
        )

    def _seen_again(self, held: Token, expires_at: float) -> Token:
        if self.account.token_api is TokenApi.GETTOKEN:
            # WeCom gives one token until its expiry, and need not say how much of it is left.
            # Source: wechat-facts.md 8 (S65)
            expires_at = min(expires_at, held.expires_at)
        if expires_at <= self._now():
            raise FetchFailed(
                "WeChat still gives the token whose time is over; it is asked again by itself",
                reason="bad_body",
            )
        return schedule.seen_again(held, expires_at)

    def _note_failure(
        self, failure: FetchFailed, sent_at: float, trigger: Trigger, *, force: bool
    ) -> RefreshFinished:
        now = self._now()
        reason, errcode = failure.reason, failure.errcode
        failing = refusals.refusal_class(reason, errcode)
        self._failures += 1
        self._failures_of_class = 1 + (self._failures_of_class if failing is self._failing else 0)
        self._failing = failing
        self._counts["failures"] += 1
        wait_s = refusals.wait_s(
            reason, errcode, in_a_row=self._failures_of_class, jitter=self._jitter()
        )
        if self.account.token_api is TokenApi.CLASSIC and failure.sent and reason != "errcode":
            wait_s = min(wait_s, _UNANSWERED_RETRY_S)
            self._cap_life(sent_at, now)
        self._next_fetch_at = self._refused_until = now + wait_s
        self.settled = self.settled or failing is not RefusalClass.TRANSIENT
        return RefreshFinished(
            self.account.name,
            trigger,
            ok=False,
            duration_s=now - sent_at,
            reason=reason,
            errcode=errcode,
            rid=failure.rid,
            refused_ip=failure.refused_ip,
            cure=failure.message,
            forced=force,
            consecutive_failures=self._failures,
            retry_in_s=wait_s,
        )

    def _cap_life(self, sent_at: float, now: float) -> None:
        """A classic fetch was sent and not answered: the token may have been killed by it."""
        if self._token is not None:
            self._token = schedule.perhaps_superseded(self._token, sent_at=sent_at, now=now)
            self._fresh_until = self._token.due_at

    def _out_of_budget(self) -> None:
        """The day's classic fetches are used up: wait until the oldest is a day old."""
        self._next_fetch_at = self._refused_until = self._classic_fetches.ready_at()
        self._last = LastResult(
            ok=False,
            at_wall=self._clock.wall(),
            reason="budget",
            cure=f"all {self._settings.classic_fetches_per_day} token fetches of a day are used up"
            " (classic_fetches_per_day): find what makes the tokens die early, or use the stable"
            " token_api",
        )

    def _unavailable(self) -> TokenUnavailable:
        last = self._last
        if self._fetching is not None or last is None or last.ok:
            return TokenUnavailable(
                "no valid access_token: WeChat has not answered the token call yet; try again",
                errcode=refusals.shown_errcode(0),
                retry_after_s=1.0,
            )
        answered = f" (WeChat's errcode {last.errcode}, rid {last.rid or '-'})"
        return TokenUnavailable(
            f"no valid access_token: {last.cure}{answered if last.errcode else ''}",
            errcode=refusals.shown_errcode(last.errcode),
            retry_after_s=max(1.0, self._next_fetch_at - self._now()),
        )

    # -- the end, and what is shown --------------------------------------------------------------

    def drain(self) -> None:
        """Let go of all who wait for a token, with code ``draining``; a token goes on serving."""
        self._draining = True
        self._fetch_ended.ring()

    async def stop(self) -> None:
        """Cancel what runs and wait for its end; nothing is fetched from now on."""
        self._stopped = True
        self.drain()
        tasks = [task for task in (self._fetching, self._rejections.stop()) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def status(self) -> KeeperStatus:
        """What may be shown: no token, no secret."""
        now, wall, token = self._now(), self._clock.wall(), self._token
        left_s = None if token is None else max(0.0, token.expires_at - now)
        failing = "" if self._last is None else self._last.cure
        return KeeperStatus(
            name=self.account.name,
            appid=self.account.appid,
            kind=self.account.kind,
            token_api=self.account.token_api,
            state=Freshness.EMPTY if token is None else token.freshness(now),
            token_id="" if token is None else token.id,
            age_s=None if token is None else now - token.fetched_at,
            seconds_left=left_s,
            next_refresh_in_s=0.0 if self._fetching else max(0.0, self._next_fetch_at - now),
            expires_at_wall=None if token is None else wall + token.expires_at - now,
            consecutive_failures=self._failures,
            last_attempt_wall=self._last_attempt_wall,
            last_success_wall=self._last_success_wall,
            last=self._last,
            counts=dict(self._counts),
            attention=failing or (_CONTESTED if self._rejections.is_contested else ""),
        )
