"""Getting out: through a CONNECT proxy with credentials, by TLS that we trust, by one family."""

import asyncio
import contextlib
import hashlib
import io
import logging
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.commands import run
from tests.conftest import SidecarFactory
from tests.connect_proxy import BASIC, ENCODED, PASSWORD, USER, ConnectProxy, refusal
from tests.harness import APPID, SECRET, Sidecar, eventually
from tests.tls import Authority
from wxproxy.sandbox import Sandbox

USERS = "/cgi-bin/user/get"
STABLE = "/cgi-bin/stable_token"
REFUSED_IP = "203.0.113.8"
CREDENTIALS = (PASSWORD, ENCODED, ENCODED.partition(":")[2], BASIC)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that only upstream_ca_file makes trusted."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def wechat(authority: Authority) -> AsyncIterator[Sandbox]:
    """A simulated WeChat that speaks TLS."""
    box = Sandbox()
    await box.start(ssl_context=authority.server_context)
    yield box
    await box.stop()


@pytest.fixture
async def way() -> AsyncIterator[ConnectProxy]:
    """A proxy that wants credentials."""
    proxy = ConnectProxy()
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
def trusting(start: SidecarFactory, authority: Authority) -> SidecarFactory:
    """Starts sidecars that trust the authority."""

    async def factory(upstream: str, **settings: object) -> Sidecar:
        return await start(upstream, upstream_ca_file=authority.ca_file, **settings)

    return factory


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
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox, way: ConnectProxy
) -> None:
    """Everything leaves by tunnels, and a second call uses the first one's."""
    sidecar = await trusting(wechat.url, egress_proxy=way.url)
    first = await ask(client, sidecar)
    tunnels = len(way.asked)
    second = await ask(client, sidecar)

    assert [first[0], second[0]] == [200, 200]
    assert '"total":3' in first[2]
    assert set(way.asked) == {wechat.url.removeprefix("https://")}
    assert (tunnels, len(way.asked)) == (2, 2)  # one for the token, one for both calls
    assert sidecar.app.pool.idle == 1
    assert await egress_of(client, sidecar) == {
        "proxy": way.shown,
        "token_proxy": way.shown,
        "direct": [],
        "ip": None,
    }


async def test_many_calls_at_once_share_tunnels_within_the_limit(
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox, way: ConnectProxy
) -> None:
    """Places are given back under the name they were taken under, tunnel or not."""
    sidecar = await trusting(wechat.url, egress_proxy=way.url, upstream_connections=2)
    for _ in range(3):
        replies = await asyncio.gather(*(ask(client, sidecar) for _ in range(8)))
        assert [status for status, _, _ in replies] == [200] * 8

    assert sidecar.app.pool.in_use == 0
    assert len(way.asked) <= 3
    assert len(wechat.seen(USERS)) == 24


async def test_a_tunnel_carries_large_bodies_both_ways(
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox, way: ConnectProxy
) -> None:
    """An upload and a download stream through TLS in the tunnel, byte for byte."""
    sidecar = await trusting(wechat.url, egress_proxy=way.url)
    sent = bytes(range(256)) * 16_384
    given = "0123456789abcdef" * 262_144
    wechat.fault("/cgi-bin/media/upload", body=given)
    url = f"{sidecar.url}/cgi-bin/media/upload"
    async with client.post(url, data=io.BytesIO(sent)) as reply:
        got = await reply.text()

    assert got == given
    (upload,) = wechat.seen("/cgi-bin/media/upload")
    assert upload.body_length == len(sent)
    assert upload.body_sha256 == hashlib.sha256(sent).hexdigest()


async def test_the_token_proxy_alone_takes_token_calls_only(
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox, way: ConnectProxy
) -> None:
    """The whitelist concerns token calls: one fixed address for them is enough."""
    sidecar = await trusting(wechat.url, token_egress_proxy=way.url)
    replies = [await ask(client, sidecar) for _ in range(3)]

    assert [status for status, _, _ in replies] == [200, 200, 200]
    assert len(way.asked) == 1
    assert wechat.token_calls(APPID).fetches == 1
    assert await egress_of(client, sidecar) == {
        "proxy": None,
        "token_proxy": way.shown,
        "direct": [wechat.url],
        "ip": None,
    }


