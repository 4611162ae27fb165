"""What a reply says about the token, and what may be sent a second time: the narrow cases."""

import asyncio

import pytest

from tests.conftest import SidecarFactory
from tests.harness import RawClient, Sidecar, connection, eventually
from tests.upstreams import Received, ScriptedUpstream, ok
from tests.wire import metric, request
from wxproxy.sandbox import Sandbox

PATH = "/cgi-bin/user/get"
PROOF = "/cgi-bin/openapi/quota/get"
APPID = "wxsandbox0000000001"
REJECTED = b'{"errcode":40001,"errmsg":"invalid credential"}'


@pytest.mark.parametrize("silent", ["HEAD", "empty", "unreadable"])
async def test_a_reply_that_says_nothing_is_no_evidence(
    start: SidecarFactory, sandbox: Sandbox, silent: str
) -> None:
    """A dead token is replaced although calls that say nothing about it keep coming back."""
    sidecar = await start(sandbox.url)
    async with connection(sidecar.url) as client, connection(sidecar.url) as other:
        await client.ask(request(PATH))
        sandbox.revoke(APPID, insist=True)
        sandbox.fault(PROOF, delay_s=0.3)
        if silent == "empty":
            sandbox.fault("/cgi-bin/menu/get", body="")
        elif silent == "unreadable":
            sandbox.fault("/cgi-bin/menu/get", body="{}", headers={"Content-Encoding": "br"})
        asking = asyncio.ensure_future(client.ask(request(PATH)))
        await eventually(lambda: sandbox.seen(PROOF))
        method = "HEAD" if silent == "HEAD" else "GET"
        await other.ask(request("/cgi-bin/menu/get", method=method), to_head=silent == "HEAD")
        reply = await asking

    assert (reply.header("X-Wxproxy-Attempts"), b"errcode" in reply.body) == ("2", False)


async def test_a_second_rejection_passes_through(
    proxy: Sidecar, scripted: ScriptedUpstream
) -> None:
    """Two tokens rejected in a row make two arrivals, never a third."""
    scripted.tokens = [f"84_{n}" + "token" * 27 for n in range(9)]
    scripted.answer = ok(REJECTED)
    async with connection(proxy.url) as client:
        reply = await client.ask(request(PATH))

    arrived = [one for one in scripted.requests if one.target.startswith(PATH)]
    assert (len(arrived), reply.header("X-Wxproxy-Attempts")) == (2, "2")
    assert reply.body == REJECTED


async def _reuse_and_die(
    client: RawClient, scripted: ScriptedUpstream, last_words: bytes, data: bytes
) -> int:
    """Use a pooled connection once more, whose end says ``last_words``; how often it arrived."""
    assert (await client.ask(request(PATH))).status == 200

    async def die(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(last_words)
        await writer.drain()
        scripted.answer = ok()
        return False

    scripted.answer = die
    before = len(scripted.requests)
    await client.ask(data)
    return len(scripted.requests) - before


@pytest.mark.parametrize(
    ("last_words", "data", "arrivals"),
    [
        (b"", request(PATH), 2),
        (b"", request("/cgi-bin/message/custom/send", method="POST", body=b"{}"), 1),
        (b"HTTP/1.1 200 O", request(PATH), 1),
    ],
    ids=["GET", "POST", "GET that was begun to be answered"],
)
async def test_only_a_get_that_was_not_answered_at_all_is_sent_again(
    proxy: Sidecar, scripted: ScriptedUpstream, last_words: bytes, data: bytes, arrivals: int
) -> None:
    """On a pooled connection that turns out dead, nothing else may be sent twice."""
    async with connection(proxy.url) as client:
        assert await _reuse_and_die(client, scripted, last_words, data) == arrivals

    resent = await metric(proxy, "wxproxy_retries_total", reason="connection", outcome="ok")
    assert resent == arrivals - 1


@pytest.mark.parametrize("body", [b'{"a":1', b"x" * 20_000], ids=["small", "streamed"])
async def test_a_reply_whose_chunks_break_ends_at_once(
    proxy: Sidecar, scripted: ScriptedUpstream, body: bytes
) -> None:
    """Broken framing after the first piece is told, or cut off, without waiting for a limit."""

    async def break_off(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body)
        )
        await writer.drain()
        await asyncio.sleep(0.05)  # a segment of its own
        writer.write(b"no size\r\n")
        await writer.drain()
        await reader.read()
        return False

    scripted.answer = break_off
    async with asyncio.timeout(5), connection(proxy.url) as client:
        if body.startswith(b"{"):
            reply = await client.ask(request(PATH))
            assert (reply.status, reply.header("X-Wxproxy-Error")) == (502, "upstream_broken")
        else:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
                await client.ask(request(PATH))


@pytest.mark.parametrize("path", [PATH, "/cgi-bin/token"])
async def test_a_clients_broken_chunk_is_a_bad_request_at_once(proxy: Sidecar, path: str) -> None:
    """Malformed framing in the middle of a body gets its 400 without waiting for more."""
    async with asyncio.timeout(5), connection(proxy.url) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: wx\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head.encode() + b"2\r\n{}\r\n")
        await asyncio.sleep(0.05)  # a segment of its own
        reply = await client.ask(b"no size\r\n")

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (400, "bad_request")
