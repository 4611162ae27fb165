"""Clients that leave, at each stage of a request: counted, and nothing abandoned is sent."""

import asyncio
import json

import pytest

from tests.conftest import SidecarFactory
from tests.harness import RawClient, Sidecar, eventually
from tests.upstreams import Received, ScriptedUpstream, ok
from tests.wire import ask_once, metric, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID

USERS = "/cgi-bin/user/get"
MESSAGE = "/cgi-bin/message/custom/send"
STABLE = "/cgi-bin/stable_token"
LARGE = 4 << 20


def running() -> set[asyncio.Task[None]]:
    """The sidecar's own tasks: those that it named, and one for each client connection."""
    return {
        task
        for task in asyncio.all_tasks()
        if task.get_name().startswith("wxproxy-")
        or getattr(task.get_coro(), "__qualname__", "") == "ClientConnection.start"
    }


class Leaver:
    """A client that leaves, and what must be left of it."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        self.tasks = running()
        self.clients: list[RawClient] = []

    async def begin(self, data: bytes) -> RawClient:
        """Send bytes on a connection of its own."""
        client = await RawClient.connect(self.sidecar.url)
        await client.send(data)
        self.clients.append(client)
        return client

    async def is_served(self) -> None:
        """Wait until every client's request is being worked on."""
        await eventually(lambda: self.sidecar.app.proxy.in_flight == len(self.clients))

    async def leave(self) -> None:
        """Cut every connection, and wait until the sidecar knows."""
        for client in self.clients:
            client.leave()
        open_now = self.sidecar.app.server.connections_open
        await eventually(lambda: all(one.is_gone for one in open_now))

    async def is_forgotten(self, stage: str) -> None:
        """Wait until all is over; assert the count of the stage, and that nothing is left."""
        app = self.sidecar.app
        await eventually(lambda: app.proxy.in_flight == 0 and running() <= self.tasks)
        counted = await metric(self.sidecar, "wxproxy_client_gone_total", stage=stage)
        assert counted == len(self.clients)
        assert app.pool.in_use == 0
        assert not app.server.connections_open


@pytest.fixture
async def leaver(proxy: Sidecar) -> Leaver:
    """Clients of the sidecar in front of the scripted upstream, which has its token."""
    await proxy.app.keepers[proxy.account].token()
    return Leaver(proxy)


def _upload(size: int, *, sent: int) -> bytes:
    return request(MESSAGE, f"Content-Length: {size}", method="POST") + b"x" * sent


INCOMPLETE = {
    "small body": _upload(100, sent=10),
    "no byte of a small body": _upload(100, sent=0),
    "chunked body": request(MESSAGE, "Transfer-Encoding: chunked", method="POST") + b"5\r\nhel",
    "token call": request(STABLE, "Content-Length: 100", method="POST") + b"{",
}


@pytest.mark.parametrize("data", INCOMPLETE.values(), ids=INCOMPLETE)
async def test_a_client_that_leaves_during_its_body_sends_nothing(
    leaver: Leaver, scripted: ScriptedUpstream, data: bytes
) -> None:
    """Half a message is none."""
    await leaver.begin(data)
    await leaver.is_served()
    await leaver.leave()

    await leaver.is_forgotten("body")
    assert scripted.requests == []


