"""What is refused before anything is forwarded: the guards, on a real socket."""

import json

import pytest

from tests.conftest import SidecarFactory
from tests.harness import RawClient, Sidecar
from tests.upstreams import TOKEN, ScriptedUpstream
from tests.wire import ask_once, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID

USERS = "/cgi-bin/user/get"


def _line(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line, b"Host: wx", *headers, b"", body))


def _get(target: bytes) -> bytes:
    return _line(b"GET %b HTTP/1.1" % target)


def _post(*headers: bytes, body: bytes = b"") -> bytes:
    return _line(b"POST /cgi-bin/menu/create HTTP/1.1", *headers, body=body)


BAD_TARGETS = {
    "dot segment": _get(b"/cgi-bin/./user/get"),
    "dot-dot segment": _get(b"/wxa/../cgi-bin/token"),
    "encoded dot-dot segment": _get(b"/wxa/%2e%2e/cgi-bin/token"),
    "dot-dot with backslashes": _get(b"/wxa\\..\\cgi-bin\\token"),
    "dot-dot, encoded slash": _get(b"/wxa/..%2fcgi-bin/token"),
    "dot-dot under a prefix": _get(b"/@wxsandbox0000000001/../token"),
    "fragment": _get(b"/cgi-bin/user/get#x"),
    "NUL": _get(b"/cgi-bin/user/get%00"),
    "NUL in the query": _get(b"/cgi-bin/user/get?a=%00"),
    "raw byte": _get(b"/cgi-bin/\xe4\xbd\xa0"),
    "control character": _get(b"/cgi-bin/user\x01get"),
    "DEL": _get(b"/cgi-bin/user\x7fget"),
    "tab": _get(b"/cgi-bin/user\tget"),
    "blank": _get(b"/cgi-bin/user get"),
    "another host": _get(b"http://evil.example/cgi-bin/user/get"),
    "another host by user info": _get(b"http://api.weixin.qq.com@evil.example/cgi-bin/user/get"),
    "another scheme": _get(b"ftp://api.weixin.qq.com/cgi-bin/user/get"),
    "no path": _get(b"cgi-bin/user/get"),
    "asterisk": _line(b"OPTIONS * HTTP/1.1"),
    "two prefixes": _get(b"/@wxsandbox0000000001/@wxsandbox0000000001/cgi-bin/user/get"),
}
BAD_LINES = {
    "TRACE": _line(b"TRACE /cgi-bin/user/get HTTP/1.1"),
    "CONNECT": _line(b"CONNECT api.weixin.qq.com:443 HTTP/1.1"),
    "unknown method": _line(b"FETCH/1 /cgi-bin/user/get HTTP/1.1"),
    "HTTP/2.0": _line(b"GET /cgi-bin/user/get HTTP/2.0"),
    "HTTP/1.2": _line(b"GET /cgi-bin/user/get HTTP/1.2"),
    "HTTP/0.9": b"GET /cgi-bin/user/get\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "long line": _get(b"/cgi-bin/user/get?a=" + b"x" * 70_000),
}
BAD_HEADERS = {
    "Content-Length and Transfer-Encoding": _post(
        b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "two lengths": _post(b"Content-Length: 2", b"Content-Length: 3", body=b"{}}"),
    "one length twice": _post(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"),
    "list of lengths": _post(b"Content-Length: 2, 2", body=b"{}"),
    "signed length": _post(b"Content-Length: +2", body=b"{}"),
    "negative length": _post(b"Content-Length: -2", body=b"{}"),
    "absurd length": _post(b"Content-Length: 99999999999999999999"),
    "gzip coding": _post(b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"),
    "gzip, then chunked": _post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked, then identity": _post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "chunked twice": _post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "chunked in HTTP/1.0": _line(
        b"POST /cgi-bin/menu/create HTTP/1.0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "blank before the colon": _post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "no colon": _post(b"X-Broken"),
    "no name": _post(b": x"),
    "continued line": _post(b"X-Folded: a\r\n b"),
    "NUL in a value": _post(b"X-Nul: a\0b"),
    "CR in a value": _post(b"X-Cr: a\rb"),
    "two hosts": _line(b"GET /cgi-bin/user/get HTTP/1.1", b"Host: qyapi.weixin.qq.com"),
    "two accounts": _post(b"X-Wxproxy-Account: a", b"X-Wxproxy-Account: b"),
    "large head": _post(b"X-Large: " + b"x" * 70_000),
}
BAD_BODIES = {
    "chunk without a size": _post(b"Transfer-Encoding: chunked", body=b"\r\n{}\r\n0\r\n\r\n"),
    "chunk size that is none": _post(b"Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
    "negative chunk size": _post(b"Transfer-Encoding: chunked", body=b"-2\r\n{}\r\n0\r\n\r\n"),
    "chunk longer than its size": _post(
        b"Transfer-Encoding: chunked", body=b"2\r\n{}{}\r\n0\r\n\r\n"
    ),
}
GUARDS = BAD_TARGETS | BAD_LINES | BAD_HEADERS | BAD_BODIES


@pytest.mark.parametrize("data", GUARDS.values(), ids=GUARDS)
async def test_a_request_that_may_be_misread_goes_no_further(
    proxy: Sidecar, scripted: ScriptedUpstream, data: bytes
) -> None:
    """400 in WeChat's shape, nothing forwarded, and the next client is served."""
    reply = await ask_once(proxy.url, data)

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (400, "bad_request")
    assert reply.header("Server") is None
    answer = json.loads(reply.body)
    assert answer["errcode"] == -60400
    assert answer["errmsg"].startswith("wxproxy: ")
    assert scripted.requests == []
    assert (await ask_once(proxy.url, request(USERS))).status == 200


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_an_unknown_expectation_fails(
    proxy: Sidecar, scripted: ScriptedUpstream, version: bytes
) -> None:
    """What cannot be promised is refused, before the body is sent on."""
    reply = await ask_once(
        proxy.url,
        _line(
            b"POST /cgi-bin/menu/create HTTP/" + version, b"Expect: 200-ok", b"Content-Length: 9"
        ),
    )

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (417, "expectation_failed")
    assert scripted.requests == []


async def test_an_old_client_that_expects_gets_no_interim_reply(
    proxy: Sidecar, scripted: ScriptedUpstream
) -> None:
    """HTTP/1.0 knows no 100 Continue: the first reply is the only one."""
    reply = await ask_once(
        proxy.url,
        _line(
            b"POST /cgi-bin/menu/create HTTP/1.0",
            b"Expect: 100-continue",
            b"Content-Length: 2",
            body=b"{}",
        ),
    )

    assert reply.status == 200
    assert scripted.requests[0].body == b"{}"


async def test_nothing_after_a_bad_request_is_taken_for_another(
    proxy: Sidecar, scripted: ScriptedUpstream
) -> None:
    """What may be the rest of a misread body is never served: the connection closes."""
    client = await RawClient.connect(proxy.url)
    smuggled = request("/cgi-bin/menu/delete")
    reply = await client.ask(
        _post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n") + smuggled
    )

    assert reply.status == 400
    assert reply.header("Connection") == "close"
    assert await client.is_closed()
    assert scripted.requests == []
    await client.close()


@pytest.mark.parametrize(
    "path",
    [
        "/cgi-bin/token",
        "/cgi-bin/%74oken",
        "//cgi-bin/token",
        "/cgi-bin//token",
        "/cgi-bin\\token",
        "/CGI-BIN/TOKEN",
        "/cgi-bin/token/",
        "/@wxsandbox0000000001/cgi-bin/token",
        "http://api.weixin.qq.com/cgi-bin/token",
    ],
)
async def test_no_spelling_of_the_token_endpoint_is_forwarded(
    proxy: Sidecar, scripted: ScriptedUpstream, path: str
) -> None:
    """Forwarded, it would kill the live token of everybody else."""
    query = f"?grant_type=client_credential&appid={APPID}&secret=whatever"
    reply = await ask_once(proxy.url, request(path + query))

    assert json.loads(reply.body)["access_token"] == proxy.app.accounts[0].placeholder
    assert scripted.requests == []


async def test_leading_slashes_become_one(proxy: Sidecar, scripted: ScriptedUpstream) -> None:
    """Clients that join a base URL with a slash at its end reach the same path."""
    await ask_once(proxy.url, request("//cgi-bin/user//get"))

    assert scripted.requests[0].target == f"/cgi-bin/user//get?access_token={TOKEN}"


BROWSERS = {
    "Origin": "Origin: https://evil.example",
    "opaque origin": "Origin: null",
    "cross-site without Origin": "Sec-Fetch-Site: cross-site",
    "our own address as origin": "Origin: http://127.0.0.1:5780",
}
BROWSER_TARGETS = [USERS, "/cgi-bin/token", "/_wxproxy/token", "/sns/userinfo"]


@pytest.mark.parametrize("header", BROWSERS.values(), ids=BROWSERS)
@pytest.mark.parametrize("target", BROWSER_TARGETS)
async def test_a_web_page_is_not_served(
    proxy: Sidecar, scripted: ScriptedUpstream, target: str, header: str
) -> None:
    """Any page that somebody visits could post to this address."""
    reply = await ask_once(proxy.url, request(target, header))

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (403, "browser_request")
    assert reply.header("Access-Control-Allow-Origin") is None
    assert scripted.requests == []


async def test_the_origins_that_are_allowed_are_served(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """Exactly those named in allow_origins."""
    proxy = await start(scripted.url, allow_origins="http://localhost:3000")
    allowed = await ask_once(proxy.url, request(USERS, "Origin: http://localhost:3000"))
    refused = await ask_once(proxy.url, request(USERS, "Origin: http://localhost:3001"))

    assert (allowed.status, refused.status) == (200, 403)
    assert len(scripted.requests) == 1
    assert scripted.requests[0].header(b"Origin") == b"http://localhost:3000"


async def test_the_sidecars_own_failures_can_look_like_wechats(
    start: SidecarFactory, sandbox: Sandbox
) -> None:
    """With error_status = wechat they come with HTTP 200, errcode and code unchanged."""
    sidecar = await start(sandbox.url, error_status="wechat")
    reply = await ask_once(sidecar.url, _get(b"/cgi-bin/./x"))

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (200, "bad_request")
    assert json.loads(reply.body)["errcode"] == -60400
