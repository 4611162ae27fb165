"""How WeChat's token endpoints are called, and how their answers are read."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aioresponses import aioresponses

from tests.fakes import make_account
from wxproxy.accounts import Account, TokenApi
from wxproxy.errors import FetchFailed
from wxproxy.redact import Secret
from wxproxy.schedule import Fetched
from wxproxy.wechat import TokenClient

STABLE, CLASSIC, WECOM = TokenApi.STABLE, TokenApi.CLASSIC, TokenApi.GETTOKEN
SECRET = "0123456789abcdef&+ /é"
TOKEN = "84_" + "aZ0_-" * 27
ANY_URL = re.compile(r"http://upstream\.test/.*")
GOOD = json.dumps({"access_token": TOKEN, "expires_in": 7200}).encode()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Upstream:
    """A server that answers all with one body, and what it was asked.

    Attributes:
        asked: method, raw target, headers and body of each request.
    """

    body: bytes = GOOD
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    handler: Handler | None = None
    asked: list[tuple[str, str, Any, bytes]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        self.asked.append((request.method, request.raw_path, request.headers, content))
        if self.handler is not None:
            return await self.handler(request)
        return web.Response(body=self.body, status=self.status, headers=self.headers)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    one = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.handle)
    async with TestServer(app, shutdown_timeout=0.05) as server:
        one.url = str(server.make_url("/")).rstrip("/")
        yield one


@asynccontextmanager
async def make_client(
    *, at_once: int | None = None, timeout_s: float = 5.0
) -> AsyncIterator[TokenClient]:
    async with aiohttp.ClientSession() as session:
        semaphore = None if at_once is None else asyncio.Semaphore(at_once)
        yield TokenClient(session, semaphore=semaphore, timeout_s=timeout_s)


async def fetch(
    account: Account, *, force: bool = False, timeout_s: float = 5.0, secret: str = SECRET
) -> Fetched:
    async with make_client(timeout_s=timeout_s) as client:
        return await client.fetch(account, Secret(secret), force=force)


async def failure(account: Account, *, timeout_s: float = 5.0) -> FetchFailed:
    with pytest.raises(FetchFailed) as caught:
        await fetch(account, timeout_s=timeout_s)
    return caught.value


def free_port_url() -> str:
    """A base URL where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


# -- the calls ---------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
async def test_the_stable_call(upstream: Upstream, force: bool) -> None:
    """A JSON body with a length: WeChat answers 412 to chunked requests."""
    fetched = await fetch(make_account(STABLE, upstreams=(upstream.url,)), force=force)

    method, target, headers, content = upstream.asked[0]
    assert fetched == Fetched(TOKEN, 7200)
    assert (method, target) == ("POST", "/cgi-bin/stable_token")
    assert headers["Content-Length"] == str(len(content))
    assert "Transfer-Encoding" not in headers
    assert json.loads(content) == {
        "grant_type": "client_credential",
        "appid": "wx0123456789abcdef",
        "secret": SECRET,
        "force_refresh": force,
    }
    assert b"\\u" not in content


@pytest.mark.parametrize(
    ("api", "target"),
    [
        (
            CLASSIC,
            "/cgi-bin/token?grant_type=client_credential&appid=wx0123456789abcdef"
            "&secret=0123456789abcdef%26%2B%20%2F%C3%A9",
        ),
        (
            WECOM,
            "/cgi-bin/gettoken?corpid=wx0123456789abcdef"
            "&corpsecret=0123456789abcdef%26%2B%20%2F%C3%A9",
        ),
    ],
)
async def test_the_calls_by_query(upstream: Upstream, api: TokenApi, target: str) -> None:
    """A secret with any characters arrives as it is."""
    await fetch(make_account(api, upstreams=(upstream.url,)))

    assert [("GET", target)] == [asked[:2] for asked in upstream.asked]


