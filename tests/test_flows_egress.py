"""Getting out through a CONNECT proxy with credentials: its use, its failures, what is shown."""

import asyncio
import hashlib
import io
import logging
from collections.abc import Iterator

import aiohttp
import pytest

from tests.commands import run
from tests.conftest import SidecarFactory
from tests.connect_proxy import BASIC, ENCODED, PASSWORD, USER, ConnectProxy, refusal
from tests.harness import APPID, SECRET, Sidecar, eventually
from tests.tls import Authority
from wxproxy.app import token_session, trust
from wxproxy.config import build_accounts, load
from wxproxy.errors import FetchFailed
from wxproxy.redact import Secret
from wxproxy.sandbox import Sandbox
from wxproxy.wechat import TokenClient

USERS = "/cgi-bin/user/get"
LOGIN = "/sns/jscode2session?js_code=c"  # needs no token, so that it tells of the pool alone
STABLE = "/cgi-bin/stable_token"
REFUSED_IP = "203.0.113.8"
CREDENTIALS = (PASSWORD, ENCODED, ENCODED.partition(":")[2], BASIC)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that any logger writes, at debug level, unmasked."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


async def ask(
    client: aiohttp.ClientSession, sidecar: Sidecar, path: str = USERS
) -> tuple[int, str, str]:
    """Status, error code and text of an ordinary call."""
    async with client.get(f"{sidecar.url}{path}") as reply:
        return reply.status, reply.headers.get("X-Wxproxy-Error", ""), await reply.text()


async def shown_by(client: aiohttp.ClientSession, sidecar: Sidecar) -> str:
    """All that the ops listener shows."""
    texts = []
    for route in ("/status", "/", "/metrics", "/startupz"):
        async with client.get(f"{sidecar.ops}{route}") as reply:
            texts.append(await reply.text())
    return "\n".join(texts)


async def egress_of(client: aiohttp.ClientSession, sidecar: Sidecar) -> dict[str, object]:
    async with client.get(f"{sidecar.ops}/status") as reply:
        egress: dict[str, object] = (await reply.json())["egress"]
        return egress


# -- through a proxy ---------------------------------------------------------------------------


async def test_calls_and_token_calls_go_through_the_proxy(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox, way: ConnectProxy
) -> None:
    """Everything leaves by tunnels, and a second call uses the first one's."""
    sidecar = await trusting(tls_sandbox.url, egress_proxy=way.url)
    first = await ask(client, sidecar)
    tunnels = len(way.asked)
    second = await ask(client, sidecar)

    assert [first[0], second[0]] == [200, 200]
    assert '"total":3' in first[2]
    assert set(way.asked) == {tls_sandbox.url.removeprefix("https://")}
    assert (tunnels, len(way.asked)) == (2, 2)  # one for the token, one for both calls
    assert sidecar.app.pool.idle == 1
    assert await egress_of(client, sidecar) == {
        "proxy": way.shown,
        "token_proxy": way.shown,
        "direct": [],
        "ip": None,
    }


async def test_many_calls_at_once_share_tunnels_within_the_limit(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox, way: ConnectProxy
) -> None:
    """Places are given back under the name they were taken under, tunnel or not."""
    sidecar = await trusting(tls_sandbox.url, egress_proxy=way.url, upstream_connections=2)
    for _ in range(3):
        replies = await asyncio.gather(*(ask(client, sidecar) for _ in range(8)))
        assert [status for status, _, _ in replies] == [200] * 8

    assert sidecar.app.pool.in_use == 0
    assert len(way.asked) <= 3
    assert len(tls_sandbox.seen(USERS)) == 24


