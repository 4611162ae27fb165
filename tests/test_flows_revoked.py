"""A token that dies under load: every call succeeds, and WeChat is asked as little as can be."""

import asyncio
import gzip
import zlib
from collections import Counter
from dataclasses import dataclass, field

import pytest

from tests.conftest import SidecarFactory
from tests.harness import RawReply, Sidecar, connection, eventually
from tests.upstreams import TOKEN, Answer, Received, ScriptedUpstream, ok
from tests.wire import ask_once, metric, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import AGENT, AGENT_SECRET, APPID, CORPID, FamilyName

CALLS = 200
NEW_TOKEN = "84_" + "another-token_" * 10


async def call_at_once(sidecar: Sidecar, path: str) -> list[RawReply]:
    """Make 200 calls, each on its own connection, told apart by their query."""
    asked = (ask_once(sidecar.url, request(f"{path}?n={n}")) for n in range(CALLS))
    return await asyncio.gather(*asked)


@dataclass(frozen=True)
class Death:
    """How the token of an account dies, and what may be fetched because of that.

    Attributes:
        settings: of the sidecar's account.
        insist: whether plain asks go on giving the dead token.
    """

    appid: str
    family: FamilyName
    settings: dict[str, str] = field(default_factory=dict)
    insist: bool = False
    plain: int = 1
    forced: int = 0


WECOM = {"kind": "wecom", "appid": CORPID, "secret": AGENT_SECRET}
DEATHS = {
    "stable": Death(APPID, "stable"),
    "stable-insisting": Death(APPID, "stable", insist=True, forced=1),
    "classic": Death(APPID, "classic", {"token_api": "classic"}),
    "wecom": Death(CORPID, "gettoken", WECOM),
}
# WeCom has no proof call: there a success that overtook a rejection counts as one.
MOMENTS = [(name, when) for when in ("before", "amid") for name in DEATHS][:-1]