async def test_the_proof_call(upstream: Upstream) -> None:
    """A harmless call with the token under test."""
    async with make_client() as client:
        await client.prove(make_account(upstreams=(upstream.url,)), TOKEN)

    method, target, headers, content = upstream.asked[0]
    assert (method, target) == ("POST", f"/cgi-bin/openapi/quota/get?access_token={TOKEN}")
    assert headers["Content-Length"] == str(len(content))
    assert json.loads(content) == {"cgi_path": "/cgi-bin/openapi/quota/get"}


async def test_redirects_are_not_followed(upstream: Upstream) -> None:
    """A secret goes to the configured host only."""
    upstream.status, upstream.headers = 302, {"Location": f"{upstream.url}/elsewhere"}

    error = await failure(make_account(CLASSIC, upstreams=(upstream.url,)))

    assert error.reason == "http_status"
    assert len(upstream.asked) == 1


# -- the answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(GOOD, id="plain"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="bom"),
        pytest.param(b"\x00\r\n " + GOOD + b"\x00\n trailing", id="bytes-around"),
        pytest.param(b'{"errcode":0,"errmsg":"ok",' + GOOD[1:], id="errcode-0-as-wecom"),
        pytest.param(b'{"note":"\x01\t\xff",' + GOOD[1:], id="control-characters-and-bad-utf8"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json; encoding=utf-8", "text/plain"])
async def test_a_token_is_read_leniently(
    upstream: Upstream, body: bytes, content_type: str
) -> None:
    """Content types and stray bytes of WeChat's do not matter."""
    upstream.body, upstream.headers = body, {"Content-Type": content_type}

    assert await fetch(make_account(upstreams=(upstream.url,))) == Fetched(TOKEN, 7200)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>captive portal</html>", id="html"),
        pytest.param(b"[1]", id="array"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"[" * 60_000, id="deep"),
        pytest.param(b'{"expires_in":' + b"9" * 6000 + b"}", id="endless-number"),
        pytest.param(b"{}", id="no-token"),
        pytest.param(b'{"errcode":0}', id="errcode-0-without-a-token"),
        pytest.param(b'{"access_token":"","expires_in":7200}', id="empty-token"),
        pytest.param(b'{"access_token":"a b","expires_in":7200}', id="unsafe-token"),
        pytest.param(b'{"access_token":"abc","expires_in":"7200"}', id="life-a-string"),
        pytest.param(b'{"access_token":"abc","expires_in":0}', id="no-life"),
        pytest.param(GOOD + b" " * 70_000, id="too-long"),
    ],
)
async def test_an_answer_without_a_valid_token_is_a_bad_body(
    upstream: Upstream, body: bytes
) -> None:
    """Whatever stands between may answer what it likes: it is no token, and passes by itself."""
    upstream.body = body

    error = await failure(make_account(upstreams=(upstream.url,)))

    assert (error.reason, error.errcode, error.sent) == ("bad_body", 0, True)


async def test_a_long_body_is_not_read_to_its_end(upstream: Upstream) -> None:
    """Memory does not grow with what an upstream sends."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65_536)
        except ConnectionError:
            return response

    upstream.handler = endless

    error = await failure(make_account(upstreams=(upstream.url,)))

    assert error.reason == "bad_body"


@pytest.mark.parametrize(
    ("body", "errcode", "rid", "refused_ip"),
    [
        pytest.param(
            b'{"errcode":40164,"errmsg":"invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in'
            b' whitelist rid: 5fa26c60-1a0ebdd5-32fd1cd0"}',
            40164,
            "5fa26c60-1a0ebdd5-32fd1cd0",
            "203.0.113.7",
            id="whitelist",
        ),
        pytest.param(b'{"errcode":-1,"errmsg":"system error"}', -1, "", "", id="busy"),
        pytest.param(b'{"errmsg":"x","errcode":"40013"}', 40013, "", "", id="last-and-a-string"),
        pytest.param(b'{"errcode":40125,"errmsg":"a\x01b"}', 40125, "", "", id="control-character"),
        pytest.param(b'{"errcode":40013,"errmsg":null}', 40013, "", "", id="errmsg-no-string"),
        pytest.param(
            b'{"errcode":40001,' + GOOD[1:], 40001, "", "", id="errcode-goes-before-a-token"
        ),
    ],
)
async def test_a_refusal_carries_what_wechat_said(
    upstream: Upstream, body: bytes, errcode: int, rid: str, refused_ip: str
) -> None:
    """Code, rid and address are kept; the text is our own cure."""
    upstream.body = body

    error = await failure(make_account(upstreams=(upstream.url,)))

    assert error.reason == "errcode"
    assert (error.errcode, error.rid, error.refused_ip) == (errcode, rid, refused_ip)
    assert refused_ip in error.message


@pytest.mark.parametrize("status", [201, 204, 400, 412, 500, 502, 503])
async def test_any_status_but_200_is_no_answer_of_wechats(upstream: Upstream, status: int) -> None:
    """WeChat's own refusals come with 200."""
    upstream.status = status

    error = await failure(make_account(upstreams=(upstream.url,)))

    assert (error.reason, error.errcode, error.sent) == ("http_status", 0, True)
    assert str(status) in error.message


