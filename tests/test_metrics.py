"""What is counted and how it is rendered."""

import random
import string
from itertools import product

import pytest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from tests.ops_fakes import Result, Status, empty, make_metrics
from wxproxy.events import (
    RefreshFinished,
    RejectionSettled,
    SecretReloaded,
    TokenContested,
    Trigger,
)
from wxproxy.metric_families import SAMPLES_PER_SLICE
from wxproxy.metric_table import ACCOUNT, METRICS, OTHER
from wxproxy.metrics import ERRCODES_IN_ALL, ERRCODES_PER_ACCOUNT, Metrics

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def text(metrics: Metrics, accept: str = "") -> str:
    """The whole exposition."""
    pieces, _ = metrics.render(accept)
    return b"".join(pieces).decode()


def samples(metrics: Metrics) -> list[Sample]:
    """All samples but those of the process itself."""
    return [
        sample
        for family in parse_text(text(metrics))
        for sample in family.samples
        if sample.name.startswith("wxproxy_")
    ]


def read(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric that are not 0, by its labels' values."""
    labels = next([label.name for label in spec.labels] for spec in METRICS if spec.name == name)
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in samples(metrics)
        if sample.name == name and sample.value
    }


# -- requests ------------------------------------------------------------------------------------


def test_a_request_is_counted_by_account_by_route_and_by_time() -> None:
    """One request at its end shows in both counters and both histograms."""
    metrics = make_metrics()
    metrics.request_done("shop", "/cgi-bin/user/info", "GET", 200, 0.03, 0.025)
    metrics.request_done("shop", "/cgi-bin/user/info", "GET", 503, 3.0)

    assert read(metrics, "wxproxy_requests_total") == {("shop", "200"): 1, ("shop", "503"): 1}
    assert read(metrics, "wxproxy_route_requests_total") == {
        ("/cgi-bin/user/info", "GET", "200"): 1,
        ("/cgi-bin/user/info", "GET", "503"): 1,
    }
    value = metrics.registry.get_sample_value
    buckets = {
        bound: value("wxproxy_request_duration_seconds_bucket", {"le": bound})
        for bound in ("0.025", "0.05", "2.5", "5.0", "+Inf")
    }
    assert buckets == {"0.025": 0, "0.05": 1, "2.5": 1, "5.0": 2, "+Inf": 2}
    assert value("wxproxy_request_duration_seconds_sum") == pytest.approx(3.03)
    # A bucket's bound belongs to it.
    assert value("wxproxy_upstream_duration_seconds_bucket", {"le": "0.025"}) == 1
    assert value("wxproxy_upstream_duration_seconds_count") == 1


def test_a_request_without_an_account_is_counted() -> None:
    """A request that chose no account, by a strange method and with a strange code, is other."""
    metrics = make_metrics()
    metrics.request_done("", "/nowhere", "BREW", 799, 0.001)

    assert read(metrics, "wxproxy_requests_total") == {(OTHER, OTHER): 1}
    assert read(metrics, "wxproxy_route_requests_total") == {(OTHER, OTHER, OTHER): 1}


def test_only_wechats_own_success_earns_a_route() -> None:
    """Replies of the sidecar's own, with 200 too, teach no route; WeChat's third 2xx does."""
    metrics = make_metrics()
    for upstream_s, code in ((None, 200), (None, 200), (None, 200), (0.1, 404), (0.1, 301)):
        metrics.request_done("shop", "/wxa/nice", "GET", code, 0.1, upstream_s)
    for _ in range(3):
        metrics.request_done("shop", "/wxa/nice", "GET", 200, 0.1, 0.1)

    seen = read(metrics, "wxproxy_route_requests_total")

    assert seen[("/wxa/nice", "GET", "200")] == 1
    assert {OTHER, "/wxa/nice"} == {route for route, _, _ in seen}


@pytest.mark.parametrize(
    ("code", "upstream_s"), [(404, None), (502, None), (200, 0.01)], ids=["404", "502", "200"]
)
def test_random_requests_add_no_series(code: int, upstream_s: float | None) -> None:
    """10,000 made-up paths, methods and accounts leave the number of series as it was."""
    metrics = make_metrics()
    before = len(samples(metrics))
    rnd = random.Random(7)

    def word() -> str:
        return "".join(rnd.choices(string.ascii_lowercase, k=8))

    for _ in range(10_000):
        metrics.request_done(word(), f"/cgi-bin/{word()}", word().upper(), code, 0.01, upstream_s)
        metrics.error(word())
        metrics.injection(word())

    # The one is the "other" of injections, which the code alone cannot reach.
    assert before + 1 == len(samples(metrics))
    assert {(OTHER, str(code)): 10_000} == read(metrics, "wxproxy_requests_total")