@pytest.mark.parametrize(("name", "when"), MOMENTS)
async def test_a_token_revoked_under_load_is_replaced_once(
    start: SidecarFactory, sandbox: Sandbox, name: str, when: str
) -> None:
    """Every call succeeds, each sent at most twice, after one plain and at most one forced ask."""
    death = DEATHS[name]
    sidecar = await start(sandbox.url, **death.settings)
    path = "/cgi-bin/getcallbackip"
    await ask_once(sidecar.url, request(path))
    dead = sandbox.token(death.appid, family=death.family, agent=_agent(death))
    before = sandbox.token_calls(death.appid)

    calls = asyncio.ensure_future(call_at_once(sidecar, path))
    if when == "amid":
        await eventually(lambda: len(sandbox.seen(path)) > CALLS // 4)
    sandbox.revoke(death.appid, family=death.family, insist=death.insist)
    replies = await calls

    assert Counter((reply.status, b'"ip_list"' in reply.body) for reply in replies) == {
        (200, True): CALLS
    }
    sent = Counter(call.target.split("&")[0] for call in sandbox.seen(path))
    assert len(sent) == CALLS + 1
    assert max(sent.values()) == 2
    after = sandbox.token_calls(death.appid)
    assert after.fetches - before.fetches == death.plain + death.forced
    assert after.forced == death.forced
    twice = [reply for reply in replies if reply.header("X-Wxproxy-Attempts") == "2"]
    assert len(twice) == sum(n == 2 for n in sent.values())
    live = sandbox.token(death.appid, family=death.family, agent=_agent(death))
    assert live != dead
    assert {call.token for call in sandbox.seen(path)} == {dead, live}


def _agent(death: Death) -> str:
    return AGENT if death.family == "gettoken" else ""


@pytest.mark.parametrize("token_api", ["stable", "classic"])
async def test_a_call_that_a_revocation_overtook_is_healed(
    start: SidecarFactory, sandbox: Sandbox, token_api: str
) -> None:
    """A call sent first and judged last is retried, though one sent after it succeeded."""
    path = "/sandbox/sink"
    sidecar = await start(sandbox.url, token_api=token_api)
    async with connection(sidecar.url) as slow:
        # WeChat judges a call when its body is there.
        head = f"POST {path} HTTP/1.1\r\nHost: wx\r\nContent-Length: 2000000\r\n\r\n"
        await slow.send(head.encode() + bytes(1_000_000))
        await eventually(lambda: sandbox.seen(path))
        await ask_once(sidecar.url, request("/cgi-bin/user/get"))
        sandbox.revoke(APPID)
        reply = await slow.ask(bytes(1_000_000))

    assert b'"length":2000000' in reply.body
    assert reply.header("X-Wxproxy-Attempts") == "2"
    assert [call.errcode for call in sandbox.seen(path)] == [40001, None]


async def test_a_token_that_has_expired_at_wechat_alone_is_replaced(
    sidecar: Sidecar, sandbox: Sandbox
) -> None:
    """42001 before the announced end of a life heals like any other death."""
    await ask_once(sidecar.url, request("/cgi-bin/user/get"))
    sandbox.expire_in(APPID, 0)
    reply = await ask_once(sidecar.url, request("/cgi-bin/user/get"))

    assert b'"total":3' in reply.body
    assert [call.errcode for call in sandbox.seen("/cgi-bin/user/get")][1] == 42001
    assert await metric(sidecar, "wxproxy_retries_total", reason="42001", outcome="ok") == 1


BAD = b'"errmsg":"invalid credential rid: 654df33c-64386a2f-29857782"'
PLAIN = b'{"errcode":40001,%b}' % BAD


def reply(body: bytes, content_type: bytes = b"application/json; encoding=utf-8") -> bytes:
    """A reply of 200 under any content type."""
    return ok(body).replace(b"application/json; encoding=utf-8", content_type, 1)


def packed(body: bytes, encoding: bytes) -> bytes:
    """A reply with a compressed body."""
    return ok(body, b"Content-Encoding: %b\r\n" % encoding)


def raw_deflate(body: bytes) -> bytes:
    """Deflate without zlib's header, as some send it."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


FORMS = {
    "json": ok(PLAIN),
    "text_plain": reply(PLAIN, b"text/plain"),
    "image_jpeg": reply(PLAIN, b"image/jpeg"),
    "gzip": packed(gzip.compress(PLAIN), b"gzip"),
    "gzip_of_image": reply(PLAIN, b"image/jpeg")
    .replace(PLAIN, gzip.compress(PLAIN))
    .replace(
        b"Content-Length: %d" % len(PLAIN),
        b"Content-Encoding: GZIP\r\nContent-Length: %d" % len(gzip.compress(PLAIN)),
    ),
    "deflate": packed(zlib.compress(PLAIN), b"deflate"),
    "deflate_without_header": packed(raw_deflate(PLAIN), b"deflate"),
    "string": ok(b'{"errcode":"40001",%b}' % BAD),
    "last": ok(b'{"ip_list":[{"errcode":0}],%b,"errcode":40001}' % BAD),
    "base_resp": ok(b'{"base_resp":{"errcode":40001,%b}}' % BAD),
    "string_in_base_resp_last": ok(b'{"list":[],"base_resp":{%b,"errcode":"40001"}}' % BAD),
    "white_space": ok(b'\r\n \t{\n  "errcode" : 40001 ,\n %b\n}\n' % BAD),
    "bom": ok(b"\xef\xbb\xbf" + PLAIN),
    "control_characters": ok(b'\x00{"errmsg":"a\x08\x1f\nb \xff\xfe","errcode":40001}'),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (PLAIN[:5], len(PLAIN) - 5, PLAIN[5:]),
    "as_long_as_is_looked_at": ok(PLAIN.ljust(8192)),
    "40014": ok(b'{"errcode":40014,"errmsg":"invalid access_token"}'),
    "42001": ok(b'{"errcode":42001,"errmsg":"access_token expired hint: [xJzlnA0121vr63!]"}'),
}


def bad_for(token: str, refusal: bytes) -> Answer:
    """An upstream that takes every token but this one."""

    async def answer(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        is_bad = f"access_token={token}" in received.target
        writer.write(refusal if is_bad else ok(b'{"errcode":0,"mine":true}'))
        await writer.drain()
        return True

    return answer


@pytest.mark.parametrize("refusal", FORMS.values(), ids=FORMS)
async def test_token_trouble_is_recognised_in_each_of_its_forms(
    start: SidecarFactory, scripted: ScriptedUpstream, refusal: bytes
) -> None:
    """Whatever type, encoding or shape the error comes in, no client sees it; one fetch heals."""
    scripted.tokens = [TOKEN, NEW_TOKEN]
    scripted.answer = bad_for(TOKEN, refusal)
    sidecar = await start(scripted.url)
    replies = await call_at_once(sidecar, "/wxa/getwxacode")

    assert {reply.body for reply in replies} == {b'{"errcode":0,"mine":true}'}
    assert scripted.token_calls == 2
    sent = Counter(received.target.split("&")[0] for received in scripted.requests)
    assert len(sent) == CALLS
    assert max(sent.values()) == 2


async def test_trouble_in_a_reply_that_ends_with_its_connection_is_seen(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """A reply with neither length nor chunks is read to its end before it is judged."""
    scripted.tokens = [TOKEN, NEW_TOKEN]
    answer_well = bad_for(TOKEN, b"")

    async def close_after(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if NEW_TOKEN in received.target:
            return await answer_well(received, reader, writer)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + PLAIN)
        return False

    scripted.answer = close_after
    sidecar = await start(scripted.url)
    answer = await ask_once(sidecar.url, request("/cgi-bin/media/get?media_id=1"))

    assert answer.body == b'{"errcode":0,"mine":true}'
    assert answer.header("X-Wxproxy-Attempts") == "2"
