"""wxproxy.body: bodies are kept within a shared budget, in memory or in a nameless file."""

import asyncio
import os
from pathlib import Path

import pytest

from wxproxy.body import BodyKeeper, KeptBody
from wxproxy.errors import RequestRefused


def _keeper(tmp_path: Path, **changed: int) -> BodyKeeper:
    sizes = {"memory_each": 10, "memory_all": 15, "spool_each": 40, "spool_all": 60, **changed}
    return BodyKeeper(**sizes, spool_dir=str(tmp_path))


async def _all(kept: KeptBody) -> bytes:
    return b"".join([chunk async for chunk in kept.chunks()])


async def test_a_small_body_stays_in_memory_and_gives_its_room_back(tmp_path: Path) -> None:
    """What fits is kept in memory, in order, and closing returns the room once."""
    keeper = _keeper(tmp_path)
    kept = keeper.in_memory(6)
    assert kept is not None
    await kept.add(b"abc")
    await kept.add(b"def")

    assert b"abcdef" == kept.content() == await _all(kept)
    assert keeper.memory_left == 9
    kept.close()
    kept.close()
    assert keeper.memory_left == 15


@pytest.mark.parametrize(("size", "taken"), [(11, 0), (8, 8)], ids=["each", "all"])
async def test_no_room_in_memory_is_said_before_anything_is_read(
    tmp_path: Path, size: int, taken: int
) -> None:
    """Neither limit of memory can be exceeded, of one body or of all."""
    keeper = _keeper(tmp_path)
    assert not taken or keeper.in_memory(taken)

    assert keeper.in_memory(size) is None


async def test_a_growing_body_moves_to_a_file_that_nobody_can_name(tmp_path: Path) -> None:
    """Past the memory limit the body goes on in a file without a name, and comes back whole."""
    keeper = _keeper(tmp_path)
    kept = keeper.growing()
    for chunk in (b"0123456789", b"abcdefghij", b"ABCDEFGHIJ"):
        await kept.add(chunk)

    assert not kept.is_in_memory
    assert list(tmp_path.iterdir()) == []
    assert (keeper.memory_left, keeper.spool_left) == (15, 30)
    assert b"0123456789abcdefghijABCDEFGHIJ" == await _all(kept) == await _all(kept)
    kept.close()
    assert keeper.spool_left == 60


async def test_a_growing_body_that_finds_no_room_is_refused_as_too_large(tmp_path: Path) -> None:
    """A chunked body beyond the file limit is a 413, and its room is free again after."""
    keeper = _keeper(tmp_path)
    kept = keeper.growing()
    with pytest.raises(RequestRefused) as refused:
        for _ in range(5):
            await kept.add(b"0123456789")

    assert (refused.value.status, refused.value.code) == (413, "body_too_large")
    kept.close()
    assert (keeper.memory_left, keeper.spool_left) == (15, 60)


@pytest.mark.parametrize("earlier", [b"", b"e" * 100_000], ids=["first", "second"])
async def test_an_interrupted_write_is_finished_before_the_next(
    tmp_path: Path, earlier: bytes
) -> None:
    """Cancelling a writer tears and loses no chunk: what was begun ends, then the rest follows."""
    keeper = _keeper(tmp_path, spool_each=1 << 20, spool_all=1 << 20)
    kept = keeper.in_file(300_000)
    assert kept is not None
    if earlier:
        await kept.add(earlier)
    first = asyncio.ensure_future(kept.add(b"a" * 100_000))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    await kept.add(b"b" * 100_000)

    assert await _all(kept) == earlier + b"a" * 100_000 + b"b" * 100_000
    assert kept.size == 200_000 + len(earlier)
    kept.close()


async def test_a_directory_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    """The caller learns that nothing can be kept; the budget is whole after closing."""
    keeper = BodyKeeper(
        memory_each=1, memory_all=1, spool_each=9, spool_all=9, spool_dir=str(tmp_path / "none")
    )
    kept = keeper.in_file(5)
    assert kept is not None
    with pytest.raises(OSError, match="none"):
        await kept.add(b"hello")
    kept.close()

    assert keeper.spool_left == 9


async def test_closing_releases_the_file_descriptor(tmp_path: Path) -> None:
    """No descriptor is left open by a kept body."""
    keeper = _keeper(tmp_path)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    kept = keeper.in_file(10)
    assert kept is not None
    await kept.add(b"0123456789")
    kept.close()

    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert before == after
