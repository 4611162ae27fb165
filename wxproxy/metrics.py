"""What is counted and how Prometheus gets it.

The request path keeps plain integers; families of prometheus_client are built from them at a
scrape. Everything here belongs to the event loop's thread: no locks.

Series stay bounded, at most 5,000 with 1,000 idle accounts:

- up to 50 accounts, every counter of a closed set exists at 0 from the start;
- beyond 50, an account's counters appear on first use;
- beyond 400, refreshes are counted for all accounts together (``account="other"``), and the
  times of an account's last refresh are shown by ``/status`` only.
"""

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from wxproxy import __version__
from wxproxy.events import Event, RefreshFinished, RejectionSettled, SecretReloaded, TokenContested
from wxproxy.metric_families import (
    Counts,
    Distribution,
    counter_family,
    gauge_family,
    histogram_family,
    slices,
)
from wxproxy.metric_table import CODES, METRICS, OTHER
from wxproxy.route_labels import RouteLabels

ACCOUNTS_AT_ZERO = 50
ACCOUNTS_IN_DETAIL = 400
ERRCODES_PER_ACCOUNT = 20
ERRCODES_IN_ALL = 1000
# Keyed by int: the request path has a number.
_CODE_LABELS = {int(code): code for code in CODES if code != OTHER}
_ERRCODE_BOUND = 10**10


