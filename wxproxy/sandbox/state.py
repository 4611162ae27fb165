"""Apps, tokens and quotas: WeChat's rules about them, on seconds that come in; pure."""

import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Generic, TypeVar

OFFICIAL: Final = "official"
WECOM: Final = "wecom"

DAY_S = 86_400
OVERLAP_S = 300
FORCE_SPACING_S = 30

_TOKEN_SHAPE = re.compile(r"[A-Za-z0-9._~-]+")

_K = TypeVar("_K")
_V = TypeVar("_V")


class Recent(OrderedDict[_K, _V], Generic[_K, _V]):
    """A dict of the latest entries: beyond ``limit`` the oldest goes."""

    def __init__(self, limit: int = 10_000) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: _K, value: _V) -> None:
        super().__setitem__(key, value)
        if len(self) > self.limit:
            self.popitem(last=False)


class Family(StrEnum):
    """Kinds of token. Those of one family know nothing of another's."""

    CLASSIC = "classic"
    STABLE = "stable"
    GETTOKEN = "gettoken"
    USER = "user"
    COMPONENT = "component"
    AUTHORIZER = "authorizer"
    SUITE = "suite"


@dataclass(slots=True)
class Quota:
    """So many calls in each period; periods are counted from the sandbox's start."""

    limit: int
    period_s: int
    used: int = 0
    _period: int = 0

    def take(self, now: float) -> bool:
        """Count a call; False, uncounted, when the period's calls are used up."""
        period = int(now // self.period_s)
        if period != self._period:
            self._period, self.used = period, 0
        if self.used >= self.limit:
            return False
        self.used += 1
        return True


@dataclass(slots=True)
class App:
    """One appid, or one corpid with its agents.

    Attributes:
        agents: wecom: each agent's id and secret.
        life_s: ``expires_in`` of new tokens.
        new_each_time: wecom: whether each gettoken makes a new token; WeCom's older pages say
            that a fetch repeats the same one, the newer are silent (wechat-facts.md, 8).
        classic_quota: a new account has 2,000 fetches a day, a test account 200.
        stable_minute: 10,000 calls a minute. Source:
            https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
        force_quota: 20 forced refreshes a day. Source: the same page.
        clear_quota: 10 a month for both clear_quota calls.
    """

    appid: str
    secret: str
    kind: str = OFFICIAL
    agents: dict[str, str] = field(default_factory=dict)
    life_s: int = 7200
    new_each_time: bool = False
    classic_quota: Quota = field(default_factory=lambda: Quota(2000, DAY_S))
    stable_minute: Quota = field(default_factory=lambda: Quota(10_000, 60))
    force_quota: Quota = field(default_factory=lambda: Quota(20, DAY_S))
    clear_quota: Quota = field(default_factory=lambda: Quota(10, 30 * DAY_S))
    forced_at: float = -FORCE_SPACING_S

    @property
    def renewal_window_s(self) -> float:
        """How long before its expiry a stable token is renewed: 300 s of 7200, and in proportion.

        Source: cnblogs.com/AtlasLapetos/p/18640885, a copy of the official page.
        """
        return min(OVERLAP_S, self.life_s / 24)


@dataclass(slots=True, eq=False)
class Token:
    """One issued token; ``dies_at`` is before ``expires_at`` when it was superseded or revoked."""

    value: str = field(repr=False)
    appid: str
    family: Family
    agent: str
    expires_at: float
    dies_at: float

    def remaining_s(self, now: float) -> int:
        """Whole seconds to its expiry."""
        # Rounded first: 7200 is not to become 7199 because of a float's last bit.
        return max(0, int(round(self.expires_at - now, 3)))

    def is_good(self, now: float) -> bool:
        """Whether WeChat would take it."""
        return now < min(self.dies_at, self.expires_at)

    def errcode(self, now: float) -> int:
        """0, 42001 past its expiry, or 40001 where it was superseded or revoked.

        Source: fastwego/miniprogram client.go (wechat-facts.md, 1).
        """
        if now >= self.expires_at:
            return 42001
        return 0 if now < self.dies_at else 40001


class TokenBook:
    """Every token that was issued, and the rules by which the next one is."""

    def __init__(self) -> None:
        self._issued: Recent[str, Token] = Recent()
        self._current: Recent[tuple[str, Family, str], Token] = Recent()

    def find(self, value: str) -> Token | None:
        """The token with this value."""
        return self._issued.get(value)

    def current(self, appid: str, family: Family, agent: str = "") -> Token | None:
        """The latest token of a family, good or not."""
        return self._current.get((appid, family, agent))

    def issue(
        self, appid: str, family: Family, *, now: float, life_s: int, agent: str = ""
    ) -> Token:
        """Make a token and take it for the family's current one."""
        # WeCom's tokens are longer and have no number in front.
        value = secrets.token_urlsafe(160)
        if family is not Family.GETTOKEN:
            value = f"84_{value[:136]}"
        token = Token(value, appid, family, agent, now + life_s, now + life_s)
        self._issued[value] = token
        self._current[appid, family, agent] = token
        return token

    def classic(self, app: App, now: float) -> Token:
        """A new token; the one before it lives five minutes more.

        Source: https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html
        """
        old = self.current(app.appid, Family.CLASSIC)
        if old is not None:
            old.dies_at = min(old.dies_at, now + OVERLAP_S)
        return self.issue(app.appid, Family.CLASSIC, now=now, life_s=app.life_s)

    def stable(self, app: App, now: float, *, force: bool) -> Token:
        """The same token until the last 300 s of its life, then a new one beside it.

        The older one lives to its announced end, at most 300 s away. A forced call kills it at
        once, unless it comes within 30 s of the last one or after 20 in a day: then nothing
        happens. Source:
        https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
        """
        old = self.current(app.appid, Family.STABLE)
        if force and self._may_force(app, now):
            self.kill(app.appid, now=now, family=Family.STABLE)
        elif old is not None and old.expires_at - now > app.renewal_window_s:
            return old
        return self.issue(app.appid, Family.STABLE, now=now, life_s=app.life_s)

    @staticmethod
    def _may_force(app: App, now: float) -> bool:
        if now - app.forced_at < FORCE_SPACING_S or not app.force_quota.take(now):
            return False
        app.forced_at = now
        return True

    def gettoken(self, app: App, agent: str, now: float) -> Token:
        """WeCom: the agent's token until its expiry, or a new one where the app is set so."""
        old = self.current(app.appid, Family.GETTOKEN, agent)
        if old is not None and now < old.expires_at and not app.new_each_time:
            return old
        return self.issue(app.appid, Family.GETTOKEN, now=now, life_s=app.life_s, agent=agent)

    def kill(
        self,
        appid: str,
        *,
        now: float,
        family: Family | None = None,
        value: str = "",
        insist: bool = False,
    ) -> int:
        """End the app's good tokens, of one family or one value where given; how many.

        With ``insist`` the token endpoint goes on handing out the dead one, as some users of
        stable_token have seen (https://github.com/w7corp/easywechat/issues/2759).
        """
        doomed = self._good(appid, now=now, family=family, value=value)
        for token in doomed:
            token.dies_at = now
            key = (token.appid, token.family, token.agent)
            if not insist and self._current.get(key) is token:
                del self._current[key]
        return len(doomed)

    def shorten(
        self, appid: str, *, now: float, remaining_s: float, family: Family | None = None
    ) -> int:
        """Let the app's good tokens expire after so many seconds; how many."""
        tokens = self._good(appid, now=now, family=family)
        for token in tokens:
            token.expires_at = now + remaining_s
            token.dies_at = min(token.dies_at, token.expires_at)
        return len(tokens)

    def _good(
        self, appid: str, *, now: float, family: Family | None, value: str = ""
    ) -> list[Token]:
        return [
            token
            for token in self._issued.values()
            if token.appid == appid
            and token.is_good(now)
            and family in (None, token.family)
            and value in ("", token.value)
        ]


def is_malformed(token: str) -> bool:
    """Whether no token could look like this."""
    return _TOKEN_SHAPE.fullmatch(token) is None


@dataclass(slots=True)
class TokenCalls:
    """Calls to one token endpoint for one appid, refused ones included.

    ``forced`` counts those that asked for ``force_refresh``.
    """

    fetches: int = 0
    forced: int = 0


class World:
    """All that the simulated WeChat remembers.

    Attributes:
        ip: the address that refusals name as the caller's.
        offset_s: by how much the clock was moved.
    """

    ip = "203.0.113.8"

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_at = clock()
        self.offset_s = 0.0
        self.apps: dict[str, App] = {}
        self.tokens = TokenBook()
        self.token_calls: Recent[tuple[str, str], TokenCalls] = Recent()
        # Known paths only, so bounded.
        self.path_calls: Counter[str] = Counter()
        self.media: Recent[str, str] = Recent()
        self.menus: dict[str, object] = {}
        self.used_codes: Recent[str, str] = Recent()
        self.tickets: dict[str, tuple[str, float]] = {}
        self.rids: Recent[str, dict[str, object]] = Recent(1000)
        self.messages = 0

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started_at + self.offset_s

    def app(self, appid: str, kind: str = OFFICIAL) -> App | None:
        """The app with this id, if it is of that kind."""
        app = self.apps.get(appid)
        return app if app is not None and app.kind == kind else None

    def calls_to(self, appid: str, path: str) -> TokenCalls:
        """The counter of an appid at a token endpoint."""
        key = (appid, path)
        if key not in self.token_calls:
            self.token_calls[key] = TokenCalls()
        return self.token_calls[key]