@pytest.mark.parametrize(
    ("api", "body", "verdict"),
    [
        pytest.param(STABLE, b'{"errcode":0,"quota":{}}', True, id="good"),
        pytest.param(STABLE, b'{"quota":{"errcode":40001}}', True, id="errcode-of-something-else"),
        pytest.param(STABLE, b'{"errcode":76021,"errmsg":"cgi_path not found"}', True, id="76021"),
        pytest.param(STABLE, b'{"errcode":48001,"errmsg":"api unauthorized"}', True, id="48001"),
        pytest.param(STABLE, b'{"errcode":45009,"errmsg":"quota"}', True, id="quota"),
        pytest.param(STABLE, b'{"errcode":40001,"errmsg":"x"}', False, id="40001"),
        pytest.param(STABLE, b'{"errcode":40014,"errmsg":"x"}', False, id="40014"),
        pytest.param(CLASSIC, b'{"errcode":"42001","errmsg":"x"}', False, id="42001-a-string"),
        pytest.param(STABLE, b'{"errcode":-1,"errmsg":"system error"}', None, id="busy"),
        pytest.param(STABLE, b"", None, id="empty"),
        pytest.param(STABLE, b"<html>", None, id="html"),
    ],
)
async def test_a_proof_gives_a_verdict(
    upstream: Upstream, api: TokenApi, body: bytes, verdict: bool | None
) -> None:
    """A token error says bad, any other answer of WeChat's good, and the rest nothing."""
    upstream.body = body
    async with make_client() as client:
        assert await client.prove(make_account(api, upstreams=(upstream.url,)), TOKEN) is verdict


async def test_a_proof_without_an_answer_gives_no_verdict() -> None:
    """A network failure must not cost a token its life."""
    async with make_client() as client:
        assert await client.prove(make_account(upstreams=(free_port_url(),)), TOKEN) is None


# -- the network -------------------------------------------------------------------------------


async def test_the_next_upstream_is_tried_when_one_cannot_be_connected_to(
    upstream: Upstream,
) -> None:
    """api2.weixin.qq.com serves when the nearest access point is down."""
    account = make_account(upstreams=(free_port_url(), upstream.url))
    sent: list[int] = []
    async with make_client() as client:
        fetched = await client.fetch(
            account, Secret(SECRET), sending=lambda: sent.append(len(upstream.asked))
        )

    assert fetched.value == TOKEN
    assert sent == [0, 0]


async def test_the_next_upstream_is_not_tried_after_an_answer(upstream: Upstream) -> None:
    """A classic fetch that was sent may have worked."""
    upstream.status = 502

    await failure(make_account(CLASSIC, upstreams=(upstream.url, upstream.url)))

    assert len(upstream.asked) == 1


async def test_no_upstream_can_be_connected_to() -> None:
    """The failure says that nothing was sent, and where to look."""
    dead = free_port_url()

    error = await failure(make_account(upstreams=(dead, free_port_url())))

    assert (error.reason, error.sent) == ("network", False)


async def test_a_name_that_is_not_resolved() -> None:
    """DNS trouble is named as such."""
    error = await failure(make_account(upstreams=("http://no-such-host.invalid",)))

    assert (error.reason, error.sent) == ("network", False)
    assert "DNS" in error.message