class LastResult(Protocol):
    """How an account's last call to its token endpoint ended."""

    @property
    def ok(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def errcode(self) -> int: ...
    @property
    def rid(self) -> str: ...
    @property
    def refused_ip(self) -> str: ...
    @property
    def cure(self) -> str: ...
    @property
    def at_wall(self) -> float: ...


class KeeperStatus(Protocol):
    """What is read of a keeper's status: by metrics, by ``/status`` and by the status page."""

    @property
    def name(self) -> str: ...
    @property
    def appid(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def token_api(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def token_id(self) -> str: ...
    @property
    def age_s(self) -> float | None: ...
    @property
    def seconds_left(self) -> float | None: ...
    @property
    def next_refresh_in_s(self) -> float | None: ...
    @property
    def expires_at_wall(self) -> float | None: ...
    @property
    def consecutive_failures(self) -> int: ...
    @property
    def last_attempt_wall(self) -> float | None: ...
    @property
    def last_success_wall(self) -> float | None: ...
    @property
    def last(self) -> LastResult | None: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def attention(self) -> str: ...


def has_valid_token(status: KeeperStatus) -> bool:
    """Whether calls of the account can be served now."""
    return status.state in ("fresh", "due")


_ACCOUNT_GAUGES: dict[str, Callable[[KeeperStatus], float | None]] = {
    "wxproxy_token_valid": has_valid_token,
    "wxproxy_token_expiry_timestamp_seconds": lambda status: status.expires_at_wall,
    "wxproxy_token_refresh_consecutive_failures": lambda status: status.consecutive_failures,
}
_DETAIL_GAUGES: dict[str, Callable[[KeeperStatus], float | None]] = {
    "wxproxy_token_last_refresh_success_timestamp_seconds": lambda status: status.last_success_wall,
    "wxproxy_token_last_refresh_attempt_timestamp_seconds": lambda status: status.last_attempt_wall,
}


@dataclass(frozen=True, slots=True)
class Gauges:
    """Where the numbers that others keep are read at a scrape."""

    in_flight: Callable[[], int]
    client_connections: Callable[[], int]
    upstream_in_use: Callable[[], int]
    upstream_idle: Callable[[], int]


class Metrics(Collector):
    """Counts events and renders them; one method for each event.

    Attributes:
        registry: a prometheus_client registry of its own.
    """

    def __init__(
        self,
        accounts: Sequence[str],
        *,
        keepers: Callable[[], Iterable[KeeperStatus]],
        gauges: Gauges,
        max_routes: int = 100,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._keepers = keepers
        self._gauges = gauges
        self._wall = wall
        self._routes = RouteLabels(max_routes)
        self._errcodes_of: Counter[str] = Counter()
        self._secret_reloaded_at: float | None = None
        self._in_detail = len(accounts) <= ACCOUNTS_IN_DETAIL
        self._counts = _all_counts(accounts)
        self._by_account = self._counts["wxproxy_requests_total"].series
        self._by_route = self._counts["wxproxy_route_requests_total"].series
        self._errcodes = self._counts["wxproxy_wechat_errcodes_total"]
        self._distributions = {
            spec.name: Distribution(spec) for spec in METRICS if spec.type == "histogram"
        }
        self._duration = self._distributions["wxproxy_request_duration_seconds"]
        self._upstream_duration = self._distributions["wxproxy_upstream_duration_seconds"]
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    # -- requests ----------------------------------------------------------------------------

    def request_done(
        self,
        account: str,
        path: str,
        method: str,
        code: int,
        duration_s: float,
        upstream_s: float | None = None,
    ) -> None:
        """A request has ended.

        Args:
            account: name of its account, or "" when none was chosen.
            path: decoded, without query.
            code: HTTP status of the reply; 499 when the client had left.
            duration_s: from its head to the end of the reply.
            upstream_s: what WeChat took, or None when WeChat did not answer.
        """
        label = _CODE_LABELS.get(code, OTHER)
        if path not in self._routes.given:
            path = self._routes.label(path, succeeded=upstream_s is not None and 200 <= code < 300)
        # Written out, as this runs for each request: two calls would take as long as the rest.
        try:
            self._by_account[account, label] += 1
        except KeyError:
            self._counts["wxproxy_requests_total"].add(account, label)
        try:
            self._by_route[path, method, label] += 1
        except KeyError:
            self._counts["wxproxy_route_requests_total"].add(path, method, label)
        self._duration.observe(duration_s)
        if upstream_s is not None:
            self._upstream_duration.observe(upstream_s)

    def error(self, code: str) -> None:
        """The sidecar itself answers with this X-Wxproxy-Error."""
        self._counts["wxproxy_errors_total"].add(code)

    def client_gone(self, stage: str) -> None:
        """A request is dropped because its client left while this was being done."""
        self._counts["wxproxy_client_gone_total"].add(stage)

    def injection(self, outcome: str) -> None:
        """This was done about a request's credential."""
        self._counts["wxproxy_credential_injections_total"].add(outcome)

    def foreign_token(self, action: str) -> None:
        """A client's token was none of ours: replace, refuse or pass."""
        self._counts["wxproxy_foreign_tokens_total"].add(action)

    def stubbed(self, path: str) -> None:
        """A token endpoint is answered locally."""
        self._counts["wxproxy_token_endpoint_stubbed_total"].add(path)

    def retry(self, reason: int | str, outcome: str) -> None:
        """A second try was due because of this errcode, or ``connection``."""
        self._counts["wxproxy_retries_total"].add(str(reason), outcome)

    def upstream_error(self, code: str) -> None:
        """One attempt to reach WeChat failed with this code of an UpstreamError."""
        self._counts["wxproxy_upstream_errors_total"].add(code)

    def wechat_errcode(self, account: str, errcode: int) -> None:
        """WeChat's reply to an API call held this errcode."""
        label = str(errcode) if abs(errcode) < _ERRCODE_BOUND else OTHER
        if (account, label) not in self._errcodes.series:
            label = self._new_errcode(account, label)
        self._errcodes.add(account, label)

    def _new_errcode(self, account: str, label: str) -> str:
        """The label, while there is room for another; each account may add ``other`` besides."""
        if (
            self._errcodes_of[account] >= ERRCODES_PER_ACCOUNT
            or self._errcodes_of.total() >= ERRCODES_IN_ALL
        ):
            return OTHER
        self._errcodes_of[account] += 1
        return label

    # -- the token keeper --------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Count what a keeper reports."""
        match event:
            case RefreshFinished():
                self._refresh_finished(event)
            case RejectionSettled():
                self._counts["wxproxy_token_rejections_total"].add(event.account, event.outcome)
            case TokenContested():
                self._counts["wxproxy_token_contested_total"].add(event.account)
            case SecretReloaded():
                self._counts["wxproxy_secret_reloads_total"].add("ok" if event.ok else "error")
                if event.ok:
                    self._secret_reloaded_at = self._wall()

    def _refresh_finished(self, event: RefreshFinished) -> None:
        self._counts["wxproxy_token_refreshes_total"].add(
            event.account, event.trigger, "ok" if event.ok else "error"
        )
        self._distributions["wxproxy_token_refresh_duration_seconds"].observe(event.duration_s)
        if not event.ok:
            errcode = str(event.errcode) if event.reason == "errcode" else ""
            self._counts["wxproxy_token_refresh_errors_total"].add(
                event.account, event.reason, errcode
            )

    # -- a scrape ----------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """One family after the other, for prometheus_client."""
        statuses = tuple(self._keepers())
        for spec in METRICS:
            if spec.type == "counter":
                yield counter_family(spec, self._counts[spec.name])
            elif spec.type == "histogram":
                yield histogram_family(spec, self._distributions[spec.name])
            else:
                yield gauge_family(spec, self._gauge(spec.name, statuses))

    def _gauge(
        self, name: str, statuses: tuple[KeeperStatus, ...]
    ) -> Iterable[tuple[tuple[str, ...], float | None]]:
        if name in _ACCOUNT_GAUGES:
            return (((one.name,), _ACCOUNT_GAUGES[name](one)) for one in statuses)
        if name in _DETAIL_GAUGES:
            shown = statuses if self._in_detail else ()
            return (((one.name,), _DETAIL_GAUGES[name](one)) for one in shown)
        return self._process_gauges()[name]

    def _process_gauges(self) -> dict[str, Sequence[tuple[tuple[str, ...], float | None]]]:
        gauges = self._gauges
        return {
            "wxproxy_build_info": [((__version__, platform.python_version()), 1)],
            "wxproxy_requests_in_flight": [((), gauges.in_flight())],
            "wxproxy_client_connections": [((), gauges.client_connections())],
            "wxproxy_upstream_connections": [
                (("in_use",), gauges.upstream_in_use()),
                (("idle",), gauges.upstream_idle()),
            ],
            "wxproxy_secret_last_reload_success_timestamp_seconds": [
                ((), self._secret_reloaded_at)
            ],
        }

    def render(self, accept: str) -> tuple[Iterator[bytes], str]:
        """The exposition for this Accept header, in slices of a few ms each, and its type.

        Text 0.0.4, 1.0.0 or OpenMetrics, as prometheus_client chooses. The caller lets the loop
        run between slices: in a thread the whole would take the GIL in turns of 5 ms instead.
        """
        try:
            encode, content_type = choose_encoder(accept if accept.isascii() else "")
        except TypeError:
            # prometheus_client 0.26 compares a version that is no number with one that is.
            encode, content_type = choose_encoder("")
        return slices(encode, self.registry), content_type


def _all_counts(accounts: Sequence[str]) -> dict[str, Counts]:
    at_zero = accounts if len(accounts) <= ACCOUNTS_AT_ZERO else ()
    counts = {
        spec.name: Counts(spec, accounts, at_zero=at_zero)
        for spec in METRICS
        if spec.type == "counter"
    }
    by_name = {spec.name: spec for spec in METRICS}
    # Requests that choose no account are counted under OTHER, however few accounts there are.
    name = "wxproxy_requests_total"
    counts[name] = Counts(by_name[name], accounts, at_zero=(*at_zero, OTHER))
    if len(accounts) > ACCOUNTS_IN_DETAIL:
        name = "wxproxy_token_refreshes_total"
        counts[name] = Counts(by_name[name], (), at_zero=(OTHER,))
    return counts