async def test_each_proxy_takes_its_own_calls(
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox, way: ConnectProxy
) -> None:
    """With both set, token calls leave by one and all others by the other."""
    other = ConnectProxy()
    await other.start()
    sidecar = await trusting(wechat.url, egress_proxy=other.url, token_egress_proxy=way.url)
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
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox
) -> None:
    """A proxy that was restarted closes every tunnel; the next call opens another one."""
    way = ConnectProxy()
    await way.start()
    sidecar = await trusting(wechat.url, egress_proxy=way.url)
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
    wechat: Sandbox,
    way: ConnectProxy,
    logged: io.StringIO,
    reply: bytes,
    cause: str,
    cure: str,
) -> None:
    """Of calls and of token calls; the credentials show nowhere, and nothing stays open."""
    way.fails = reply
    sidecar = await trusting(wechat.url, egress_proxy=way.url, token_wait_seconds=0.05)
    status, code, text = await ask(client, sidecar, "/sns/jscode2session?js_code=c")
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
    assert wechat.seen("/") == []
    everything = "\n".join(
        [text, no_token[2], seen, logged.getvalue(), repr(sidecar.app.settings), repr(last)]
    )
    assert [one for one in CREDENTIALS if one in everything] == []


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"egress_proxy": "http://u:a-secret-word@127.0.0.1:{}"}, "cannot connect to the proxy"),
        ({"egress_proxy": "http://u:a-secret-word@proxy.invalid:{}"}, "name of the proxy"),
    ],
    ids=["refused", "DNS"],
)
async def test_a_proxy_that_is_not_there_is_named(
    trusting: SidecarFactory,
    client: aiohttp.ClientSession,
    wechat: Sandbox,
    unused_tcp_port: int,
    logged: io.StringIO,
    settings: dict[str, str],
    cause: str,
) -> None:
    """The operator reads that it is the proxy, and which, not WeChat."""
    url = settings["egress_proxy"].format(unused_tcp_port)
    sidecar = await trusting(wechat.url, egress_proxy=url, token_wait_seconds=0.05)
    status, code, text = await ask(client, sidecar, "/sns/jscode2session?js_code=c")

    assert (status, code) == (502, "upstream_unreachable")
    assert f"{cause} http://{url.partition('@')[2]}" in text
    assert "egress_proxy" in text
    seen = await shown_by(client, sidecar)
    assert "a-secret-word" not in text + seen + logged.getvalue() + repr(sidecar.app.settings)


async def test_a_proxy_that_does_not_answer_is_a_timeout(
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox, way: ConnectProxy
) -> None:
    """The connect limit covers the proxy, its answer and TLS behind it; nothing stays open."""
    way.holds = True
    sidecar = await trusting(
        wechat.url,
        egress_proxy=way.url,
        connect_seconds=0.2,
        token_call_seconds=0.3,
        token_wait_seconds=0.05,
    )
    status, code, text = await ask(client, sidecar, "/sns/jscode2session?js_code=c")
    await eventually(lambda: sidecar.app.statuses()[0].last is not None)
    last = sidecar.app.statuses()[0].last

    assert (status, code) == (504, "upstream_timeout")
    assert f"through the proxy {way.shown} within 0.2 s" in text
    assert last is not None
    assert f"through the proxy {way.shown} in time" in last.cure
    assert sidecar.app.pool.in_use == 0


async def test_wrong_credentials_are_refused_by_the_proxy(
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox, way: ConnectProxy
) -> None:
    """And once they are right again, calls work: the proxy is asked each time."""
    wrong = way.url.replace(USER, "another")
    sidecar = await trusting(wechat.url, egress_proxy=wrong, token_wait_seconds=0.05)
    status, _, text = await ask(client, sidecar, "/sns/jscode2session?js_code=c")

    assert status == 502
    assert "HTTP 407" in text
    assert all(b"Proxy-Authorization: Basic " in head for head in way.heads)


async def test_a_proxy_that_hangs_up_costs_no_classic_token(
    trusting: SidecarFactory, wechat: Sandbox, way: ConnectProxy
) -> None:
    """Without a tunnel nothing was sent, so the older token cannot have been killed."""
    way.fails = b""
    sidecar = await trusting(wechat.url, egress_proxy=way.url, token_api="classic")
    await eventually(lambda: sidecar.app.statuses()[0].last is not None)
    last = sidecar.app.statuses()[0].last

    assert last is not None
    assert last.reason == "network"
    assert wechat.token_calls(APPID).fetches == 0


async def test_the_address_that_wechat_refused_stays_in_view(
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox, way: ConnectProxy
) -> None:
    """Which address a whitelist must hold is known once WeChat has named it."""
    wechat.fault(STABLE, errcode=40164)
    sidecar = await trusting(wechat.url, egress_proxy=way.url)
    await eventually(lambda: sidecar.app.statuses()[0].last is not None)

    assert (await egress_of(client, sidecar))["ip"] == REFUSED_IP


# -- trust and families ------------------------------------------------------------------------


async def test_an_authority_of_ones_own_is_trusted_when_named(
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox
) -> None:
    """Tokens and calls both go over TLS that upstream_ca_file makes good."""
    sidecar = await trusting(wechat.url)

    assert (await ask(client, sidecar))[0] == 200
    assert (await ask(client, sidecar))[0] == 200
    assert sidecar.app.pool.idle == 1


