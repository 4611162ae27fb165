"""The ops listener."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request
from prometheus_client.parser import text_string_to_metric_families

from tests.ops_fakes import Result, Status, empty, make_metrics
from wxproxy.ops import OpsState, build_ops_app

Client = TestClient[Request, Application]
Start = Callable[..., Awaitable[Client]]
ROUTES = ("/startupz", "/livez", "/readyz", "/metrics", "/status", "/")


@pytest.fixture
def start(aiohttp_client: Any) -> Start:
    """Starts an ops listener over these statuses; gives a client of it."""

    async def make(*statuses: Status, state: OpsState | None = None, **about: object) -> Client:
        app = build_ops_app(
            state=state or OpsState(started=True, startup_settled=True),
            metrics=make_metrics([status.name for status in statuses], lambda: statuses),
            statuses=lambda: statuses,
            about=about,
        )
        client: Client = await aiohttp_client(app)
        return client

    return make


# -- probes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "ready", "said"),
    [
        (OpsState(), 503, "starting\n"),
        (OpsState(started=True), 200, "ready\n"),
        (OpsState(started=True, startup_settled=True), 200, "ready\n"),
        (OpsState(started=True, startup_settled=True, draining=True), 503, "draining\n"),
        (OpsState(draining=True), 503, "draining\n"),
    ],
    ids=["starting", "started", "settled", "draining", "told to stop at once"],
)
async def test_readiness_is_started_and_not_draining(
    start: Start, state: OpsState, ready: int, said: str
) -> None:
    """Readiness follows the process's own life; liveness is always given."""
    client = await start(Status(), state=state)

    answer = await client.get("/readyz")

    assert (ready, said) == (answer.status, await answer.text())
    assert (await client.get("/livez")).status == 200


async def test_readiness_does_not_depend_on_wechat(start: Start) -> None:
    """While WeChat refuses every token, the sidecar still takes requests."""
    client = await start(empty("shop", Result(ok=False, reason="network")))

    assert (await client.get("/readyz")).status == 200


async def test_startup_names_the_accounts_that_wait(start: Start) -> None:
    """Before startup has settled the probe says which accounts have no answer, and why."""
    client = await start(
        Status(name="served"),
        empty("asked"),
        empty("cut-off", Result(ok=False, reason="network")),
        empty("refused", Result(ok=False, reason="errcode", errcode=40013)),
        state=OpsState(started=True),
    )

    answer = await client.get("/startupz")

    assert answer.status == 503
    assert await answer.text() == (
        "waiting for a token: asked (no answer yet), cut-off (network)\n"
    )


async def test_startup_names_few_of_many(start: Start) -> None:
    """With a thousand waiting accounts the probe's answer stays short."""
    client = await start(*[empty(f"a{n}") for n in range(1000)], state=OpsState(started=True))

    text = await (await client.get("/startupz")).text()

    assert text.endswith("a9 (no answer yet) and 990 more\n")


async def test_startup_is_passed_once_it_has_settled(start: Start) -> None:
    """Once settled, by answers or by time, startup holds the application back no longer."""
    state = OpsState(started=True)
    client = await start(empty("shop"), state=state)
    before = (await client.get("/startupz")).status
    state.startup_settled = True

    assert (before, (await client.get("/startupz")).status) == (503, 200)


# -- metrics -------------------------------------------------------------------------------------


async def test_metrics_are_scraped_in_the_format_asked_for(start: Start) -> None:
    """Prometheus gets OpenMetrics when it prefers it, others the plain text."""
    client = await start(Status())
    wish = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}

    plain, opened = await client.get("/metrics"), await client.get("/metrics", headers=wish)

    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert opened.headers["Content-Type"].startswith("application/openmetrics-text")
    assert (await opened.text()).endswith("# EOF\n")
    names = {family.name for family in text_string_to_metric_families(await plain.text())}
    assert {"wxproxy_requests", "wxproxy_token_valid"} <= names


async def test_a_scrape_lets_other_requests_in_between(aiohttp_client: Any) -> None:
    """A probe that arrives while a thousand accounts are rendered is answered before the end."""
    statuses = [Status(name=f"a{n}") for n in range(1000)]
    begun = asyncio.Event()

    def keepers() -> list[Status]:
        begun.set()
        return statuses

    app = build_ops_app(
        state=OpsState(started=True),
        metrics=make_metrics([status.name for status in statuses], keepers),
        statuses=lambda: statuses,
        about={},
    )
    client: Client = await aiohttp_client(app)
    await client.get("/livez")  # so that its connection stands ready
    scrape = asyncio.create_task(client.get("/metrics"))
    await begun.wait()
    probe = await client.get("/livez")

    assert (probe.status, scrape.done()) == (200, False)
    assert (await scrape).status == 200


