"""wxproxy.upstream: which connection a request gets, and what a failure to connect says."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tests.conftest import SidecarFactory
from tests.harness import eventually
from tests.upstreams import ScriptedResolver, ScriptedUpstream
from tests.wire import ask_once, request
from wxproxy import upstream
from wxproxy.accounts import Origin
from wxproxy.errors import UpstreamError, UpstreamTimeout
from wxproxy.upstream import UpstreamPool
from wxproxy.upstream_connection import Connector, Route, UpstreamConnection


@pytest.fixture
async def pool() -> AsyncIterator[UpstreamPool]:
    """A pool of at most two connections to one upstream."""
    made = UpstreamPool(Connector(), connect_s=0.5, idle_s=15, limit=2)
    yield made
    await made.close()


async def _ready(connection: UpstreamConnection) -> UpstreamConnection:
    connection.expect_reply(to_head=False)
    return connection


async def test_the_newest_idle_connection_is_used_first(
    pool: UpstreamPool, scripted: ScriptedUpstream
) -> None:
    """The others grow old and close, instead of all being kept half warm."""
    upstream = pool.upstream(Origin.parse(scripted.url))
    older, newer = [await _ready(await upstream.open()) for _ in range(2)]
    upstream.give_back(older)
    upstream.give_back(newer)

    assert pool.idle == 2
    taken = upstream.take()
    assert taken is newer
    assert taken.reused
    upstream.give_back(newer)


async def test_a_connection_that_was_idle_too_long_is_not_used(
    scripted: ScriptedUpstream,
) -> None:
    """WeChat may have closed it at any moment; a fresh one is opened."""
    pool = UpstreamPool(Connector(), connect_s=1, idle_s=0.0, limit=2)
    upstream = pool.upstream(Origin.parse(scripted.url))
    upstream.give_back(await _ready(await upstream.open()))
    await asyncio.sleep(0.01)  # any age is past an idle limit of 0

    assert upstream.take() is None
    assert pool.idle == 0
    await pool.close()


async def test_a_connection_on_which_something_stray_came_is_not_used(
    pool: UpstreamPool, scripted: ScriptedUpstream
) -> None:
    """Nobody gets bytes that answered nobody."""
    upstream = pool.upstream(Origin.parse(scripted.url))
    connection = await _ready(await upstream.open())
    upstream.give_back(connection)
    connection.data_received(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    assert upstream.take() is None


async def test_beyond_the_limit_a_request_waits_for_a_connection(
    pool: UpstreamPool, scripted: ScriptedUpstream
) -> None:
    """The third of two places is had when one is given back, and is that very connection."""
    upstream = pool.upstream(Origin.parse(scripted.url))
    first, second = [await _ready(await upstream.open()) for _ in range(2)]
    waiting = asyncio.ensure_future(upstream.open())
    await asyncio.sleep(0)
    assert not waiting.done()
    upstream.give_back(first)
    third = await waiting

    assert third is first
    assert third.reused
    for connection in (second, third):
        upstream.give_back(connection)
    assert pool.in_use == 0


async def test_waiting_for_a_connection_is_bounded(
    pool: UpstreamPool, scripted: ScriptedUpstream
) -> None:
    """The connect limit counts the wait for a place too."""
    upstream = pool.upstream(Origin.parse(scripted.url))
    held = [await _ready(await upstream.open()) for _ in range(2)]
    with pytest.raises(UpstreamTimeout, match=r"within 0\.5 s"):
        await upstream.open()
    for connection in held:
        upstream.discard(connection)
    assert pool.in_use == 0


async def test_an_upstream_that_failed_goes_last_for_a_while(pool: UpstreamPool) -> None:
    """Requests do not each pay for the one that cannot be connected to."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    down = pool.upstream(Origin("http", "127.0.0.1", port))
    other = pool.upstream(Origin("http", "127.0.0.1", 1))
    with pytest.raises(UpstreamError) as refused:
        await down.open()

    assert refused.value.code == "upstream_unreachable"
    assert refused.value.message.startswith("cannot connect to http://127.0.0.1:")
    assert (down.is_sinking, other.is_sinking) == (True, False)


