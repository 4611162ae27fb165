"""How often the keeper may do what rejections and clients ask for; pure.

A budget is asked with the time and notes what it granted; it reads no clock.
"""

from dataclasses import dataclass
from typing import Protocol

_DAY_S = 86_400.0


class _Rule(Protocol):
    @property
    def times(self) -> int:
        """How many past grants the rule looks at."""
        ...

    def ready_at(self, grants: list[float]) -> float:
        """From when on it allows another; ``grants`` holds at least ``times``, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class AtMost:
    """No more than ``times`` within any ``seconds``."""

    times: int
    seconds: float

    def ready_at(self, grants: list[float]) -> float:
        """See _Rule."""
        return grants[-self.times] + self.seconds


@dataclass(frozen=True, slots=True)
class SlowDown:
    """After the ``times``-th within ``within_s``, the next one ``pause_s`` later."""

    times: int
    within_s: float
    pause_s: float

    def ready_at(self, grants: list[float]) -> float:
        """See _Rule."""
        if grants[-1] - grants[-self.times] > self.within_s:
            return grants[-1]
        return grants[-1] + self.pause_s


class Budget:
    """Grants as long as all its rules allow."""

    __slots__ = ("_grants", "_memory", "_rules")

    def __init__(self, *rules: _Rule) -> None:
        self._rules = rules
        self._memory = max(rule.times for rule in rules)
        self._grants: list[float] = []

    def ready_at(self) -> float:
        """From when on the next one is granted; minus infinity when nothing was granted yet."""
        applying = [rule for rule in self._rules if len(self._grants) >= rule.times]
        return max((rule.ready_at(self._grants) for rule in applying), default=float("-inf"))

    def take(self, now: float) -> bool:
        """Whether it is granted now; a grant counts at once."""
        if now < self.ready_at():
            return False
        self._grants.append(now)
        del self._grants[: -self._memory]
        return True


class Bucket:
    """Grants ``burst`` at once, and one more for each ``seconds`` that passed."""

    __slots__ = ("_burst_s", "_full_at", "_seconds")

    def __init__(self, *, burst: int, seconds: float) -> None:
        self._seconds = seconds
        self._burst_s = (burst - 1) * seconds
        # When the bucket is full again: one number holds its whole state.
        self._full_at = float("-inf")

    def take(self, now: float) -> bool:
        """Whether it is granted now; a grant counts at once."""
        full_at = max(self._full_at, now)
        if full_at - now > self._burst_s:
            return False
        self._full_at = full_at + self._seconds
        return True


def rejection_looks() -> Bucket:
    """Looking into rejections: each costs a plain ask, a proof or both."""
    return Bucket(burst=20, seconds=10.0)


def fault_checks() -> Budget:
    """Proofs that paths at fault drive: a token revoked meanwhile is found within a minute."""
    return Budget(AtMost(1, 60.0))


def forced_refreshes() -> Budget:
    """Forced stable refreshes.

    WeChat allows 20 a day, 30 s apart, for all processes together.
    Source: https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
    """
    return Budget(AtMost(1, 60.0), AtMost(3, _DAY_S))


def classic_replacements() -> Budget:
    """Classic fetches for tokens proved bad: slower and slower, as in a fight of two writers."""
    return Budget(AtMost(1, 30.0), SlowDown(3, 600.0, 120.0), SlowDown(6, 3600.0, 600.0))


def classic_fetches(per_day: int) -> Budget:
    """All classic fetches of an account; WeChat's own quota is 2,000 a day, 200 for test accounts.

    Source: wechat-facts.md 1 (S9, S10)
    """
    return Budget(AtMost(per_day, _DAY_S))


def client_asks() -> Budget:
    """Plain asks on a client's behalf (``force_refresh``, ``/_wxproxy/refresh``)."""
    return Budget(AtMost(1, 60.0))