async def test_a_client_that_leaves_during_a_streamed_upload_ends_it(
    leaver: Leaver, scripted: ScriptedUpstream
) -> None:
    """WeChat sees the connection break: it can never take half a file for a whole one."""
    scripted.reads_bodies = False
    arrived = asyncio.Event()
    broken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def read_on(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        arrived.set()
        try:
            await reader.readexactly(LARGE)
        except asyncio.IncompleteReadError as exc:
            broken.set_result(len(exc.partial))
        return False

    scripted.answer = read_on
    await leaver.begin(_upload(LARGE, sent=LARGE // 2))
    await arrived.wait()
    await leaver.leave()

    await leaver.is_forgotten("body")
    assert await broken <= LARGE // 2
    assert leaver.sidecar.app.pool.idle == 0


async def test_nothing_is_sent_for_clients_that_left_while_a_token_was_fetched(
    start: SidecarFactory, sandbox: Sandbox
) -> None:
    """After an outage the requests of hours may wait: only those of present callers go out."""
    sandbox.fault(STABLE, delay_s=0.3, times=1)
    sidecar = await start(sandbox.url)
    leaver = Leaver(sidecar)
    for _ in range(20):
        await leaver.begin(request(MESSAGE, method="POST", body=b"{}"))
    await leaver.is_served()
    await leaver.leave()

    await leaver.is_forgotten("token")
    assert sandbox.token(APPID)
    assert sandbox.seen(MESSAGE) == []
    assert sandbox.token_calls(APPID).fetches == 1


async def test_nothing_is_sent_for_a_client_that_left_while_it_waited_for_a_connection(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """With all connections in use, the waiting request is dropped when its turn comes."""
    sidecar = await start(scripted.url, upstream_connections=1)
    may_answer = asyncio.Event()

    async def late(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await may_answer.wait()
        writer.write(ok())
        return True

    scripted.answer = late
    first = await RawClient.connect(sidecar.url)
    await first.send(request(USERS))
    await eventually(lambda: len(scripted.requests) == 1)
    leaver = Leaver(sidecar)
    await leaver.begin(request(MESSAGE, method="POST", body=b"{}"))
    await eventually(lambda: sidecar.app.proxy.in_flight == 2)
    leaver.clients[0].leave()
    await eventually(lambda: any(one.is_gone for one in sidecar.app.server.connections_open))
    may_answer.set()

    assert (await first.reply()).status == 200
    await first.close()
    await eventually(lambda: not sidecar.app.server.connections_open)
    await leaver.is_forgotten("connect")
    assert [seen.target.partition("?")[0] for seen in scripted.requests] == [USERS]


async def test_nothing_is_sent_again_for_a_client_that_left_before_the_retry(
    sidecar: Sidecar, sandbox: Sandbox
) -> None:
    """The first try was refused with 40001; by the time of a new token nobody waits."""
    await ask_once(sidecar.url, request(USERS))
    sandbox.revoke(APPID)
    sandbox.fault(STABLE, delay_s=0.3, times=1)
    leaver = Leaver(sidecar)
    await leaver.begin(request(MESSAGE, method="POST", body=b'{"touser":"o1"}'))
    await eventually(lambda: sandbox.seen(STABLE)[1:] != [])
    await leaver.leave()

    await leaver.is_forgotten("retry")
    assert [seen.errcode for seen in sandbox.seen(MESSAGE)] == [40001]


async def _left_during_reply(
    leaver: Leaver, scripted: ScriptedUpstream, *, first: bytes, then: bytes
) -> None:
    """Leave when ``first`` of the reply was written; the upstream then writes the rest."""
    writing = asyncio.Event()
    may_go_on = asyncio.Event()

    async def slowly(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(first)
        writing.set()
        await may_go_on.wait()
        writer.write(then)
        return True

    scripted.answer = slowly
    await leaver.begin(request(USERS))
    await writing.wait()
    await leaver.is_served()
    await leaver.leave()
    may_go_on.set()
    await leaver.is_forgotten("reply")


async def test_a_short_reply_is_read_to_its_end_and_the_connection_kept(
    leaver: Leaver, scripted: ScriptedUpstream
) -> None:
    """A reply of known length up to 1 MiB costs less than another TLS handshake."""
    whole = ok(b"x" * 500_000)
    await _left_during_reply(leaver, scripted, first=b"", then=whole)

    assert leaver.sidecar.app.pool.idle == 1
    scripted.answer = ok(b'{"mine":1}')
    assert (await ask_once(leaver.sidecar.url, request(USERS))).body == b'{"mine":1}'
    assert len({one.connection for one in scripted.requests}) == 1


UNWORTHY = {
    "over 1 MiB": (b"", ok(b"x" * (1 << 20) + b"y")),
    "unknown length": (b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    "streaming": (b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + b"x" * 60_000, b"x" * 9),
}


@pytest.mark.parametrize(("first", "then"), UNWORTHY.values(), ids=UNWORTHY)
async def test_a_long_reply_ends_with_its_client(
    leaver: Leaver, scripted: ScriptedUpstream, first: bytes, then: bytes
) -> None:
    """Nobody reads it: the connection to WeChat is closed, not kept half read."""
    await _left_during_reply(leaver, scripted, first=first, then=then)

    assert leaver.sidecar.app.pool.idle == 0


async def test_a_client_that_leaves_while_it_does_not_read_ends_its_download(
    leaver: Leaver, scripted: ScriptedUpstream
) -> None:
    """A download that waits for a slow reader ends when that reader goes."""
    scripted.answer = ok(b"x" * (32 << 20))
    client = await leaver.begin(request("/cgi-bin/media/get"))
    await client.reader.readuntil(b"\r\n\r\n")
    open_now = leaver.sidecar.app.server.connections_open
    await eventually(lambda: any(one.writing_paused for one in open_now))
    await leaver.leave()

    await leaver.is_forgotten("reply")
    assert leaver.sidecar.app.pool.idle == 0


async def test_requests_are_refused_within_the_token_wait_while_no_token_endpoint_answers(
    start: SidecarFactory, sandbox: Sandbox
) -> None:
    """The application starts after the startup wait all the same, and is told what is wrong."""
    sandbox.fault(STABLE, hold=True, times=None)
    sidecar = await start(sandbox.url, token_wait_seconds=0.2, startup_wait_seconds=1)
    assert await _probe(sidecar, "/startupz") == 503
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    reply = await ask_once(sidecar.url, request(USERS))

    assert 0.2 <= loop.time() - asked_at < 1.5
    assert (reply.status, reply.header("X-Wxproxy-Error")) == (503, "no_token")
    assert json.loads(reply.body)["errcode"] == -60503
    assert int(reply.header("Retry-After") or 0) >= 1
    assert await _probe(sidecar, "/readyz") == 200
    await eventually(lambda: sidecar.app.state.startup_settled)
    assert await _probe(sidecar, "/startupz") == 200
    assert sandbox.seen(USERS) == []


async def _probe(sidecar: Sidecar, path: str) -> int:
    return (await ask_once(sidecar.ops, request(path))).status
