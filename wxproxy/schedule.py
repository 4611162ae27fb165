"""Tokens, their freshness, and when to fetch the next one; pure.

All times are seconds on ``Clock.now``, all durations seconds; jitter comes in as a number.
"""

from dataclasses import dataclass
from enum import StrEnum


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
        fetched_at: when its fetch was sent.
        expires_at: hard expiry, ``fetched_at`` plus WeChat's ``expires_in``.
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
