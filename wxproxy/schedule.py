"""Tokens, their freshness, and when to fetch the next one; pure.

All times are seconds on ``Clock.now``, all durations seconds; jitter comes in as a number from
0 to 1.
"""

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

SAME_TOKEN_RETRY_S = 30.0
"""When WeChat gave the same token again although a refresh was due: ask again after this."""

UNANSWERED_CLASSIC_LIFE_S = 300.0
"""What an older classic token is sure to live on once another may have been issued.

Source: https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html
"""

_MIN_INTERVAL_S = 1.0
_MAX_LIFE_S = 86_400
_VALUE = re.compile(r"[A-Za-z0-9._~-]{1,1024}")
# 2**16 s is beyond every cap; without a bound the power would overflow after a long outage.
_MAX_EXPONENT = 16


class Freshness(StrEnum):
    """The states of an account's token."""

    EMPTY = "empty"
    FRESH = "fresh"
    DUE = "due"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """One token as it was fetched; compared by identity.

    Attributes:
        value: never shown; ``id`` is.
        id: eight hex digits of its SHA-256.
        fetched_at: when its (first) fetch was sent.
        expires_at: hard expiry, a fetch's send time plus WeChat's ``expires_in``.
        due_at: from when on a refresh is wanted.
    """

    value: str
    id: str
    fetched_at: float
    expires_at: float
    due_at: float

    def __repr__(self) -> str:
        return f"Token({self.id})"

    def freshness(self, now: float) -> Freshness:
        """FRESH, DUE or EXPIRED at this time."""
        if now < self.due_at:
            return Freshness.FRESH
        return Freshness.DUE if now < self.expires_at else Freshness.EXPIRED


@dataclass(frozen=True, slots=True)
class Fetched:
    """A valid answer of a token endpoint."""

    value: str = field(repr=False)
    expires_in_s: int

    @classmethod
    def checked(cls, value: object, expires_in: object) -> "Fetched | None":
        """The answer with this ``access_token`` and ``expires_in``; None if it cannot be used.

        Real tokens have 136 to 512 characters of ``[A-Za-z0-9_-]`` and live 7,200 s at most; the
        bounds leave room for change, and none for a value that would need escaping in a URL.
        Source: https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html
        """
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            return None
        # Not isinstance: True is an int to it.
        if type(expires_in) is not int or not 1 <= expires_in <= _MAX_LIFE_S:
            return None
        return cls(value, expires_in)


def new_token(
    fetched: Fetched, token_id: str, *, fetched_at: float, lead_s: float, jitter: float
) -> Token:
    """The token of an answer whose request was sent at ``fetched_at``.

    It is due ``lead_s`` ahead of its expiry, less up to half of that by jitter so that a fleet
    does not ask in one second, and never before half of its life is over. stable renews only in
    a token's last 300 s, hence the lead of 240 s.
    Source: https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
    """
    lead = min(lead_s * (1 - jitter / 2), fetched.expires_in_s / 2)
    expires_at = fetched_at + fetched.expires_in_s
    return Token(fetched.value, token_id, fetched_at, expires_at, expires_at - lead)


def seen_again(token: Token, expires_at: float) -> Token:
    """The token once WeChat gave it again: another expiry, the same lead."""
    return replace(
        token, expires_at=expires_at, due_at=token.due_at + (expires_at - token.expires_at)
    )


def perhaps_superseded(token: Token, *, sent_at: float, now: float) -> Token:
    """A classic token once a fetch was sent at ``sent_at`` and not answered.

    The answer that was lost may have held a new token; this one is then sure to live on for
    300 s only, and is to be replaced at once.
    """
    expires_at = min(token.expires_at, sent_at + UNANSWERED_CLASSIC_LIFE_S)
    return replace(token, expires_at=expires_at, due_at=min(token.due_at, now))


def next_fetch_at(token: Token, *, now: float, unchanged: bool) -> float:
    """When to ask again after a success: when due, or soon and at expiry if that is now.

    Never within a second, whatever lives WeChat hands out.
    """
    wanted = token.due_at
    if unchanged:
        wanted = max(wanted, min(now + SAME_TOKEN_RETRY_S, token.expires_at))
    return max(wanted, now + _MIN_INTERVAL_S)


def backoff_s(failures: int, *, cap_s: float, jitter: float) -> float:
    """Wait after so many failures in a row: spread over 1 s to 2**failures s, at most the cap."""
    longest = min(cap_s, 2.0 ** min(failures, _MAX_EXPONENT))
    return 1.0 + (longest - 1.0) * jitter