# -- status --------------------------------------------------------------------------------------


async def test_status_tells_everything_about_an_account(start: Start) -> None:
    """Programs get each field by its name, and the process's own."""
    refusal = Result(
        ok=False,
        reason="errcode",
        errcode=40164,
        rid="6aac005a-01bfdbee-79769285",
        refused_ip="203.0.113.7",
        cure="Add this address to the IP whitelist",
    )
    client = await start(Status(last=refusal, consecutive_failures=2), version="0.1.0")

    answer = await client.get("/status")

    assert answer.content_type == "application/json"
    status = await answer.json()
    uptime_s = status.pop("uptime_s")
    assert 0 <= uptime_s < 60
    assert status == {
        "version": "0.1.0",
        "state": "running",
        "startup_settled": True,
        "accounts": [
            {
                "name": "shop",
                "appid": "wx0123456789abcdef",
                "kind": "official",
                "token_api": "stable",
                "state": "fresh",
                "token_id": "0a1b2c3d",
                "age_s": 60.0,
                "seconds_left": 7140.0,
                "next_refresh_in_s": 6960.0,
                "expires_at": 1_700_007_200.0,
                "consecutive_failures": 2,
                "last_attempt_at": 1_700_000_000.0,
                "last_success_at": 1_700_000_000.0,
                "last_result": {
                    "ok": False,
                    "reason": "errcode",
                    "errcode": 40164,
                    "rid": "6aac005a-01bfdbee-79769285",
                    "refused_ip": "203.0.113.7",
                    "cure": "Add this address to the IP whitelist",
                    "at": 1_700_000_000.0,
                },
                "counts": {"fetches": 1},
                "attention": "Add this address to the IP whitelist",
            }
        ],
    }


async def test_status_of_an_account_without_a_token_has_nulls(start: Start) -> None:
    """What is not known is null, not 0."""
    client = await start(empty("shop"))

    account = (await (await client.get("/status")).json())["accounts"][0]

    assert {"last_result", "age_s", "seconds_left", "expires_at", "next_refresh_in_s"} <= {
        key for key, value in account.items() if value is None
    }


async def test_the_page_shows_what_status_tells(start: Start) -> None:
    """A person gets the page, under a policy that lets nothing in."""
    client = await start(Status(), version="0.1.0")

    answer = await client.get("/")

    assert answer.content_type == "text/html"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    text = await answer.text()
    assert "0a1b2c3d" in text
    assert "0.1.0" in text


# -- every route ---------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
async def test_routes_only_read(start: Start, route: str) -> None:
    """GET and HEAD are answered, anything that might change something is not."""
    client = await start(Status())

    got, head = await client.get(route), await client.head(route)
    statuses = {
        (await client.request(method, route)).status for method in ("POST", "PUT", "DELETE")
    }

    assert (got.status, head.status) == (200, 200)
    assert await head.read() == b""
    assert statuses == {405}


@pytest.mark.parametrize("route", [*ROUTES, "/nowhere", "/_wxproxy/token", "/livez/"])
async def test_replies_name_no_software_and_are_not_kept(start: Start, route: str) -> None:
    """No reply has a Server header, none is cached, and refusals are short plain text."""
    client = await start(Status())

    answer = await client.get(route)

    assert "Server" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    if route not in ROUTES:
        assert (answer.status, answer.content_type) == (404, "text/plain")
        assert len(await answer.text()) < 40


async def test_nothing_but_the_named_fields_gets_out(start: Start) -> None:
    """A status that carried more, a token among it, would show no more."""

    class Careless(Status):
        token = "the-real-token"

    client = await start(Careless())

    for route in ROUTES:
        assert "the-real-token" not in await (await client.get(route)).text()


async def test_status_is_written_as_utf8(start: Start) -> None:
    """Chinese cures stay readable in the JSON text."""
    client = await start(Status(last=Result(ok=False, cure="加入白名单")))

    text = await (await client.get("/status")).text()

    assert "加入白名单" in text
    assert json.loads(text)["accounts"][0]["last_result"]["cure"] == "加入白名单"
