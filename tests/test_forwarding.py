"""What goes through: bytes of requests and replies, framing, streams, on raw sockets."""

import asyncio
import gzip
import hashlib
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import SidecarFactory
from tests.harness import RawClient, Sidecar, eventually, pieces
from tests.upstreams import TOKEN, Received, ScriptedUpstream, ok

GET = b"GET /cgi-bin/user/get HTTP/1.1\r\nHost: wx\r\n\r\n"


@pytest.fixture
async def raw(proxy: Sidecar) -> AsyncIterator[RawClient]:
    """A raw connection to the sidecar in front of the scripted upstream."""
    client = await RawClient.connect(proxy.url)
    yield client
    await client.close()


async def test_a_client_without_a_token_gets_wechats_answer(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """The upstream sees one access_token, its own Host, and every other byte as sent."""
    reply = await raw.ask(
        b"GET /cgi-bin/user/info?openid=o%2F1&lang=zh_CN HTTP/1.1\r\n"
        b"Host: 127.0.0.1:5780\r\nuser-AGENT: x  y\r\nX-Empty:\r\ntraceparent: 00-a-b-01\r\n\r\n"
    )

    assert (reply.status, reply.body) == (200, b'{"errcode":0,"errmsg":"ok"}')
    (seen,) = scripted.requests
    assert seen.head == (
        b"GET /cgi-bin/user/info?openid=o%2F1&lang=zh_CN&access_token="
        + TOKEN.encode()
        + b" HTTP/1.1\r\n"
        b"Host: 127.0.0.1:" + str(scripted.port).encode() + b"\r\n"
        b"user-AGENT: x  y\r\nX-Empty: \r\ntraceparent: 00-a-b-01"
    )
    assert reply.header("X-Wxproxy-Attempts") == "1"
    assert re.fullmatch("[0-9a-f]{8}", reply.header("X-Wxproxy-Token-Id") or "")
    assert reply.header("Server") is None


# One sidecar serves every example.
ANY_EXAMPLE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PIECE = st.from_regex(rb"[!-\"$-%'-~]{0,12}", fullmatch=True).filter(lambda p: b"%00" not in p)
PATHS = st.sampled_from(
    [
        "/cgi-bin/user/get",
        "/wxa/%E4%BD%A0%E5%A5%BD",
        "/cgi-bin/a%2Fb;c=d",
        "/datacube/getusersummary",
        "/wxaapi/x//y",
    ]
)


@ANY_EXAMPLE
@given(path=PATHS, parts=st.lists(PIECE, max_size=6), body=st.binary(max_size=300))
async def test_every_byte_but_the_token_arrives_as_sent(
    proxy: Sidecar, scripted: ScriptedUpstream, path: str, parts: list[bytes], body: bytes
) -> None:
    """Odd encodings, repeated parameters, empty values and raw bodies are never re-encoded."""
    parts = [part for part in parts if b"_token" not in part and b"from_appid" not in part]
    query = b"&".join(parts)
    client = await RawClient.connect(proxy.url)
    scripted.requests.clear()
    await client.ask(
        b'POST %b?%b HTTP/1.1\r\nHost: wx\r\nContent-Type: multipart/form-data; boundary="x y"\r\n'
        b"Content-Length: %d\r\n\r\n%b" % (path.encode(), query, len(body), body)
    )
    await client.close()

    (seen,) = scripted.requests
    joined = query + b"&" if query else b""
    assert seen.target.encode() == path.encode() + b"?" + joined + b"access_token=" + TOKEN.encode()
    assert seen.body == body
    assert seen.header(b"Content-Type") == b'multipart/form-data; boundary="x y"'
    assert seen.header(b"Content-Length") == str(len(body)).encode()


@pytest.mark.parametrize(
    "query",
    [
        "access_token=x",
        "access_token=x&a=1&access_token=y",
        "a=1&%61ccess_token=x",
        "access_token=&a=1",
        "a=1&access%5Ftoken=x%20y",
        "access_token",
    ],
)
async def test_a_clients_own_token_is_replaced(
    raw: RawClient, scripted: ScriptedUpstream, query: str
) -> None:
    """A dummy, once or often, plain or percent-encoded, leaves exactly one token: ours."""
    await raw.ask(f"GET /cgi-bin/user/get?{query} HTTP/1.1\r\nHost: wx\r\n\r\n".encode())

    target = scripted.requests[0].target
    kept = "a=1&" if "a=1" in query else ""
    assert target == f"/cgi-bin/user/get?{kept}access_token={TOKEN}"


async def test_hop_by_hop_headers_stay_on_their_hop(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """Connection and what it names, TE, Upgrade, Proxy-* and our own headers go no further."""
    scripted.answer = ok(
        headers=b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"X-Wxproxy-Attempts: 7\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
    )
    reply = await raw.ask(
        b"GET /cgi-bin/user/get HTTP/1.1\r\nHost: wx\r\nConnection: X-Gone, keep-alive\r\n"
        b"X-Gone: 1\r\nTE: trailers\r\nProxy-Authorization: Basic eDp5\r\nKeep-Alive: 5\r\n"
        b"X-Wxproxy-Secret: 1\r\nAccept: */*\r\n\r\n"
    )

    assert [name for name, _ in scripted.requests[0].headers] == [b"Host", b"Accept"]
    assert [pair for pair in reply.headers if pair[0] == "Set-Cookie"] == [
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    ]
    assert reply.header("X-Hop") is None
    assert reply.header("X-Wxproxy-Attempts") == "1"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_bodyless_write_says_length_zero(
    raw: RawClient, scripted: ScriptedUpstream, method: str
) -> None:
    """WeChat answers 412 to a POST without Content-Length."""
    await raw.ask(f"{method} /cgi-bin/menu/create HTTP/1.1\r\nHost: wx\r\n\r\n".encode())

    assert scripted.requests[0].header(b"Content-Length") == b"0"


async def test_a_chunked_body_arrives_with_a_length(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """WeChat answers 412 to chunked requests, so they are collected first."""
    await raw.ask(
        b"POST /cgi-bin/message/custom/send HTTP/1.1\r\nHost: wx\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n"
    )

    (seen,) = scripted.requests
    assert (seen.body, seen.header(b"Content-Length")) == (b"hello world", b"11")


async def test_a_large_chunked_body_is_collected_in_a_file(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """Beyond what memory may keep, a chunked body is spooled and still arrives whole."""
    data = bytes(range(256)) * 4096 * 5
    await raw.send(
        b"POST /cgi-bin/media/upload HTTP/1.1\r\nHost: wx\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for piece in pieces(data, 100_000):
        await raw.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    reply = await raw.ask(b"0\r\n\r\n")

    assert reply.status == 200
    assert hashlib.sha256(scripted.requests[0].body).digest() == hashlib.sha256(data).digest()


async def test_a_head_request_gets_the_headers_alone(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """HEAD passes, its Content-Length too, and the connection stays usable."""
    scripted.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"
    reply = await raw.ask(b"HEAD /cgi-bin/user/get HTTP/1.1\r\nHost: wx\r\n\r\n", to_head=True)
    assert reply.header("Content-Length") == "12345"

    scripted.answer = ok()
    assert (await raw.ask(GET)).status == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_a_reply_without_body_ends_with_its_head(
    raw: RawClient, scripted: ScriptedUpstream, status: int
) -> None:
    """204 and 304 leave the connection ready for the next request."""
    scripted.answer = f"HTTP/1.1 {status} X\r\nETag: y\r\n\r\n".encode()
    assert (await raw.ask(GET)).status == status

    scripted.answer = ok()
    assert (await raw.ask(GET)).status == 200


async def test_redirects_statuses_and_compressed_bodies_pass_as_they_are(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """Nothing is followed, unpacked or judged by its status."""
    packed = gzip.compress(b'{"errcode":0,"users":[]}')
    scripted.answer = (
        b"HTTP/1.1 302 Found It\r\nLocation: https://elsewhere/?access_token=y\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    )
    reply = await raw.ask(GET)

    assert (reply.status, reply.body) == (302, packed)
    assert reply.header("Location") == "https://elsewhere/?access_token=y"


async def test_a_chunked_reply_keeps_its_content(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """A short chunked reply and a long one arrive whole, and the connection goes on."""
    long = b"x" * 100_000
    for body in (b'{"a":1}', long):
        scripted.answer = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
            % (len(body), body)
        )
        assert (await raw.ask(GET)).body == body


async def test_an_old_client_gets_a_reply_it_can_read(
    proxy: Sidecar, scripted: ScriptedUpstream
) -> None:
    """HTTP/1.0 knows no chunks: a reply of unknown length ends with the connection."""

    async def endless(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + b"j" * 50_000)
        return False

    scripted.answer = endless
    client = await RawClient.connect(proxy.url)
    reply = await client.ask(b"GET /wxa/getwxacode HTTP/1.0\r\n\r\n")

    assert reply.header("Transfer-Encoding") is None
    assert reply.body == b"j" * 50_000
    await client.close()


async def test_expect_continue_is_answered_before_the_body(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """A client that asks first is told to go on; the upstream never sees the Expect."""
    interim = await raw.ask(
        b"POST /cgi-bin/media/upload HTTP/1.1\r\nHost: wx\r\nExpect: 100-continue\r\n"
        b"Content-Length: 5\r\n\r\n"
    )
    assert interim.status == 100
    reply = await raw.ask(b"hello")

    assert reply.status == 200
    assert scripted.requests[0].header(b"Expect") is None
    assert scripted.requests[0].body == b"hello"


async def test_interim_replies_are_not_taken_for_the_reply(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """1xx heads of the upstream are swallowed, up to the limit."""
    scripted.answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ok()
    assert (await raw.ask(GET)).status == 200

    scripted.answer = b"HTTP/1.1 102 Processing\r\n\r\n" * 17 + ok()
    assert (await raw.ask(GET)).status == 502


async def test_pipelined_requests_are_answered_in_order(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """Requests sent at once on one connection get their own answers, one after the other."""

    async def echo(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(ok(received.target.split("?")[0].encode()))
        return True

    scripted.answer = echo
    await raw.send(b"".join(GET.replace(b"user/get", b"n/%d" % n) for n in range(60)))

    assert [(await raw.reply()).body for _ in range(60)] == [
        b"/cgi-bin/n/%d" % n for n in range(60)
    ]


async def test_an_absolute_target_is_forwarded_in_origin_form(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """Clients with an HTTP proxy setting send the whole URL; WeChat's hosts are accepted."""
    reply = await raw.ask(
        b"GET http://api.weixin.qq.com/cgi-bin/user/get?a=1 HTTP/1.1\r\nHost: wx\r\n\r\n"
    )
    assert reply.status == 200
    assert scripted.requests[0].target.startswith("/cgi-bin/user/get?a=1&access_token=")

    refused = await raw.ask(b"GET http://evil.example/cgi-bin/user/get HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (refused.status, refused.header("X-Wxproxy-Error")) == (400, "bad_request")
    assert len(scripted.requests) == 1


async def test_an_upload_streams_and_its_hash_is_kept(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """A body beyond the memory limit streams through, byte for byte."""
    data = bytes(range(251)) * 13_000
    await raw.send(
        b"POST /cgi-bin/media/upload HTTP/1.1\r\nHost: wx\r\nContent-Length: %d\r\n\r\n" % len(data)
    )
    for piece in pieces(data, 70_001):
        await raw.send(piece)
    reply = await raw.reply()

    assert reply.status == 200
    assert scripted.requests[0].body == data


async def test_the_sidecar_reconnects_when_an_idle_connection_was_closed(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """A GET that finds its pooled connection dead is sent once more on a fresh one."""

    async def close_after(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(ok())
        await writer.drain()
        await reader.read(1)  # the next request's first byte: then close without an answer
        return False

    scripted.answer = close_after
    assert (await raw.ask(GET)).status == 200
    scripted.answer = ok()
    reply = await raw.ask(GET)

    assert reply.status == 200
    assert scripted.connections >= 2


async def test_a_post_on_a_dead_connection_is_not_sent_twice(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """A message may have been sent already: the client is told instead."""

    async def die(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        return False

    scripted.answer = die
    reply = await raw.ask(
        b"POST /cgi-bin/message/custom/send HTTP/1.1\r\nHost: wx\r\nContent-Length: 2\r\n\r\n{}"
    )

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (502, "upstream_broken")
    assert len(scripted.requests) == 1


async def test_a_reply_that_breaks_off_is_never_ended_as_if_whole(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """After the head, a failure cuts the client off."""

    async def half(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 60_000)
        await writer.drain()
        return False

    scripted.answer = half
    await raw.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await raw.reply()


async def test_a_stray_reply_never_answers_the_next_caller(
    raw: RawClient, scripted: ScriptedUpstream
) -> None:
    """A late 408 on an idle pooled connection retires that connection."""
    late = asyncio.Event()

    async def stray(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(ok())
        await late.wait()
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate")
        await writer.drain()
        scripted.answer = ok(b'{"mine":1}')
        return True

    scripted.answer = stray
    assert (await raw.ask(GET)).status == 200
    late.set()
    await eventually(lambda: scripted.answer != stray)
    await asyncio.sleep(0.05)  # the stray bytes are on their way to the sidecar's idle socket
    reply = await raw.ask(GET)

    assert (reply.status, reply.body) == (200, b'{"mine":1}')
    assert scripted.connections >= 3  # token, first, fresh


async def test_an_early_answer_stops_the_upload_and_retires_the_connection(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """An upstream that answers before it has read the body is heard, and not reused."""
    proxy = await start(scripted.url)

    async def early(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(ok(b'{"errcode":40007}'))
        await writer.drain()
        await asyncio.sleep(10)
        return False

    scripted.reads_bodies = False
    scripted.answer = early
    client = await RawClient.connect(proxy.url)
    await client.send(
        b"POST /cgi-bin/media/upload HTTP/1.1\r\nHost: wx\r\nContent-Length: 8000000\r\n\r\n"
    )
    sending = asyncio.ensure_future(client.send(b"x" * 8_000_000))
    reply = await client.reply()

    assert (reply.status, reply.body) == (200, b'{"errcode":40007}')
    assert reply.header("Connection") == "close"
    sending.cancel()
    await asyncio.wait((sending,))
    client.leave()
    await eventually(lambda: proxy.app.pool.in_use == 0)
    assert proxy.app.pool.idle == 0
