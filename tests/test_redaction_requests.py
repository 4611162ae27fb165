"""No secret shows that stands in a request which is refused, wherever it stands."""

import json

import pytest

from tests.harness import SECRET, Sidecar
from tests.upstreams import TOKEN
from tests.watching import CANARY, CLOSE, LIVE, Watch
from tests.wire import request
from wxproxy.sandbox.knobs import APPID

USERS = "/cgi-bin/user/get"
STABLE = "/cgi-bin/stable_token"


def _head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


GET = f"GET {USERS} HTTP/1.1"
POST = f"POST {USERS} HTTP/1.1"
CHUNKED = "Transfer-Encoding: chunked"
POSITIONS = {
    "method": _head(f"GET{CANARY} {USERS} HTTP/1.1", "Host: wx"),
    "method with odd characters": _head(f"{CANARY}@ {USERS} HTTP/1.1", "Host: wx"),
    "target": _head(f"GET {USERS}?access_token={CANARY}#x HTTP/1.1", "Host: wx"),
    "target with a blank": _head(f"GET {USERS}?access_token={CANARY} x HTTP/1.1", "Host: wx"),
    "target with a control character": _head(f"GET /{CANARY}\x01 HTTP/1.1", "Host: wx"),
    "target with a raw byte": _head(f"GET /{CANARY}\xff HTTP/1.1", "Host: wx"),
    "target that is no path": _head(f"GET {CANARY} HTTP/1.1", "Host: wx"),
    "dot segment after it": _head(f"GET /{CANARY}/../x HTTP/1.1", "Host: wx"),
    "host of the target": _head(f"GET http://{CANARY}/x HTTP/1.1", "Host: wx"),
    "user of the target": _head(f"GET http://{CANARY}@evil/x HTTP/1.1", "Host: wx"),
    "port of the target": _head(f"GET http://api.weixin.qq.com:{CANARY}/. HTTP/1.1", "Host: wx"),
    "account prefix": _head(f"GET /@{CANARY}/x HTTP/1.1", "Host: wx"),
    "from_appid": _head(f"GET {USERS}?from_appid={CANARY} HTTP/1.1", "Host: wx"),
    "control route": _head(f"GET /_wxproxy/{CANARY} HTTP/1.1", "Host: wx"),
    "version": _head(f"GET {USERS} HTTP/1.1{CANARY}", "Host: wx"),
    "protocol": _head(f"GET {USERS} {CANARY}", "Host: wx"),
    "header name": _head(GET, "Host: wx", f"X {CANARY}: 1"),
    "header without a colon": _head(GET, "Host: wx", CANARY),
    "header value with NUL": _head(GET, "Host: wx", f"X-Token: {CANARY}\0"),
    "header value with CR": _head(GET, "Host: wx", f"X-Token: {CANARY}\rx"),
    "header too long": _head(GET, "Host: wx", f"X-Token: {CANARY * 600}"),
    "continued header": _head(GET, "Host: wx", "X-Token: x", f" {CANARY}"),
    "Host, twice": _head(GET, f"Host: {CANARY}", f"Host: {CANARY}"),
    "Content-Length": _head(POST, "Host: wx", f"Content-Length: {CANARY}"),
    "Content-Length, twice": _head(POST, "Content-Length: 1", f"Content-Length: {CANARY}"),
    "Transfer-Encoding": _head(POST, "Host: wx", f"Transfer-Encoding: {CANARY}"),
    "Expect": _head(POST, "Host: wx", f"Expect: {CANARY}"),
    "Origin": _head(GET, "Host: wx", f"Origin: {CANARY}"),
    "X-Wxproxy-Account": _head(GET, "Host: wx", f"X-Wxproxy-Account: {CANARY}"),
    "chunk size": _head(POST, "Host: wx", CHUNKED) + f"{CANARY}\r\n".encode(),
    "chunk extension": _head(POST, "Host: wx", CHUNKED) + f"1;\0={CANARY}\r\nxx\r\n".encode(),
    "chunk data": _head(POST, "Host: wx", CHUNKED) + f"2\r\n{CANARY}\r\n0\r\n\r\n".encode(),
    "trailer": _head(POST, "Host: wx", CHUNKED) + f"0\r\n{CANARY}\r\n\r\n".encode(),
}


@pytest.mark.parametrize("data", POSITIONS.values(), ids=POSITIONS)
async def test_a_secret_in_a_malformed_request_is_not_quoted(
    watch: Watch, watched: Sidecar, data: bytes
) -> None:
    """Whatever was wrong, and wherever the secret stood."""
    said = await watch.ask(watched.url, data)

    assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 404", b"HTTP/1.1 417"))
    await watch.is_silent(watched, *LIVE)


BODIES = {
    "no JSON": (STABLE, CANARY),
    "no object": (STABLE, json.dumps([CANARY])),
    "foreign appid": (STABLE, json.dumps({"appid": CANARY, "secret": SECRET})),
    "grant type": (STABLE, json.dumps({"appid": APPID, "grant_type": CANARY, "secret": SECRET})),
    "odd types": (STABLE, json.dumps({"appid": [CANARY], "secret": {"x": SECRET}})),
    "too large": (STABLE, json.dumps({"secret": CANARY * 600})),
    "unknown account": ("/_wxproxy/refresh", json.dumps({"account": CANARY})),
    "unknown token": ("/_wxproxy/refresh", json.dumps({"access_token": CANARY})),
    "the current token": ("/_wxproxy/refresh", json.dumps({"access_token": TOKEN})),
    "token of an odd type": ("/_wxproxy/refresh", json.dumps({"access_token": [TOKEN]})),
    "account of an odd type": ("/_wxproxy/refresh", json.dumps({"account": {CANARY: 1}})),
}


@pytest.mark.parametrize(("path", "body"), BODIES.values(), ids=BODIES)
async def test_a_secret_in_a_local_call_is_not_quoted(
    watch: Watch, watched: Sidecar, path: str, body: str
) -> None:
    """Token calls and control routes carry secrets in their bodies."""
    await watch.ask(watched.url, request(path, CLOSE, method="POST", body=body.encode()))

    await watch.is_silent(watched, *LIVE)