def test_the_caller_sets_how_many_routes_there_are() -> None:
    """The cap is a setting."""
    metrics = make_metrics(max_routes=1)
    metrics.request_done("shop", "/cgi-bin/user/info", "GET", 200, 0.1, 0.1)
    metrics.request_done("shop", "/cgi-bin/menu/get", "GET", 200, 0.1, 0.1)

    routes = {route for route, _, _ in read(metrics, "wxproxy_route_requests_total")}
    assert {"/cgi-bin/user/info", OTHER} == routes


def test_events_of_requests_are_counted_under_their_words() -> None:
    """Each method counts in its own metric."""
    metrics = make_metrics()
    metrics.error("no_token")
    metrics.client_gone("token")
    metrics.injection("overwritten")
    metrics.foreign_token("refuse")
    metrics.stubbed("/cgi-bin/token")
    metrics.retry(40001, "ok")
    metrics.retry("connection", "failed")
    metrics.upstream_error("upstream_timeout")
    metrics.upstream_error("upstream_timeout")

    assert read(metrics, "wxproxy_errors_total") == {("no_token",): 1}
    assert read(metrics, "wxproxy_client_gone_total") == {("token",): 1}
    assert read(metrics, "wxproxy_credential_injections_total") == {("overwritten",): 1}
    assert read(metrics, "wxproxy_foreign_tokens_total") == {("refuse",): 1}
    assert read(metrics, "wxproxy_token_endpoint_stubbed_total") == {("/cgi-bin/token",): 1}
    assert read(metrics, "wxproxy_retries_total") == {
        ("40001", "ok"): 1,
        ("connection", "failed"): 1,
    }
    assert read(metrics, "wxproxy_upstream_errors_total") == {("upstream_timeout",): 2}


# -- WeChat's errcodes ---------------------------------------------------------------------------


def test_errcodes_appear_on_first_use() -> None:
    """There is no series before WeChat has sent a code, then one for it."""
    metrics = make_metrics()
    before = text(metrics)
    metrics.wechat_errcode("shop", 45009)
    metrics.wechat_errcode("shop", -1)
    metrics.wechat_errcode("shop", 45009)

    assert "wxproxy_wechat_errcodes_total{" not in before
    assert read(metrics, "wxproxy_wechat_errcodes_total") == {
        ("shop", "45009"): 2,
        ("shop", "-1"): 1,
    }


def test_one_account_cannot_use_up_the_errcodes() -> None:
    """An account's codes beyond its share are other, those it has go on, another has its own."""
    metrics = make_metrics(("shop", "club"))
    for errcode in range(1, 1000):
        metrics.wechat_errcode("shop", errcode)
    metrics.wechat_errcode("shop", 1)
    metrics.wechat_errcode("club", 40003)

    seen = read(metrics, "wxproxy_wechat_errcodes_total")

    assert len(seen) == ERRCODES_PER_ACCOUNT + 2
    assert seen[("shop", OTHER)] == 999 - ERRCODES_PER_ACCOUNT
    assert seen[("shop", "1")] == 2
    assert seen[("club", "40003")] == 1


def test_errcodes_are_capped_over_all_accounts() -> None:
    """Beyond the cap in all, each account adds no more than its other."""
    names = [f"a{n}" for n in range(100)]
    metrics = make_metrics(names)
    for name, errcode in product(names, range(1, 15)):
        metrics.wechat_errcode(name, errcode)

    seen = read(metrics, "wxproxy_wechat_errcodes_total")

    assert sum(errcode != OTHER for _, errcode in seen) == ERRCODES_IN_ALL
    assert sum(seen.values()) == 1400


def test_an_absurd_errcode_is_other() -> None:
    """A number of 5,000 digits neither fails nor becomes a label."""
    metrics = make_metrics()
    metrics.wechat_errcode("shop", 10**5000)

    assert read(metrics, "wxproxy_wechat_errcodes_total") == {("shop", OTHER): 1}


# -- the keeper ----------------------------------------------------------------------------------


