"""Fakes for the tests of metrics, ops and the status page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from wxproxy.metrics import Gauges, KeeperStatus, Metrics


@dataclass(frozen=True, slots=True)
class Result:
    """The last result of a fake keeper."""

    ok: bool = True
    reason: str = ""
    errcode: int = 0
    rid: str = ""
    refused_ip: str = ""
    cure: str = ""
    at_wall: float = 1_700_000_000.0


@dataclass(frozen=True, slots=True)
class Status:
    """A fake keeper's status: an account that is served."""

    name: str = "shop"
    appid: str = "wx0123456789abcdef"
    kind: str = "official"
    token_api: str = "stable"
    state: str = "fresh"
    token_id: str = "0a1b2c3d"
    age_s: float | None = 60.04
    seconds_left: float | None = 7139.96
    next_refresh_in_s: float | None = 6960.0
    expires_at_wall: float | None = 1_700_007_200.0
    consecutive_failures: int = 0
    last_attempt_wall: float | None = 1_700_000_000.0
    last_success_wall: float | None = 1_700_000_000.0
    last: Result | None = field(default_factory=Result)
    counts: Mapping[str, int] = field(default_factory=lambda: {"fetches": 1})
    contested: str = ""

    @property
    def attention(self) -> str:
        """As a keeper tells it: the cure of a failure first."""
        return (self.last.cure if self.last else "") or self.contested


def empty(name: str, last: Result | None = None) -> Status:
    """An account that never had a token."""
    return Status(
        name=name,
        state="empty",
        token_id="",
        age_s=None,
        seconds_left=None,
        next_refresh_in_s=None,
        expires_at_wall=None,
        last_attempt_wall=None if last is None else last.at_wall,
        last_success_wall=None,
        last=last,
        counts={},
    )


def make_metrics(
    accounts: Sequence[str] = ("shop",),
    keepers: Callable[[], Sequence[KeeperStatus]] = tuple,
    **options: int,
) -> Metrics:
    """Metrics whose clock stands at 1,700,000,000 and whose gauges read 1, 2, 3, 4."""
    return Metrics(
        accounts,
        keepers=keepers,
        gauges=Gauges(
            in_flight=lambda: 1,
            client_connections=lambda: 2,
            upstream_in_use=lambda: 3,
            upstream_idle=lambda: 4,
        ),
        wall=lambda: 1_700_000_000.0,
        **options,
    )
