"""Every metric: its name, type, help, labels, and the values that each label may take; pure.

Families are built from this table and the documentation is checked against it. A label value
outside its closed set is counted as ``other``; a label without a closed set is capped by
wxproxy.metrics.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from wxproxy.events import Trigger

OTHER = "other"

# 499 is how a client that left is counted.
CODES = (*(str(int(status)) for status in HTTPStatus), "499", OTHER)
# What the sidecar itself answers with, and success: there from the start, so that the first
# failure shows in rate() and random requests add no series.
_CODES_AT_START = tuple(
    map(str, (200, 400, 401, 403, 404, 405, 408, 413, 417, 499, 500, 502, 503, 504))
)

METHODS = ("GET", "POST", OTHER)

# The words of X-Wxproxy-Error; tests/test_metric_table.py compares them with the sources.
ERROR_CODES = (
    "account_conflict",
    "bad_request",
    "body_too_large",
    "browser_request",
    "client_timeout",
    "draining",
    "expectation_failed",
    "foreign_token",
    "internal",
    "method_not_allowed",
    "no_token",
    "overloaded",
    "placeholder_in_signed_body",
    "token_endpoint_off",
    "token_not_exposed",
    "unknown_account",
    "unknown_route",
    "upstream_broken",
    "upstream_timeout",
    "upstream_unreachable",
    OTHER,
)

# What the token endpoints are known to refuse with.
# Source: https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
# and, for WeCom, https://developer.work.weixin.qq.com/document/path/90455
# fmt: off
_REFUSAL_ERRCODES = (
    -1, 40001, 40002, 40013, 40091, 40125, 40164, 40243, 41002, 41004, 43002, 45009, 45011, 45033,
    50002, 50004, 50007, 60020, 61024, 89501, 89503, 89506, 89507,
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a metric.

    Attributes:
        values: the closed set; empty where the set is known, or capped, only at run time.
        at_start: the values with which series exist at 0 before anything has happened.
    """

    name: str
    values: tuple[str, ...] = ()
    at_start: tuple[str, ...] = ()


def _closed(name: str, *values: str) -> Label:
    return Label(name, values, values)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric as Prometheus sees it.

    Attributes:
        name: the whole name, ``_total`` included.
        buckets: upper bounds of a histogram, without +Inf.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


# Its values are the configured names; wxproxy.metrics says which exist from the start.
ACCOUNT = Label("account")

_CODE = Label("code", CODES, _CODES_AT_START)
_RESULT = _closed("result", "ok", "error")
_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