async def test_no_other_authority_is_trusted_by_default(
    start: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox
) -> None:
    """Whoever stands between gets neither secret nor token, and the cure is named."""
    sidecar = await start(wechat.url, token_wait_seconds=0.05)
    status, code, text = await ask(client, sidecar, "/sns/jscode2session?js_code=c")
    _, _, no_token = await ask(client, sidecar)

    assert (status, code) == (502, "upstream_unreachable")
    assert "upstream_ca_file" in text
    assert "upstream_ca_file" in no_token
    assert wechat.seen("/") == []


async def test_a_certificate_for_another_name_is_refused_in_a_tunnel(
    trusting: SidecarFactory, client: aiohttp.ClientSession, wechat: Sandbox, way: ConnectProxy
) -> None:
    """The name checked is WeChat's, not the proxy's, which may lead anywhere."""
    way.leads_to = ("127.0.0.1", int(wechat.url.rpartition(":")[2]))
    good = await trusting("https://wx.test", egress_proxy=way.url)
    bad = await trusting("https://other.test", egress_proxy=way.url, token_wait_seconds=0.05)

    assert (await ask(client, good))[0] == 200
    assert (
        "TLS certificate of https://other.test"
        in (await ask(client, bad, "/sns/jscode2session?js_code=c"))[2]
    )
    assert set(way.asked) == {"wx.test:443", "other.test:443"}


@contextlib.asynccontextmanager
async def listening_on(host: str, authority: Authority) -> AsyncIterator[Sandbox]:
    box = Sandbox()
    try:
        await box.start(host, ssl_context=authority.server_context)
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")
    yield box
    await box.stop()


@pytest.mark.parametrize("family", ["auto", "6"])
async def test_an_upstream_on_ipv6_is_reached(
    trusting: SidecarFactory, client: aiohttp.ClientSession, authority: Authority, family: str
) -> None:
    """Tokens and calls both go to an IPv6 address."""
    async with listening_on("::1", authority) as wechat:
        sidecar = await trusting(wechat.url, ip_family=family)

        assert (await ask(client, sidecar))[0] == 200
        await sidecar.app.close()


# -- the command -------------------------------------------------------------------------------


async def check(wechat: Sandbox, authority: Authority, **env: str) -> tuple[int, str]:
    """Status and everything printed by ``wxproxy check``."""
    ended = await run(
        "check",
        env={
            "WXPROXY_APPID": APPID,
            "WXPROXY_SECRET": SECRET,
            "WXPROXY_UPSTREAM": wechat.url,
            "WXPROXY_UPSTREAM_CA_FILE": str(authority.ca_file),
            "WXPROXY_LOG_LEVEL": "debug",
            **env,
        },
    )
    return ended.status, ended.out + ended.err


async def test_check_shows_which_way_it_went(
    wechat: Sandbox, authority: Authority, way: ConnectProxy
) -> None:
    """HTTPS_PROXY is used where no setting goes over it, and shown without credentials."""
    status, said = await check(wechat, authority, HTTPS_PROXY=way.url)

    assert status == 0, said
    assert f"{wechat.url}  {way.shown}  ok, " in said
    assert len(way.asked) == 1
    assert [one for one in CREDENTIALS if one in said] == []


async def test_check_leaves_the_proxy_out_where_no_proxy_says_so(
    wechat: Sandbox, authority: Authority, way: ConnectProxy
) -> None:
    """NO_PROXY names hosts that HTTPS_PROXY does not stand before."""
    status, said = await check(
        wechat, authority, HTTPS_PROXY=way.url, NO_PROXY="10.0.0.1,127.0.0.1"
    )

    assert (status, way.asked) == (0, [])
    assert f"{wechat.url}  direct  ok, " in said


async def test_check_tells_the_ways_apart(
    wechat: Sandbox, authority: Authority, way: ConnectProxy
) -> None:
    """Where token calls have a proxy of their own, both ways stand in the row."""
    status, said = await check(wechat, authority, WXPROXY_TOKEN_EGRESS_PROXY=way.url)

    assert status == 0
    assert f"{way.shown} (other calls: direct)  ok, " in said


async def test_check_names_the_setting_of_a_proxy_that_refuses(
    wechat: Sandbox, authority: Authority, way: ConnectProxy
) -> None:
    """The cure is in the variable that the operator set."""
    wrong = way.url.replace(USER, "another")
    status, said = await check(wechat, authority, HTTPS_PROXY=wrong)

    assert status == 1
    assert f"the proxy {way.shown} does not accept the user and password" in said
    assert "check those in HTTPS_PROXY" in said
    assert [one for one in CREDENTIALS if one in said] == []
