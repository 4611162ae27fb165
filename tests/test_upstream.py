"""wxproxy.upstream: which connection a request gets, and what a failure to connect says."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tests.upstreams import ScriptedResolver, ScriptedUpstream
from wxproxy.accounts import Origin
from wxproxy.errors import UpstreamError, UpstreamTimeout
from wxproxy.upstream import UpstreamConnection, UpstreamPool


@pytest.fixture
async def pool() -> AsyncIterator[UpstreamPool]:
    """A pool of at most two connections to one upstream."""
    made = UpstreamPool(connect_s=0.5, idle_s=15, limit=2)
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
    older, newer = [await _ready(await pool.open(upstream)) for _ in range(2)]
    pool.give_back(upstream, older)
    pool.give_back(upstream, newer)

    assert pool.idle == 2
    taken = pool.take(upstream)
    assert taken is newer
    assert taken.reused
    pool.give_back(upstream, newer)


async def test_a_connection_that_was_idle_too_long_is_not_used(
    scripted: ScriptedUpstream,
) -> None:
    """WeChat may have closed it at any moment; a fresh one is opened."""
    pool = UpstreamPool(connect_s=1, idle_s=0.0, limit=2)
    upstream = pool.upstream(Origin.parse(scripted.url))
    pool.give_back(upstream, await _ready(await pool.open(upstream)))
    await asyncio.sleep(0.01)  # any age is past an idle limit of 0

    assert pool.take(upstream) is None
    assert pool.idle == 0
    await pool.close()


async def test_a_connection_on_which_something_stray_came_is_not_used(
    pool: UpstreamPool, scripted: ScriptedUpstream
) -> None:
    """Nobody gets bytes that answered nobody."""
    upstream = pool.upstream(Origin.parse(scripted.url))
    connection = await _ready(await pool.open(upstream))
    pool.give_back(upstream, connection)
    connection.data_received(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    assert pool.take(upstream) is None


async def test_beyond_the_limit_a_request_waits_for_a_connection(
    pool: UpstreamPool, scripted: ScriptedUpstream
) -> None:
    """The third of two places is had when one is given back, and is that very connection."""
    upstream = pool.upstream(Origin.parse(scripted.url))
    first, second = [await _ready(await pool.open(upstream)) for _ in range(2)]
    waiting = asyncio.ensure_future(pool.open(upstream))
    await asyncio.sleep(0)
    assert not waiting.done()
    pool.give_back(upstream, first)
    third = await waiting

    assert third is first
    assert third.reused
    for connection in (second, third):
        pool.give_back(upstream, connection)
    assert pool.in_use == 0


async def test_waiting_for_a_connection_is_bounded(
    pool: UpstreamPool, scripted: ScriptedUpstream
) -> None:
    """The connect limit counts the wait for a place too."""
    upstream = pool.upstream(Origin.parse(scripted.url))
    held = [await _ready(await pool.open(upstream)) for _ in range(2)]
    with pytest.raises(UpstreamTimeout, match=r"within 0\.5 s"):
        await pool.open(upstream)
    for connection in held:
        pool.discard(upstream, connection)
    assert pool.in_use == 0


async def test_an_upstream_that_failed_goes_last_for_a_while(pool: UpstreamPool) -> None:
    """Requests do not each pay for the one that cannot be connected to."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    down = pool.upstream(Origin("http", "127.0.0.1", port))
    other = pool.upstream(Origin("http", "127.0.0.1", 1))
    with pytest.raises(UpstreamError) as refused:
        await pool.open(down)

    assert refused.value.code == "upstream_unreachable"
    assert refused.value.message.startswith("cannot connect to http://127.0.0.1:")
    assert pool.in_order((down, other)) == (other, down)
    down.sinking_until = 0.0
    assert pool.in_order((down, other)) == (down, other)


async def test_a_name_that_cannot_be_resolved_is_named() -> None:
    """The operator reads which name DNS does not know."""
    pool = UpstreamPool(
        connect_s=1, idle_s=1, limit=1, resolver=ScriptedResolver([OSError("no DNS")])
    )
    with pytest.raises(UpstreamError, match=r"the name wx\.invalid cannot be resolved"):
        await pool.open(pool.upstream(Origin("https", "wx.invalid", 443)))
    await pool.close()


async def test_calls_go_to_the_next_upstream_when_one_cannot_be_connected_to(
    pool: UpstreamPool, scripted: ScriptedUpstream
) -> None:
    """Each is tried once, in the order of the configuration."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    down = pool.upstream(Origin("http", "127.0.0.1", port))
    up = pool.upstream(Origin.parse(scripted.url))
    for upstream in pool.in_order((down, up)):
        try:
            pool.give_back(upstream, await _ready(await pool.open(upstream)))
        except UpstreamError:
            continue

    assert pool.idle == 1
    assert pool.in_order((down, up)) == (up, down)