METRICS: tuple[MetricSpec, ...] = (
    MetricSpec(
        "wxproxy_build_info",
        "gauge",
        "Always 1; the labels say what runs.",
        (Label("version"), Label("python")),
    ),
    # -- requests ----------------------------------------------------------------------------
    MetricSpec(
        "wxproxy_requests_total",
        "counter",
        "Requests that ended, by account and HTTP status; account other: none was chosen.",
        (ACCOUNT, _CODE),
    ),
    MetricSpec(
        "wxproxy_route_requests_total",
        "counter",
        "Requests that ended, by path, method and HTTP status; paths beyond the cap are other.",
        (Label("route", at_start=(OTHER,)), _closed("method", *METHODS), _CODE),
    ),
    MetricSpec(
        "wxproxy_request_duration_seconds",
        "histogram",
        "From a request's head to the end of its reply.",
        buckets=_SECONDS,
    ),
    MetricSpec(
        "wxproxy_upstream_duration_seconds",
        "histogram",
        "From the request written to WeChat to the head of its reply, of the last attempt.",
        buckets=_SECONDS,
    ),
    MetricSpec("wxproxy_requests_in_flight", "gauge", "Requests being served now."),
    MetricSpec("wxproxy_client_connections", "gauge", "Connections of clients open now."),
    MetricSpec(
        "wxproxy_upstream_connections",
        "gauge",
        "Connections to WeChat open now, held by a request or idle.",
        (_closed("state", "in_use", "idle"),),
    ),
    MetricSpec(
        "wxproxy_errors_total",
        "counter",
        "Answers of the sidecar's own, by their X-Wxproxy-Error.",
        (_closed("code", *ERROR_CODES),),
    ),
    MetricSpec(
        "wxproxy_client_gone_total",
        "counter",
        "Requests dropped because their client had left, by what was being done.",
        (_closed("stage", "body", "token", "connect", "retry", "reply"),),
    ),
    # -- credentials in requests -------------------------------------------------------------
    MetricSpec(
        "wxproxy_credential_injections_total",
        "counter",
        "What was done about a request's credential.",
        (_closed("outcome", "injected", "overwritten", "client_supplied", "skipped", "no_token"),),
    ),
    MetricSpec(
        "wxproxy_foreign_tokens_total",
        "counter",
        "Real-looking access_tokens of clients that are none of ours, by what was done.",
        (_closed("action", "replace", "refuse", "pass"),),
    ),
    MetricSpec(
        "wxproxy_token_endpoint_stubbed_total",
        "counter",
        "Calls to WeChat's token endpoints that were answered locally.",
        (_closed("path", "/cgi-bin/token", "/cgi-bin/stable_token", "/cgi-bin/gettoken"),),
    ),
    # -- WeChat's answers --------------------------------------------------------------------
    MetricSpec(
        "wxproxy_retries_total",
        "counter",
        "Requests that WeChat's errcode, or a connection it had closed, made due for a second"
        " try, and what came of it.",
        (
            _closed("reason", "40001", "40014", "42001", "connection"),
            _closed(
                "outcome",
                "ok",
                "failed",
                "no_other_token",
                "skipped_body_too_large",
                "skipped_signed",
            ),
        ),
    ),
    MetricSpec(
        "wxproxy_upstream_errors_total",
        "counter",
        "Attempts on which WeChat could not be reached, broke off or did not answer in time.",
        (_closed("kind", "upstream_unreachable", "upstream_broken", "upstream_timeout"),),
    ),
    MetricSpec(
        "wxproxy_wechat_errcodes_total",
        "counter",
        "Non-zero errcodes in WeChat's replies to API calls.",
        (ACCOUNT, Label("errcode")),
    ),
    # -- the token keeper --------------------------------------------------------------------
    MetricSpec(
        "wxproxy_token_valid",
        "gauge",
        "Whether the account has a token that has not expired.",
        (ACCOUNT,),
    ),
    MetricSpec(
        "wxproxy_token_expiry_timestamp_seconds",
        "gauge",
        "When the account's latest token expires, in Unix time.",
        (ACCOUNT,),
    ),
    MetricSpec(
        "wxproxy_token_last_refresh_success_timestamp_seconds",
        "gauge",
        "When a fetch last gave a valid token, in Unix time; up to 400 accounts.",
        (ACCOUNT,),
    ),
    MetricSpec(
        "wxproxy_token_last_refresh_attempt_timestamp_seconds",
        "gauge",
        "When a token was last asked for, in Unix time; up to 400 accounts.",
        (ACCOUNT,),
    ),
    MetricSpec(
        "wxproxy_token_refresh_consecutive_failures",
        "gauge",
        "Fetches that failed since the last one that did not.",
        (ACCOUNT,),
    ),
    MetricSpec(
        "wxproxy_token_refreshes_total",
        "counter",
        "Calls to the token endpoint; with more than 400 accounts, all under account other.",
        (ACCOUNT, _closed("trigger", *Trigger), _RESULT),
    ),
    MetricSpec(
        "wxproxy_token_refresh_errors_total",
        "counter",
        "Failed calls to the token endpoint; errcode is empty where WeChat sent none.",
        (
            ACCOUNT,
            Label(
                "reason",
                ("network", "timeout", "http_status", "bad_body", "errcode", OTHER),
                ("network", "timeout", "http_status", "bad_body"),
            ),
            Label("errcode", ("", *map(str, _REFUSAL_ERRCODES), OTHER), ("",)),
        ),
    ),
    MetricSpec(
        "wxproxy_token_refresh_duration_seconds",
        "histogram",
        "How long calls to the token endpoint took.",
        buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    ),
    MetricSpec(
        "wxproxy_token_rejections_total",
        "counter",
        "Times that WeChat called the current token bad, and what that turned out to mean.",
        (
            ACCOUNT,
            _closed("outcome", "replaced", "token_proved_good", "no_other_token", "inconclusive"),
        ),
    ),
    MetricSpec(
        "wxproxy_token_contested_total",
        "counter",
        "Times that another system was found fetching tokens for the account.",
        (ACCOUNT,),
    ),
    MetricSpec(
        "wxproxy_secret_reloads_total",
        "counter",
        "Secret files that changed and were read, or could not be.",
        (_RESULT,),
    ),
    MetricSpec(
        "wxproxy_secret_last_reload_success_timestamp_seconds",
        "gauge",
        "When a changed secret file was last read, in Unix time.",
    ),
)
