"""What it means that WeChat called the current token bad in an answer to some call.

A 40001 has many causes besides a dead token (wechat-facts.md 3c), so it is looked into, once at
a time, before anything that hurts is done. In order, as far as budgets (budgets.py) allow:

1. A call that was sent later and succeeded makes the path the suspect: the proof comes first.
   It is no proof by itself, for a token may be revoked between two calls in flight, and the
   one sent first may come back last.
2. stable and wecom: a plain ask, which harms nobody. Another token settles it; for wecom the
   same token again means that the path is at fault.
3. A proof: a harmless call with the token (POST /cgi-bin/openapi/quota/get).
4. Only for a token that was proved bad: a forced stable refresh, or a classic fetch.

A path at fault drives one proof a minute, and nothing else while the proof says that the token
is good; its errors pass through. So a token that is revoked later is found all the same.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from cachetools import TTLCache

from wxproxy import budgets
from wxproxy.accounts import Account, TokenApi
from wxproxy.clock import Clock
from wxproxy.events import Event, RejectionSettled, TokenContested
from wxproxy.keeping import Bell, KeeperSettings, TokenFetcher
from wxproxy.schedule import Token
from wxproxy.tasks import spawn

_NEVER = float("-inf")
_FAULT_S = 600.0
_FAULTS_KEPT = 128
_CONTESTED_FROM = 2


class Outcome(StrEnum):
    """What a look into a rejection ended with; see events.RejectionSettled."""

    REPLACED = "replaced"
    PROVED_GOOD = "token_proved_good"
    NO_OTHER = "no_other_token"
    INCONCLUSIVE = "inconclusive"


class Fetches(Protocol):
    """The keeper's one fetch, as this module needs it."""

    def holds(self, token: Token) -> bool:
        """Whether this is still the current token."""
        ...

    def may_fetch(self) -> bool:
        """Whether no refusal waits."""
        ...

    async def fetch_ended(self) -> None:
        """Wait until no fetch is in flight."""
        ...

    async def fetch_for_rejection(self, *, force: bool = False) -> bool:
        """Fetch, or join the fetch in flight; whether WeChat gave a token."""
        ...