def test_refreshes_are_counted_by_trigger_and_result() -> None:
    """A fetch that worked and two that did not show with their cause and time."""
    metrics = make_metrics()
    metrics.on_event(RefreshFinished("shop", Trigger.STARTUP, ok=True, duration_s=0.2))
    metrics.on_event(
        RefreshFinished(
            "shop", Trigger.SCHEDULED, ok=False, duration_s=0.2, reason="errcode", errcode=40164
        )
    )
    metrics.on_event(
        RefreshFinished("shop", Trigger.SCHEDULED, ok=False, duration_s=10.0, reason="timeout")
    )

    assert read(metrics, "wxproxy_token_refreshes_total") == {
        ("shop", "startup", "ok"): 1,
        ("shop", "scheduled", "error"): 2,
    }
    assert read(metrics, "wxproxy_token_refresh_errors_total") == {
        ("shop", "errcode", "40164"): 1,
        ("shop", "timeout", ""): 1,
    }
    value = metrics.registry.get_sample_value
    assert value("wxproxy_token_refresh_duration_seconds_count") == 3


def test_an_unknown_refusal_is_other() -> None:
    """Codes that the token endpoints are not known for share one series."""
    metrics = make_metrics()
    for errcode in range(70000, 70100):
        metrics.on_event(
            RefreshFinished(
                "shop", Trigger.MANUAL, ok=False, duration_s=0, reason="errcode", errcode=errcode
            )
        )

    assert read(metrics, "wxproxy_token_refresh_errors_total") == {("shop", "errcode", OTHER): 100}


def test_rejections_contests_and_reloads_are_counted() -> None:
    """The keeper's other events count in theirs; only a good reload sets its time."""
    metrics = make_metrics()
    metrics.on_event(RejectionSettled("shop", "/cgi-bin/user/info", "0a1b2c3d", "replaced"))
    metrics.on_event(TokenContested("shop", times=3))
    metrics.on_event(SecretReloaded("shop", ok=False))
    before = read(metrics, "wxproxy_secret_last_reload_success_timestamp_seconds")
    metrics.on_event(SecretReloaded("shop", ok=True))

    assert read(metrics, "wxproxy_token_rejections_total") == {("shop", "replaced"): 1}
    assert read(metrics, "wxproxy_token_contested_total") == {("shop",): 1}
    assert read(metrics, "wxproxy_secret_reloads_total") == {("ok",): 1, ("error",): 1}
    assert before == {}
    assert read(metrics, "wxproxy_secret_last_reload_success_timestamp_seconds") == {
        (): 1_700_000_000.0
    }


@pytest.mark.parametrize(
    ("state", "valid"), [("fresh", 1), ("due", 1), ("expired", 0), ("empty", 0)]
)
def test_a_token_is_valid_until_it_expires(state: str, valid: int) -> None:
    """A token that is due for a refresh still serves."""
    metrics = make_metrics(keepers=lambda: [Status(state=state)])

    assert metrics.registry.get_sample_value("wxproxy_token_valid", {"account": "shop"}) == valid


def test_an_accounts_times_are_shown_once_they_are_known() -> None:
    """An account without a token has valid and failures, but no timestamp at 0."""
    known = make_metrics(keepers=lambda: [Status(consecutive_failures=2)])
    unknown = make_metrics(keepers=lambda: [empty("shop")])
    gauges = [spec.name for spec in METRICS if spec.labels == (ACCOUNT,) and spec.type == "gauge"]

    assert [known.registry.get_sample_value(name, {"account": "shop"}) for name in gauges] == [
        1,
        1_700_007_200,
        1_700_000_000,
        1_700_000_000,
        2,
    ]
    assert [unknown.registry.get_sample_value(name, {"account": "shop"}) for name in gauges] == [
        0,
        None,
        None,
        None,
        0,
    ]


# -- series --------------------------------------------------------------------------------------

EXPECTED_AT_ZERO = [
    (spec.name, dict(zip([label.name for label in spec.labels], values, strict=True)))
    for spec in METRICS
    if spec.type == "counter"
    for values in product(
        *(("shop",) if label is ACCOUNT else label.at_start for label in spec.labels)
    )
]


def test_counters_exist_at_zero_from_the_start() -> None:
    """Each counter of closed sets has its series before the first event, and no others."""
    metrics = make_metrics()
    counters = {spec.name for spec in METRICS if spec.type == "counter"}
    found = [
        (sample.name, sample.labels)
        for sample in samples(metrics)
        if sample.name in counters and sample.labels.get("account") != OTHER
    ]

    assert not [one for one in EXPECTED_AT_ZERO if one not in found]
    assert len(EXPECTED_AT_ZERO) == len(found)
    assert {0} == {sample.value for sample in samples(metrics) if sample.name in counters}


def test_every_metric_of_the_table_is_exposed_with_its_help_and_type() -> None:
    """The exposition has the table's names, types and help texts, and nothing else of ours."""
    lines = text(make_metrics()).splitlines()
    ours = [line for line in lines if line.startswith("# ") and " wxproxy_" in line]

    assert ours == [
        line
        for spec in METRICS
        for line in (f"# HELP {spec.name} {spec.help}", f"# TYPE {spec.name} {spec.type}")
    ]