async def test_a_tunnel_carries_large_bodies_both_ways(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox, way: ConnectProxy
) -> None:
    """An upload and a download stream through TLS in the tunnel, byte for byte."""
    sidecar = await trusting(tls_sandbox.url, egress_proxy=way.url)
    sent = bytes(range(256)) * 16_384
    given = "0123456789abcdef" * 262_144
    tls_sandbox.fault("/cgi-bin/media/upload", body=given)
    url = f"{sidecar.url}/cgi-bin/media/upload"
    async with client.post(url, data=io.BytesIO(sent)) as reply:
        got = await reply.text()

    assert got == given
    (upload,) = tls_sandbox.seen("/cgi-bin/media/upload")
    assert upload.body_length == len(sent)
    assert upload.body_sha256 == hashlib.sha256(sent).hexdigest()


async def test_the_token_proxy_alone_takes_token_calls_only(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox, way: ConnectProxy
) -> None:
    """The whitelist concerns token calls: one fixed address for them is enough."""
    sidecar = await trusting(tls_sandbox.url, token_egress_proxy=way.url)
    replies = [await ask(client, sidecar) for _ in range(3)]

    assert [status for status, _, _ in replies] == [200, 200, 200]
    assert len(way.asked) == 1
    assert tls_sandbox.token_calls(APPID).fetches == 1
    assert await egress_of(client, sidecar) == {
        "proxy": None,
        "token_proxy": way.shown,
        "direct": [tls_sandbox.url],
        "ip": None,
    }


async def test_each_proxy_takes_its_own_calls(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox, way: ConnectProxy
) -> None:
    """With both set, token calls leave by one and all others by the other."""
    other = ConnectProxy()
    await other.start()
    sidecar = await trusting(tls_sandbox.url, egress_proxy=other.url, token_egress_proxy=way.url)
    status, _, _ = await ask(client, sidecar)
    await other.stop()

    assert status == 200
    assert (len(way.asked), len(other.asked)) == (1, 1)


async def test_an_upstream_without_tls_is_reached_directly(
    start: SidecarFactory, client: aiohttp.ClientSession, sandbox: Sandbox, way: ConnectProxy
) -> None:
    """A simulator, or another sidecar, is on the near side; the status says so."""
    sidecar = await start(sandbox.url, egress_proxy=way.url)
    status, _, _ = await ask(client, sidecar)

    assert (status, way.asked) == (200, [])
    assert (await egress_of(client, sidecar))["direct"] == [sandbox.url]


async def test_an_idle_tunnel_that_died_costs_no_call(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox
) -> None:
    """A proxy that was restarted closes every tunnel; the next call opens another one."""
    way = ConnectProxy()
    await way.start()
    sidecar = await trusting(tls_sandbox.url, egress_proxy=way.url)
    await ask(client, sidecar)
    port = way.port
    await way.stop()
    await way.start(port)
    status, _, _ = await ask(client, sidecar)
    await way.stop()

    assert status == 200


# -- when the proxy fails ----------------------------------------------------------------------

FAILURES = {
    "other credentials": (refusal(407), "user and password", "check those in egress_proxy"),
    "not allowed": (refusal(403), "opened no tunnel to https://127.0.0.1", "(HTTP 403)"),
    "cannot reach WeChat": (refusal(502), "opened no tunnel to https://127.0.0.1", "(HTTP 502)"),
    "hangs up": (b"", "broke off before https://127.0.0.1", "check that it allows CONNECT"),
    "no HTTP": (b"what?\r\n\r\n", "broke off before https://127.0.0.1", "its logs"),
}


