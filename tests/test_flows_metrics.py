"""Metrics end to end: what Prometheus reads after real requests, and that series stay bounded."""

import random
import string

import pytest

from tests.conftest import SidecarFactory
from tests.harness import RawClient, Sidecar
from tests.upstreams import ScriptedUpstream
from tests.wire import Series, ask_once, metric, request, scrape
from wxproxy.metric_table import METRICS
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID

USERS = "/cgi-bin/user/get"
# What aiohttp's parser knows, CONNECT apart: no request may follow it on its connection.
KNOWN = """
    GET POST PUT DELETE HEAD PATCH OPTIONS TRACE ACL BIND CHECKOUT COPY LINK LOCK MERGE MKCALENDAR
    MKCOL MOVE NOTIFY PROPFIND PROPPATCH PURGE REBIND REPORT SEARCH SUBSCRIBE UNBIND UNLINK UNLOCK
    UNSUBSCRIBE
"""
METHODS = KNOWN.split()
BATCH = 50


async def test_every_metric_is_there_from_the_start(sidecar: Sidecar) -> None:
    """Dashboards and alerts need no first failure; times appear once they are known."""
    await sidecar.app.keepers[sidecar.account].token()
    series = await scrape(sidecar)

    names = {name for name, _ in series}
    for spec in METRICS:
        if spec.name not in (
            "wxproxy_wechat_errcodes_total",
            "wxproxy_secret_last_reload_success_timestamp_seconds",
        ):
            assert f"{spec.name}_count" in names if spec.type == "histogram" else spec.name in names
    started = {"account": APPID, "trigger": "startup", "result": "ok"}
    assert series["wxproxy_token_refreshes_total", _labels(**started)] == 1
    assert series["wxproxy_token_valid", _labels(account=APPID)] == 1
    counted = [value for (name, _), value in series.items() if name == "wxproxy_errors_total"]
    assert counted
    assert not any(counted)


def _labels(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _changes(before: Series, after: Series) -> dict[str, dict[tuple[str, ...], float]]:
    """What counters have grown by, by metric and label values."""
    grown: dict[str, dict[tuple[str, ...], float]] = {}
    for (name, labels), value in after.items():
        more = value - before.get((name, labels), 0)
        if name.startswith("wxproxy_") and name.endswith("_total") and more:
            grown.setdefault(name, {})[tuple(label for _, label in labels)] = more
    return grown


async def test_each_outcome_is_counted_under_its_name(sidecar: Sidecar, sandbox: Sandbox) -> None:
    """Success, a retry, an error of WeChat's, refusals of our own, and local answers."""
    await ask_once(sidecar.url, request(USERS))
    before = await scrape(sidecar)
    sandbox.revoke(APPID)
    await ask_once(sidecar.url, request(f"{USERS}?access_token=x"))
    await ask_once(sidecar.url, request("/cgi-bin/user/info?openid=bad"))
    await ask_once(sidecar.url, request(USERS, "X-Wxproxy-Account: nobody"))
    await ask_once(sidecar.url, request("/cgi-bin/./x"))
    await ask_once(sidecar.url, request(f"/cgi-bin/token?appid={APPID}"))

    assert _changes(before, await scrape(sidecar)) == {
        "wxproxy_requests_total": {
            (APPID, "200"): 2,
            ("other", "200"): 1,
            ("other", "400"): 1,
            ("other", "404"): 1,
        },
        "wxproxy_route_requests_total": {
            # account and route are never on one metric
            ("200", "GET", USERS): 1,
            ("200", "GET", "/cgi-bin/user/info"): 1,
            ("200", "GET", "/cgi-bin/token"): 1,
            ("400", "GET", "other"): 1,
            ("404", "GET", "other"): 1,
        },
        "wxproxy_credential_injections_total": {("injected",): 1, ("overwritten",): 1},
        "wxproxy_retries_total": {("ok", "40001"): 1},
        "wxproxy_wechat_errcodes_total": {(APPID, "40001"): 1, (APPID, "40003"): 1},
        "wxproxy_errors_total": {("unknown_account",): 1, ("bad_request",): 1},
        "wxproxy_token_endpoint_stubbed_total": {("/cgi-bin/token",): 1},
        "wxproxy_token_rejections_total": {(APPID, "replaced"): 1},
        "wxproxy_token_refreshes_total": {(APPID, "ok", "rejected"): 1},
    }


async def test_a_refused_token_is_counted_with_its_errcode(
    start: SidecarFactory, sandbox: Sandbox
) -> None:
    """An alert can tell a whitelist from a wrong secret."""
    sandbox.fault("/cgi-bin/stable_token", errcode=40164, times=None)
    sidecar = await start(sandbox.url)
    await ask_once(sidecar.url, request(USERS))

    refused = {"account": APPID, "reason": "errcode", "errcode": "40164"}
    assert await metric(sidecar, "wxproxy_token_refresh_errors_total", **refused) == 1
    assert await metric(sidecar, "wxproxy_token_valid", account=APPID) == 0
    assert await metric(sidecar, "wxproxy_errors_total", code="no_token") == 1
    assert await metric(sidecar, "wxproxy_requests_total", account=APPID, code="503") == 1


def _random_path(rng: random.Random) -> str:
    alphabet = rng.choice((string.ascii_lowercase, string.ascii_letters + "%20._~!$&'()*+,;=:@"))
    family = rng.choice(("/cgi-bin", "/wxa", "/datacube", "", "/_wxproxy", "/@x", "/sns"))
    return f"{family}/{''.join(rng.choices(alphabet, k=rng.randrange(6, 40)))}/x".replace(
        "%", "%25"
    )


async def test_random_paths_and_methods_add_no_series(
    proxy: Sidecar, scripted: ScriptedUpstream
) -> None:
    """10,000 of them, though WeChat answers each with success: nobody can fill Prometheus."""
    rng = random.Random(7)
    await proxy.app.keepers[proxy.account].token()
    before = await scrape(proxy)
    client = await RawClient.connect(proxy.url)
    for _ in range(10_000 // BATCH):
        methods = [rng.choice(METHODS) for _ in range(BATCH)]
        await client.send(b"".join(request(_random_path(rng), method=method) for method in methods))
        for method in methods:
            await client.reply(to_head=method == "HEAD")
        scripted.requests.clear()
    await client.close()

    after = await scrape(proxy)
    assert after.keys() == before.keys()
    name = "wxproxy_requests_total"
    counted = sum(value - before[key] for key, value in after.items() if key[0] == name)
    assert counted == 10_000


@pytest.mark.parametrize("routes", [1, 3])
async def test_paths_that_succeed_earn_labels_up_to_the_limit(
    start: SidecarFactory, scripted: ScriptedUpstream, routes: int
) -> None:
    """What an application really uses shows under its name, the rest under other."""
    proxy = await start(scripted.url, routes=routes)
    client = await RawClient.connect(proxy.url)
    for number in (1, 2, 3, 4, 5):
        for _ in range(3):
            await client.ask(request(f"/wxa/path-{number}"))
    await client.close()

    series = await scrape(proxy)
    labels = {dict(labels).get("route") for name, labels in series if "route_requests" in name}
    assert labels == {"other", *(f"/wxa/path-{number}" for number in range(1, routes + 1))}