def test_the_gauges_of_others_are_read_at_the_scrape() -> None:
    """Requests and connections show what their owners say at that moment."""
    value = make_metrics().registry.get_sample_value

    assert value("wxproxy_requests_in_flight") == 1
    assert value("wxproxy_client_connections") == 2
    assert value("wxproxy_upstream_connections", {"state": "in_use"}) == 3
    assert value("wxproxy_upstream_connections", {"state": "idle"}) == 4


def many(count: int) -> tuple[list[str], list[Status]]:
    """Names and statuses of so many accounts that work."""
    names = [f"account-{n}" for n in range(count)]
    return names, [Status(name=name) for name in names]


def start_up(metrics: Metrics, names: list[str]) -> None:
    """Each account has had its first token and one scheduled refresh."""
    for name, trigger in product(names, (Trigger.STARTUP, Trigger.SCHEDULED)):
        metrics.on_event(RefreshFinished(name, trigger, ok=True, duration_s=0.1))


def outage(metrics: Metrics, names: list[str]) -> None:
    """WeChat cannot be reached by any account."""
    for name in names:
        metrics.on_event(
            RefreshFinished(name, Trigger.SCHEDULED, ok=False, duration_s=0.1, reason="network")
        )


@pytest.mark.parametrize("count", [1, 50, 51, 400, 401, 1000])
def test_series_stay_below_5000_with_idle_accounts(count: int) -> None:
    """Idle accounts stay within the limit, also while WeChat cannot be reached."""
    names, statuses = many(count)
    metrics = make_metrics(names, keepers=lambda: statuses)
    start_up(metrics, names)
    outage(metrics, names)

    assert len(samples(metrics)) <= 5000


def test_many_accounts_share_the_count_of_their_refreshes() -> None:
    """Beyond 400 accounts refreshes are counted together, and causes still by account."""
    names, _ = many(401)
    metrics = make_metrics(names)
    outage(metrics, names)

    assert read(metrics, "wxproxy_token_refreshes_total") == {(OTHER, "scheduled", "error"): 401}
    assert len(read(metrics, "wxproxy_token_refresh_errors_total")) == 401


# -- rendering -----------------------------------------------------------------------------------


def busy() -> Metrics:
    """Metrics that have more than one slice of samples, and odd label values."""
    names, statuses = many(SAMPLES_PER_SLICE + 1)
    odd = 'a"b\\c\nd'
    metrics = make_metrics(
        [*names, odd], keepers=lambda: [*statuses, empty(odd, Result(ok=False, errcode=40013))]
    )
    for name in (*names, odd):
        metrics.request_done(name, "/cgi-bin/user/info", "GET", 200, 0.1, 0.1)
    return metrics


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=junk", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=2.\udcff", "text/plain; version=0.0.4"),
    ],
)
def test_the_format_follows_the_accept_header(accept: str, content_type: str) -> None:
    """Each scraper gets the format that it asks for, and a bad wish the plain one."""
    _, given = make_metrics().render(accept)

    assert given.startswith(content_type)


def test_slices_join_to_what_prometheus_client_renders() -> None:
    """Cutting families into slices changes nothing of the text, in both formats."""
    metrics = busy()

    for accept in ("", OPENMETRICS):
        whole = choose_encoder(accept)[0](metrics.registry).decode()
        ours, expected = (
            [line for line in one.splitlines() if "process_" not in line]
            for one in (text(metrics, accept), whole)
        )
        assert expected == ours


def test_both_formats_parse_to_the_same_samples() -> None:
    """The parsers of both formats accept the text, escapes included, and agree."""
    metrics = busy()

    plain, opened = (
        {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in parse(text(metrics, accept))
            for sample in family.samples
            if sample.name.startswith("wxproxy_")
        }
        for parse, accept in ((parse_text, ""), (parse_openmetrics, OPENMETRICS))
    )

    assert plain == opened
    assert plain[("wxproxy_requests_total", ("account", 'a"b\\c\nd'), ("code", "200"))] == 1


def test_no_slice_is_large() -> None:
    """A slice holds a bounded number of lines, so that no scrape holds the loop for long."""
    pieces, _ = busy().render("")

    assert max(piece.count(b"\n") for piece in pieces) == SAMPLES_PER_SLICE


def test_there_are_no_created_series() -> None:
    """Neither format doubles the counters by their creation times."""
    metrics = busy()

    assert "_created" not in text(metrics) + text(metrics, OPENMETRICS)