@pytest.mark.parametrize(("reply", "cause", "cure"), FAILURES.values(), ids=FAILURES)
async def test_a_proxy_that_refuses_is_a_502_with_cause_and_cure(
    trusting: SidecarFactory,
    client: aiohttp.ClientSession,
    tls_sandbox: Sandbox,
    way: ConnectProxy,
    logged: io.StringIO,
    reply: bytes,
    cause: str,
    cure: str,
) -> None:
    """Of calls and of token calls; the credentials show nowhere, and nothing stays open."""
    way.fails = reply
    sidecar = await trusting(tls_sandbox.url, egress_proxy=way.url, token_wait_seconds=0.05)
    status, code, text = await ask(client, sidecar, LOGIN)
    await eventually(lambda: sidecar.app.statuses()[0].last is not None)
    last = sidecar.app.statuses()[0].last
    no_token = await ask(client, sidecar)
    seen = await shown_by(client, sidecar)

    assert (status, code) == (502, "upstream_unreachable")
    assert cause in text
    assert cure in text
    assert last is not None
    assert (last.reason, cause in last.cure, cure in last.cure) == ("network", True, True)
    assert no_token[:2] == (503, "no_token")
    assert cause in no_token[2]
    assert sidecar.app.pool.in_use == 0
    await eventually(lambda: way.open == 0)
    assert tls_sandbox.seen("/") == []
    everything = "\n".join(
        [text, no_token[2], seen, logged.getvalue(), repr(sidecar.app.settings), repr(last)]
    )
    assert [one for one in CREDENTIALS if one in everything] == []


@pytest.mark.parametrize(
    ("host", "cause"),
    [("127.0.0.1", "cannot connect to the proxy"), ("proxy.invalid", "the name of the proxy")],
    ids=["refused", "DNS"],
)
async def test_a_proxy_that_is_not_there_is_named(
    trusting: SidecarFactory,
    client: aiohttp.ClientSession,
    tls_sandbox: Sandbox,
    unused_tcp_port: int,
    logged: io.StringIO,
    host: str,
    cause: str,
) -> None:
    """The operator reads that it is the proxy, and which, not WeChat."""
    url = f"http://{ENCODED}@{host}:{unused_tcp_port}"
    sidecar = await trusting(tls_sandbox.url, egress_proxy=url, token_wait_seconds=0.05)
    status, code, text = await ask(client, sidecar, LOGIN)
    seen = await shown_by(client, sidecar)

    assert (status, code) == (502, "upstream_unreachable")
    assert f"{cause} http://{host}:{unused_tcp_port}" in text
    assert "check egress_proxy" in text
    everything = text + seen + logged.getvalue() + repr(sidecar.app.settings)
    assert [one for one in CREDENTIALS if one in everything] == []


async def test_a_proxy_that_does_not_answer_is_a_timeout(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox, way: ConnectProxy
) -> None:
    """The connect limit covers the proxy, its answer and TLS behind it; nothing stays open."""
    way.holds = True
    sidecar = await trusting(
        tls_sandbox.url,
        egress_proxy=way.url,
        connect_seconds=0.2,
        token_call_seconds=0.3,
        token_wait_seconds=0.05,
    )
    status, code, text = await ask(client, sidecar, LOGIN)
    await eventually(lambda: sidecar.app.statuses()[0].last is not None)
    last = sidecar.app.statuses()[0].last

    assert (status, code) == (504, "upstream_timeout")
    assert f"through the proxy {way.shown} within 0.2 s" in text
    assert last is not None
    assert f"through the proxy {way.shown} in time" in last.cure
    assert sidecar.app.pool.in_use == 0
    await eventually(lambda: way.open == 0)


async def test_calls_go_on_once_the_proxy_is_back(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox, way: ConnectProxy
) -> None:
    """Each call tries anew; nothing has to be restarted."""
    sidecar = await trusting(tls_sandbox.url, egress_proxy=way.url)
    await eventually(lambda: sidecar.app.statuses()[0].state == "fresh")
    way.fails = refusal(503)
    failed = await ask(client, sidecar)
    way.fails = None
    status, _, _ = await ask(client, sidecar)

    assert failed[:2] == (502, "upstream_unreachable")
    assert status == 200


