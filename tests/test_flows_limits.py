"""What bounds each wait and size, on real sockets: the answer, and what becomes of connections."""

import asyncio
import json

import pytest

from tests.conftest import SidecarFactory
from tests.harness import RawClient, RawReply, eventually
from tests.upstreams import Answer, Received, ScriptedUpstream, ok
from tests.wire import ask_once, metric, request
from wxproxy import app

USERS = "/cgi-bin/user/get"
UPLOAD = "/cgi-bin/media/upload"
SOON = 0.1  # seconds; the least that a limit may be


@pytest.fixture(autouse=True)
def _quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for what has waited too long more often than once a second."""
    monkeypatch.setattr(app, "_SWEEP_SECONDS", 0.02)


def chunked(size: int) -> bytes:
    """A POST with one chunk of this size."""
    head = request(UPLOAD, "Transfer-Encoding: chunked", method="POST")
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)


def said(reply: RawReply) -> tuple[int, str | None, int]:
    """Status, stable code and errcode of a refusal."""
    return reply.status, reply.header("X-Wxproxy-Error"), json.loads(reply.body)["errcode"]


TOO_LARGE = (413, "body_too_large", -60413)
OVERDUE = (504, "upstream_timeout", -60504)
TOO_SLOW = (504, "client_timeout", -60504)


# -- sizes -----------------------------------------------------------------------------------------


async def test_a_body_over_the_limit_is_refused_before_it_is_read(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """Its announced length is enough; the connection closes, as the body may still come."""
    proxy = await start(scripted.url, body_bytes=1000)
    head = request(UPLOAD, "Content-Length: 1001", method="POST")
    reply = await ask_once(proxy.url, head)

    assert said(reply) == TOO_LARGE
    assert reply.header("Connection") == "close"
    assert scripted.requests == []


async def test_a_chunked_body_over_the_limit_is_refused(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """It says no length beforehand, so it is counted as it comes."""
    proxy = await start(scripted.url, body_bytes=1000)
    reply = await ask_once(proxy.url, chunked(1001))

    assert said(reply) == TOO_LARGE
    assert scripted.requests == []


async def test_bodies_at_the_limit_pass(start: SidecarFactory, scripted: ScriptedUpstream) -> None:
    """The limit itself is allowed, in both framings."""
    proxy = await start(scripted.url, body_bytes=1000)
    await ask_once(proxy.url, request(UPLOAD, method="POST", body=b"x" * 1000))
    await ask_once(proxy.url, chunked(1000))

    assert [len(seen.body) for seen in scripted.requests] == [1000, 1000]


async def test_a_chunked_body_that_cannot_be_kept_is_refused(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """WeChat takes none without a length, and there is no room to find it out."""
    proxy = await start(scripted.url, replay_memory_bytes=100, spool_bytes=1000)
    refused = await ask_once(proxy.url, chunked(1001))
    served = await ask_once(proxy.url, chunked(1000))

    assert said(refused) == TOO_LARGE
    assert served.status == 200
    assert len(scripted.requests) == 1


async def test_a_body_that_cannot_be_kept_streams_without_a_retry(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """Better one try than a refusal; that there was no second is counted."""
    proxy = await start(scripted.url, replay_memory_bytes=0, spool_bytes=0)
    scripted.answer = ok(b'{"errcode":40001,"errmsg":"invalid credential"}')
    reply = await ask_once(proxy.url, request(UPLOAD, method="POST", body=b"x" * 5000))

    assert json.loads(reply.body)["errcode"] == 40001
    assert [seen.body for seen in scripted.requests] == [b"x" * 5000]
    counted = {"reason": "40001", "outcome": "skipped_body_too_large"}
    assert await metric(proxy, "wxproxy_retries_total", **counted) == 1


async def test_connections_over_the_limit_are_told_so(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """503 and closed; when a client leaves, the next is served again."""
    proxy = await start(scripted.url, client_connections=2)
    kept = [await RawClient.connect(proxy.url) for _ in range(2)]
    for client in kept:
        assert (await client.ask(request(USERS))).status == 200
    reply = await ask_once(proxy.url, request(USERS))

    assert said(reply) == (503, "overloaded", -60503)
    assert reply.header("Connection") == "close"
    assert len(scripted.requests) == 2
    kept[0].leave()
    await eventually(lambda: len(proxy.app.server.connections_open) == 1)
    assert (await ask_once(proxy.url, request(USERS))).status == 200
    await kept[1].close()


# -- WeChat's time ---------------------------------------------------------------------------------


def then_silence(data: bytes) -> Answer:
    """An answer of these bytes, after which the upstream hangs until it is cut off."""

    async def answer(
        _request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(data)
        await writer.drain()
        await reader.read()
        return False

    return answer


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("limit", "data"),
    [
        ("reply_head_seconds", b""),
        ("reply_head_seconds", b"HTTP/1.1 200 OK\r\nContent-"),
        ("reply_head_seconds", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("reply_gap_seconds", HEAD % 100),
        ("reply_gap_seconds", HEAD % 100 + b'{"errcode":'),
    ],
    ids=["no head", "half a head", "interim only", "no body", "half an error"],
)
async def test_wechat_that_hangs_before_a_byte_was_passed_on_is_a_timeout(
    start: SidecarFactory, scripted: ScriptedUpstream, limit: str, data: bytes
) -> None:
    """The client is told; the hung connection is never used again, and nothing is sent twice."""
    proxy = await start(scripted.url, **{limit: SOON})
    scripted.answer = then_silence(data)
    reply = await ask_once(proxy.url, request(USERS))

    assert said(reply) == OVERDUE
    assert len(scripted.requests) == 1
    assert proxy.app.pool.idle == 0
    kind = {"kind": "upstream_timeout"}
    assert await metric(proxy, "wxproxy_upstream_errors_total", **kind) == 1


async def test_wechat_that_hangs_in_the_middle_cuts_the_client_off(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """A reply that had begun is never ended as if it were whole."""
    proxy = await start(scripted.url, reply_gap_seconds=SOON)
    scripted.answer = then_silence(HEAD % 90_000 + b"x" * 60_000)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await ask_once(proxy.url, request(USERS))

    await eventually(lambda: proxy.app.pool.in_use == 0)
    assert proxy.app.pool.idle == 0


async def test_an_upload_that_wechat_does_not_read_is_a_timeout(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """The gap limit counts while WeChat takes nothing, too."""
    proxy = await start(scripted.url, reply_gap_seconds=SOON)
    scripted.reads_bodies = False

    async def sleep(
        _request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await asyncio.sleep(5)
        return False

    scripted.answer = sleep
    client = await RawClient.connect(proxy.url)
    client.writer.write(request(UPLOAD, method="POST", body=b"x" * (24 << 20)))

    assert said(await client.reply()) == OVERDUE
    client.leave()


async def test_waiting_for_a_free_connection_is_bounded(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """The limit of connecting holds for the wait for a place as well."""
    proxy = await start(scripted.url, upstream_connections=1, connect_seconds=0.3)
    scripted.answer = then_silence(b"")
    first = await RawClient.connect(proxy.url)
    await first.send(request(USERS))
    await eventually(lambda: len(scripted.requests) == 1)

    assert said(await ask_once(proxy.url, request(USERS))) == OVERDUE
    first.leave()
    await scripted.stop()
    await scripted.start()


# -- the client's time -----------------------------------------------------------------------------


SLOW = {
    "half a head": (b"GET /cgi-bin/user/get HTTP/1.1\r\nHost:", "client_head_seconds"),
    "half a request line": (b"GET", "client_head_seconds"),
    "half a body": (
        request(UPLOAD, "Content-Length: 10", method="POST") + b"12345",
        "client_body_gap_seconds",
    ),
    "half a chunk": (
        request(UPLOAD, "Transfer-Encoding: chunked", method="POST") + b"a\r\n12345",
        "client_body_gap_seconds",
    ),
    "half a streamed body": (
        request(UPLOAD, f"Content-Length: {3 << 20}", method="POST") + b"12345",
        "client_body_gap_seconds",
    ),
}


@pytest.mark.parametrize(("data", "limit"), SLOW.values(), ids=SLOW)
async def test_a_client_that_does_not_go_on_is_told_and_closed(
    start: SidecarFactory, scripted: ScriptedUpstream, data: bytes, limit: str
) -> None:
    """Half a request is not served."""
    proxy = await start(scripted.url, **{limit: SOON})
    scripted.reads_bodies = False
    scripted.answer = then_silence(b"")
    client = await RawClient.connect(proxy.url)
    reply = await client.ask(data)

    assert said(reply) == TOO_SLOW
    assert reply.header("Connection") == "close"
    assert await client.is_closed()
    await client.close()
    await eventually(lambda: proxy.app.pool.in_use == 0)


async def test_an_idle_client_is_closed_without_a_word(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """A 408 out of nothing would be taken for the answer to the next request."""
    proxy = await start(scripted.url, client_idle_seconds=SOON)
    fresh = await RawClient.connect(proxy.url)
    used = await RawClient.connect(proxy.url)
    await used.ask(request(USERS))

    assert await fresh.is_closed()
    assert await used.is_closed()
    for client in (fresh, used):
        await client.close()


async def test_a_client_that_does_not_read_is_cut_off(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """It holds a connection to WeChat meanwhile; both end."""
    proxy = await start(scripted.url, client_stall_seconds=SOON)
    scripted.answer = ok(b"x" * (32 << 20))
    client = await RawClient.connect(proxy.url)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a socket's
    await client.send(request("/cgi-bin/media/get"))

    await eventually(lambda: len(scripted.requests) == 1)
    await eventually(lambda: not proxy.app.server.connections_open)
    assert proxy.app.pool.in_use == proxy.app.pool.idle == 0
    assert await metric(proxy, "wxproxy_client_gone_total", stage="reply") == 1
    client.leave()


async def test_a_slow_client_that_keeps_reading_is_served(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """Only a standstill counts, however long the whole takes."""
    proxy = await start(
        scripted.url, client_stall_seconds=0.8, reply_gap_seconds=0.8, client_idle_seconds=0.8
    )
    size = 12 << 20
    scripted.answer = ok(b"x" * size)
    client = await RawClient.connect(proxy.url)
    await client.send(request("/cgi-bin/media/get"))
    await client.reader.readuntil(b"\r\n\r\n")
    taken = 0
    while taken < size:
        taken += len(await client.reader.readexactly(min(1 << 20, size - taken)))
        await asyncio.sleep(0.1)  # 1.2 s in all: more than each limit

    assert taken == size
    await client.close()