async def test_a_certificate_that_is_not_trusted(upstream: Upstream) -> None:
    """A TLS handshake that fails sends nothing, and says where to look."""
    error = await failure(make_account(upstreams=(upstream.url.replace("http:", "https:"),)))

    assert (error.reason, error.sent) == ("network", False)
    assert "upstream_ca_file" in error.message


async def test_a_call_takes_no_longer_than_its_timeout(upstream: Upstream) -> None:
    """A WeChat that hangs after the request came in leaves a call that may have worked."""

    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    upstream.handler = hang

    error = await failure(make_account(CLASSIC, upstreams=(upstream.url,)), timeout_s=0.2)

    assert (error.reason, error.sent) == ("timeout", True)


async def test_a_connection_that_breaks(upstream: Upstream) -> None:
    """Dropped in the middle of an answer: sent, and not answered."""

    async def drop(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        request.transport.close()
        return web.Response()

    upstream.handler = drop

    error = await failure(make_account(upstreams=(upstream.url,)))

    assert (error.reason, error.sent) == ("network", True)


async def test_no_more_calls_at_once_than_the_semaphore_allows(upstream: Upstream) -> None:
    """A thousand accounts that start together do not open a thousand connections."""
    running, most = 0, 0

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return web.Response(body=GOOD)

    upstream.handler = slow
    account = make_account(upstreams=(upstream.url,))
    async with make_client(at_once=4) as client:
        await asyncio.gather(*(client.fetch(account, Secret(SECRET)) for _ in range(60)))

    assert most == 4


async def test_waiting_for_a_turn_is_no_part_of_the_call(upstream: Upstream) -> None:
    """Neither the timeout nor a token's life begins before the request goes out."""

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return web.Response(body=GOOD)

    upstream.handler = slow
    account = make_account(upstreams=(upstream.url,))
    sent: list[int] = []
    async with make_client(at_once=1, timeout_s=0.25) as client:
        await asyncio.gather(
            *(
                client.fetch(
                    account, Secret(SECRET), sending=lambda: sent.append(len(upstream.asked))
                )
                for _ in range(5)
            )
        )

    assert sent == [0, 1, 2, 3, 4]


# -- what gets out -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError(104, "reset"),
        aiohttp.ClientPayloadError("cut"),
        aiohttp.ClientConnectionResetError("reset"),
        aiohttp.InvalidURL(f"http://x/?secret={SECRET}"),
        aiohttp.SocketTimeoutError("slow"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("api", TokenApi)
async def test_no_library_error_gets_out(api: TokenApi, error: Exception) -> None:
    """Whatever aiohttp raises becomes our own failure, without its text and its chain."""
    account = make_account(api, upstreams=("http://upstream.test",))
    method = "POST" if api is STABLE else "GET"
    with aioresponses() as canned:
        canned.add(ANY_URL, method=method, exception=error)
        failed = await failure(account)

    assert failed.reason in ("network", "timeout")
    assert failed.sent
    assert failed.__suppress_context__
    assert SECRET not in f"{failed!r}{failed.message}"


async def test_no_failure_shows_the_secret(upstream: Upstream) -> None:
    """Not even when WeChat quotes it."""
    account = make_account(CLASSIC, upstreams=(upstream.url,))
    failures = []
    for upstream.body in (
        b'{"errcode":40125,"errmsg":"invalid appsecret ' + SECRET.encode() + b'"}',
        SECRET.encode(),
    ):
        failures.append(await failure(account))
    failures.append(await failure(make_account(CLASSIC, upstreams=(free_port_url(),))))

    assert not [one for one in failures if SECRET in f"{one!r}{one.message}{one.rid}"]


async def test_a_broken_call_is_not_sent_twice(upstream: Upstream) -> None:
    """A second classic fetch would kill the token of the first, which WeChat may have made."""

    async def drop(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    upstream.handler = drop
    broken = await failure(make_account(CLASSIC, upstreams=(upstream.url,)))

    assert (broken.reason, broken.sent, len(upstream.asked)) == ("network", True, 1)
