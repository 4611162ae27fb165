"""The bell that callers of the keeper wait for."""

import asyncio

from tests.fakes import FakeClock, settle
from wxproxy.clock import SystemClock
from wxproxy.keeping import Bell


async def test_a_ring_wakes_all_who_wait() -> None:
    """Five thousand waiters cost one ring."""
    bell = Bell(SystemClock())
    waiting = [asyncio.create_task(bell.wait(60.0)) for _ in range(5000)]
    await settle()

    bell.ring()
    done, pending = await asyncio.wait(waiting, timeout=5.0)

    assert (len(done), len(pending)) == (5000, 0)


async def test_a_wait_ends_with_its_time() -> None:
    """Nobody waits longer than asked for, rung or not."""
    clock = FakeClock()
    bell = Bell(clock)
    waiting = asyncio.create_task(bell.wait(3.0))
    await settle()
    assert not waiting.done()

    clock.advance(3.0)
    await settle()

    assert waiting.done()
    bell.ring()


async def test_a_waiter_that_leaves_disturbs_nobody() -> None:
    """Cancelling one wait neither ends nor breaks another's."""
    bell = Bell(FakeClock())
    leaving = asyncio.create_task(bell.wait(3.0))
    staying = asyncio.create_task(bell.wait(3.0))
    await settle()
    leaving.cancel()
    await settle()
    assert not staying.done()

    bell.ring()
    await settle()

    assert staying.done()