class Rejections:
    """Looks into the rejections of one account's current token.

    Attributes:
        early_deaths: how many of our classic tokens in a row were proved bad before they were
            due; from two on, another program fetches too.
    """

    __slots__ = (
        "_account",
        "_bad_at",
        "_classic",
        "_client",
        "_counts",
        "_emit",
        "_fault_checks",
        "_faults",
        "_fetches",
        "_forced",
        "_good_at",
        "_has_proof",
        "_look_ended",
        "_looking",
        "_looks",
        "_now",
        "_settings",
        "early_deaths",
    )

    def __init__(
        self,
        account: Account,
        *,
        fetches: Fetches,
        client: TokenFetcher,
        clock: Clock,
        emit: Callable[[Event], None],
        settings: KeeperSettings,
        counts: dict[str, int],
    ) -> None:
        self._account = account
        self._fetches = fetches
        self._client = client
        self._now = clock.now
        self._emit = emit
        self._settings = settings
        self._counts = counts
        self._has_proof = account.token_api is not TokenApi.GETTOKEN
        self.early_deaths = 0
        # When the latest call was sent that the current token served, and the latest proof that
        # it failed.
        self._good_at = _NEVER
        self._bad_at = _NEVER
        # Made at the first fault: most accounts never have one.
        self._faults: TTLCache[str, None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._look_ended = Bell(clock)
        self._looks = budgets.rejection_looks()
        self._fault_checks = budgets.fault_checks()
        self._forced = budgets.forced_refreshes()
        self._classic = budgets.classic_replacements()

    # -- evidence ------------------------------------------------------------------------------

    @property
    def is_proved_bad(self) -> bool:
        """Whether a proof failed, and no later call has succeeded."""
        return self._bad_at > self._good_at

    @property
    def is_contested(self) -> bool:
        """Whether our tokens keep dying early."""
        return self.early_deaths >= _CONTESTED_FROM

    def succeeded(self, path: str, sent_at: float) -> None:
        """The current token served a call to this path."""
        if sent_at > self._good_at:
            self._good_at = sent_at
        if self._faults is not None:
            self._faults.pop(path, None)

    def token_replaced(self) -> None:
        """Another token is the current one: what was known of the old one counts no more."""
        if not self.is_proved_bad:
            self.early_deaths = 0
        self._good_at = self._bad_at = _NEVER

    def may_replace_classic(self) -> bool:
        """Whether a classic fetch may replace the token now; it counts as one if so."""
        return self.is_proved_bad and self._classic.take(self._now())

    def _blame(self, path: str) -> bool:
        """Note that the path is at fault; whether that is new."""
        if self._faults is None:
            self._faults = TTLCache(_FAULTS_KEPT, _FAULT_S, timer=self._now)
        known = path in self._faults
        self._faults[path] = None
        return not known

    def _note_bad(self, token: Token, proved_at: float) -> None:
        self._bad_at = proved_at
        if self._account.token_api is TokenApi.CLASSIC and proved_at < token.due_at:
            self.early_deaths += 1
            if self.is_contested:
                self._counts["contested"] += 1
                self._emit(TokenContested(self._account.name, self.early_deaths))

    # -- one look ------------------------------------------------------------------------------

    async def settle(self, token: Token, path: str, sent_at: float) -> None:
        """Look into it, or join the look that is running; at most ``token_wait_s`` long.

        Args:
            token: the current one.
            sent_at: when the call was sent that came back rejected.
        """
        if self._looking is None and not self._begin(token, path, sent_at):
            return
        await self._look_ended.wait(self._settings.token_wait_s)
        if self._fetches.holds(token) and self._good_at > sent_at:
            self._blame(path)

    def stop(self) -> asyncio.Task[None] | None:
        """Cancel the look that is running and give it; who waits for it is let go."""
        if self._looking is not None:
            self._looking.cancel()
        self._look_ended.ring()
        return self._looking

    def _begin(self, token: Token, path: str, sent_at: float) -> bool:
        """Start a look; False when the rejection is settled, or must not cost anything now."""
        outlived = self._good_at > sent_at
        at_fault = not self.is_proved_bad and self._faults is not None and path in self._faults
        budget = self._fault_checks if at_fault else self._looks
        if not (self._fetches.may_fetch() and budget.take(self._now())):
            if outlived and self._blame(path):
                self._report(token, path, Outcome.PROVED_GOOD)
            return False
        at_fault = at_fault or outlived
        self._looking = spawn(
            self._look(token, path, at_fault=at_fault), name=f"wxproxy-look-{self._account.name}"
        )
        return True

    async def _look(self, token: Token, path: str, *, at_fault: bool) -> None:
        try:
            outcome = await self._decide(token, at_fault=at_fault)
            if outcome is Outcome.PROVED_GOOD:
                self._blame(path)
        finally:
            self._looking = None
            self._look_ended.ring()
        self._report(token, path, outcome)

    def _report(self, token: Token, path: str, outcome: Outcome) -> None:
        self._emit(RejectionSettled(self._account.name, path, token.id, outcome))

    async def _decide(self, token: Token, *, at_fault: bool) -> Outcome:
        api = self._account.token_api
        if at_fault and self._has_proof and (verdict := await self._prove(token)):
            return verdict
        if api is not TokenApi.CLASSIC:
            answered = await self._fetches.fetch_for_rejection()
            if not self._fetches.holds(token):
                return Outcome.REPLACED
            if not answered:
                return Outcome.NO_OTHER
            if not self._has_proof:
                return Outcome.PROVED_GOOD
        if not self.is_proved_bad and (verdict := await self._prove(token)):
            return verdict
        return await self._replace(token)

    async def _prove(self, token: Token) -> Outcome | None:
        """What a proof settles; None when it proved the token bad."""
        asked_at = self._now()
        self._counts["proofs"] += 1
        is_good = await self._client.prove(self._account, token.value)
        if not self._fetches.holds(token):
            return Outcome.REPLACED
        if is_good is None:
            return Outcome.INCONCLUSIVE
        if is_good:
            self._good_at = max(self._good_at, asked_at)
        elif self._good_at <= asked_at:
            self._note_bad(token, asked_at)
            return None
        return Outcome.PROVED_GOOD

    async def _replace(self, token: Token) -> Outcome:
        """Replace a token that was proved bad, within the budgets."""
        await self._fetches.fetch_ended()  # one in flight may bring another token
        if self._fetches.holds(token) and self._fetches.may_fetch() and self.is_proved_bad:
            if self._account.token_api is TokenApi.CLASSIC:
                if self.may_replace_classic():
                    await self._fetches.fetch_for_rejection()
            elif self._settings.force_refresh and self._forced.take(self._now()):
                await self._fetches.fetch_for_rejection(force=True)
        return Outcome.NO_OTHER if self._fetches.holds(token) else Outcome.REPLACED