async def test_a_name_that_cannot_be_resolved_is_named() -> None:
    """The operator reads which name DNS does not know."""
    connector = Connector(resolver=ScriptedResolver([OSError("no DNS")]))
    with pytest.raises(UpstreamError, match=r"the name wx\.invalid cannot be resolved"):
        await connector.connect(connector.route(Origin("https", "wx.invalid", 443)))
    await connector.close()


async def test_calls_go_to_the_next_upstream_when_one_cannot_be_connected_to(
    start: SidecarFactory, scripted: ScriptedUpstream
) -> None:
    """Each is tried once, in the order of the configuration."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    proxy = await start(f"http://127.0.0.1:{port},{scripted.url}")
    reply = await ask_once(proxy.url, request("/cgi-bin/user/get"))

    assert reply.status == 200


class _Nowhere(asyncio.Transport):
    """A transport of which nothing is asked but whether it is open."""

    def __init__(self) -> None:
        super().__init__()
        self._closing = False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True


class _Connector(Connector):
    """Makes connections to nowhere, when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[asyncio.Future[UpstreamConnection]] = []

    async def connect(self, route: Route) -> UpstreamConnection:
        made: asyncio.Future[UpstreamConnection] = asyncio.get_running_loop().create_future()
        self.asked.append(made)
        return await made

    @property
    def _first(self) -> asyncio.Future[UpstreamConnection]:
        return next(one for one in self.asked if not one.done())

    def make(self) -> UpstreamConnection:
        """Let the first connect succeed that has not ended."""
        connection = UpstreamConnection(asyncio.get_running_loop())
        connection.connection_made(_Nowhere())
        connection.expect_reply(to_head=False)
        self._first.set_result(connection)
        return connection

    def refuse(self) -> None:
        """Let it fail."""
        self._first.set_exception(UpstreamError("refused", code="upstream_unreachable"))


class _Line:
    """Requests for a connection to one upstream, which is nowhere."""

    def __init__(self, limit: int) -> None:
        self.connector = _Connector()
        pool = UpstreamPool(self.connector, connect_s=5, idle_s=15, limit=limit)
        self.upstream = pool.upstream(Origin("http", "nowhere", 80))
        self.asking: list[asyncio.Task[UpstreamConnection]] = []

    async def ask(self, count: int) -> None:
        self.asking += [asyncio.ensure_future(self.upstream.open()) for _ in range(count)]
        await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self.asking:
            task.cancel()
        await asyncio.wait(self.asking)
        await self.connector.close()


@pytest.fixture
async def line() -> AsyncIterator[_Line]:
    """One place for all."""
    made = _Line(limit=1)
    yield made
    await made.close()
    assert made.upstream.in_use == 0