@pytest.mark.parametrize("breaks", ["proxy", "wechat"])
async def test_a_token_call_knows_whether_wechat_may_have_seen_it(
    tls_sandbox: Sandbox, authority: Authority, way: ConnectProxy, breaks: str
) -> None:
    """A classic fetch kills the older token only if it got through the proxy."""
    if breaks == "proxy":
        way.fails = b""
    tls_sandbox.fault("/cgi-bin/token", drop="before_head", times=None)
    environ = {
        "WXPROXY_APPID": APPID,
        "WXPROXY_SECRET": SECRET,
        "WXPROXY_UPSTREAM": tls_sandbox.url,
        "WXPROXY_TOKEN_API": "classic",
        "WXPROXY_TOKEN_EGRESS_PROXY": way.url,
    }
    settings = load({}, environ)
    async with token_session(settings, trust(authority.ca_file)) as session:
        client = TokenClient(session, semaphore=None, timeout_s=5, proxy=settings.token_proxy)
        with pytest.raises(FetchFailed) as caught:
            await client.fetch(build_accounts(settings)[0], Secret(SECRET))

    assert caught.value.reason == "network"
    assert caught.value.sent is (breaks == "wechat")


async def test_the_address_that_wechat_refused_stays_in_view(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox, way: ConnectProxy
) -> None:
    """Which address a whitelist must hold is known once WeChat has named it."""
    tls_sandbox.fault(STABLE, errcode=40164)
    sidecar = await trusting(tls_sandbox.url, egress_proxy=way.url)
    await eventually(lambda: sidecar.app.statuses()[0].last is not None)

    assert (await egress_of(client, sidecar))["ip"] == REFUSED_IP


# -- the command -------------------------------------------------------------------------------


async def check(tls_sandbox: Sandbox, authority: Authority, **env: str) -> tuple[int, str]:
    """Status and everything printed by ``wxproxy check``."""
    ended = await run(
        "check",
        env={
            "WXPROXY_APPID": APPID,
            "WXPROXY_SECRET": SECRET,
            "WXPROXY_UPSTREAM": tls_sandbox.url,
            "WXPROXY_UPSTREAM_CA_FILE": str(authority.ca_file),
            "WXPROXY_LOG_LEVEL": "debug",
            # Lower case goes first, so that the environment of the tests plays no part.
            "https_proxy": "",
            "no_proxy": "",
            **env,
        },
    )
    return ended.status, ended.out + ended.err


async def test_check_shows_which_way_it_went(
    tls_sandbox: Sandbox, authority: Authority, way: ConnectProxy
) -> None:
    """HTTPS_PROXY is used where no setting goes over it, and shown without credentials."""
    status, said = await check(tls_sandbox, authority, https_proxy=way.url)

    assert status == 0, said
    assert f"{tls_sandbox.url}  {way.shown}  ok, " in said
    assert len(way.asked) == 1
    assert [one for one in CREDENTIALS if one in said] == []


async def test_check_leaves_the_proxy_out_where_no_proxy_says_so(
    tls_sandbox: Sandbox, authority: Authority, way: ConnectProxy
) -> None:
    """NO_PROXY names hosts that HTTPS_PROXY does not stand before."""
    status, said = await check(
        tls_sandbox, authority, https_proxy=way.url, no_proxy="10.0.0.1,127.0.0.1"
    )

    assert (status, way.asked) == (0, [])
    assert f"{tls_sandbox.url}  direct  ok, " in said


async def test_check_tells_the_ways_apart(
    tls_sandbox: Sandbox, authority: Authority, way: ConnectProxy
) -> None:
    """Where token calls have a proxy of their own, both ways stand in the row."""
    status, said = await check(tls_sandbox, authority, WXPROXY_TOKEN_EGRESS_PROXY=way.url)

    assert status == 0
    assert f"{way.shown} (other calls: direct)  ok, " in said


async def test_check_names_the_setting_of_a_proxy_that_refuses(
    tls_sandbox: Sandbox, authority: Authority, way: ConnectProxy
) -> None:
    """The cure is in the variable that the operator set."""
    wrong = way.url.replace(USER, "another")
    status, said = await check(tls_sandbox, authority, https_proxy=wrong)

    assert status == 1
    assert f"the proxy {way.shown} does not accept the user and password" in said
    assert "check those in https_proxy" in said
    assert [one for one in CREDENTIALS if one in said] == []