async def test_a_burst_connects_a_few_at_a_time_and_reuses_what_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests beyond the first few take warm connections instead of making as many."""
    monkeypatch.setattr(upstream, "_MINDING_SECONDS", 3600)
    line = _Line(limit=512)
    await line.ask(200)
    assert len(line.connector.asked) == 16

    first = line.connector.make()
    assert await line.asking[0] is first
    for served in range(16, 200):
        line.upstream.give_back(first)
        assert await line.asking[served] is first
    assert len(line.connector.asked) == 16

    line.upstream.give_back(first)
    await line.close()
    assert (line.upstream.in_use, line.upstream.idle) == (0, 1)


@pytest.mark.parametrize("allowed_s", [3600.0, -3600.0], ids=["loop on time", "loop always late"])
async def test_a_line_that_lasts_gets_more_connections(
    monkeypatch: pytest.MonkeyPatch, allowed_s: float
) -> None:
    """A far WeChat answers slowly, so that more at once serve more; the limit holds."""
    monkeypatch.setattr(upstream, "_MINDING_SECONDS", 0.001)
    monkeypatch.setattr(upstream, "_LATE_SECONDS", allowed_s)
    if allowed_s > 0:
        monkeypatch.setattr(upstream, "_MOST_PATIENCE_SECONDS", 1e9)
    line = _Line(limit=40)
    await line.ask(200)
    await eventually(lambda: len(line.connector.asked) == 40)
    await asyncio.sleep(0.01)  # several times the pace

    assert len(line.connector.asked) == 40
    await line.close()


async def test_a_busy_loop_does_not_connect_more_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would only be busier."""
    monkeypatch.setattr(upstream, "_MINDING_SECONDS", 0.001)
    monkeypatch.setattr(upstream, "_LATE_SECONDS", -3600.0)
    monkeypatch.setattr(upstream, "_MOST_PATIENCE_SECONDS", 1e9)
    line = _Line(limit=512)
    await line.ask(200)
    await asyncio.sleep(0.01)  # several times the pace

    assert len(line.connector.asked) == 16
    await line.close()


async def test_a_connect_that_fails_leaves_its_turn_to_the_next(line: _Line) -> None:
    """One that is refused is told so; the next tries for itself."""
    await line.ask(2)
    line.connector.refuse()
    with pytest.raises(UpstreamError, match="refused"):
        await line.asking[0]
    await asyncio.sleep(0)
    made = line.connector.make()

    assert await line.asking[1] is made
    line.upstream.discard(made)


async def test_a_request_that_is_over_leaves_the_connection_that_it_just_got(line: _Line) -> None:
    """Between being given and being got it passes on to the next, and is not lost."""
    await line.ask(3)
    made = line.connector.make()
    await line.asking[0]
    line.upstream.give_back(made)
    line.asking[1].cancel()

    assert await line.asking[2] is made
    line.upstream.give_back(made)


async def test_a_request_that_is_over_leaves_the_turn_that_it_just_got(line: _Line) -> None:
    """The one behind it connects."""
    await line.ask(3)
    line.connector.refuse()
    await asyncio.wait(line.asking[:1])
    line.asking[1].cancel()
    await asyncio.wait(line.asking[1:2])
    await asyncio.sleep(0)
    made = line.connector.make()

    assert await line.asking[2] is made
    line.upstream.give_back(made)


async def test_a_request_that_is_over_just_as_its_time_is_stays_cancelled(line: _Line) -> None:
    """Cancelling is not turned into an answer about a limit."""
    await line.ask(2)
    place, _ = line.upstream._line[0]
    place.set_exception(TimeoutError())
    line.asking[1].cancel()
    await asyncio.wait(line.asking[1:])

    assert line.asking[1].cancelled()


async def test_a_connection_that_breaks_while_it_is_handed_over_is_replaced(line: _Line) -> None:
    """Nobody writes to a connection that has ended."""
    await line.ask(2)
    broken = line.connector.make()
    await line.asking[0]
    line.upstream.give_back(broken)
    broken.connection_lost(None)
    await asyncio.sleep(0)
    made = line.connector.make()

    assert await line.asking[1] is made
    line.upstream.give_back(made)


async def test_a_sweep_closes_what_was_idle_too_long_or_broke(
    pool: UpstreamPool, scripted: ScriptedUpstream
) -> None:
    """Sockets that nobody will use again are not kept for the next request to find."""
    upstream = pool.upstream(Origin.parse(scripted.url))
    fresh, old = [await _ready(await upstream.open()) for _ in range(2)]
    transport = old.transport
    assert transport is not None
    upstream.give_back(fresh)
    upstream.give_back(old)
    old.idle_since -= 16  # the limit is 15
    pool.sweep()

    assert transport.is_closing()
    assert upstream.idle == 1
    assert upstream.take() is fresh
    upstream.give_back(fresh)
