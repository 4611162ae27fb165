"""Request bodies: read whole where small, kept on the way for a retry where not.

A body is kept in memory up to a limit each and in all, else in a nameless file (mode 0600)
that is written and read in a thread. What may be kept is a budget shared by all requests.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from wxproxy.errors import RequestRefused
from wxproxy.tasks import spawn

_A = TypeVar("_A")
_T = TypeVar("_T")

_READ_BACK_BYTES = 256 * 1024


@dataclass(slots=True)
class _Budget:
    each: int
    left: int

    def take(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True


class BodyKeeper:
    """How much of request bodies is kept in memory and in files, for all requests together."""

    def __init__(
        self,
        *,
        memory_each: int,
        memory_all: int,
        spool_each: int,
        spool_all: int,
        spool_dir: str | None,
    ) -> None:
        self._memory = _Budget(memory_each, memory_all)
        self._spool = _Budget(spool_each, spool_all)
        self._spool_dir = spool_dir

    @property
    def memory_left(self) -> int:
        """Bytes that may still be kept in memory."""
        return self._memory.left

    @property
    def spool_left(self) -> int:
        """Bytes that may still be kept in files."""
        return self._spool.left

    def in_memory(self, size: int) -> "KeptBody | None":
        """Room in memory for a body of this size, or None."""
        if size > self._memory.each or not self._memory.take(size):
            return None
        return KeptBody(self, in_memory=size, in_file=0)

    def in_file(self, size: int) -> "KeptBody | None":
        """Room in a file for a body of this size, or None."""
        if size > self._spool.each or not self._spool.take(size):
            return None
        return KeptBody(self, in_memory=0, in_file=size)

    def growing(self) -> "KeptBody":
        """A body of unknown size: room is taken as it comes."""
        return KeptBody(self, in_memory=0, in_file=0)


class KeptBody:
    """One request body, kept until ``close``; give it the chunks in order, one at a time.

    Attributes:
        size: bytes kept so far.
    """

    __slots__ = (
        "_chunks",
        "_file",
        "_file_room",
        "_in_thread",
        "_keeper",
        "_memory_room",
        "_use_file",
        "size",
    )

    def __init__(self, keeper: BodyKeeper, *, in_memory: int, in_file: int) -> None:
        self._keeper = keeper
        self._memory_room = in_memory
        self._file_room = in_file
        self._use_file = in_file > 0
        self._chunks: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._in_thread: asyncio.Future[Any] | None = None
        self.size = 0

    @property
    def is_in_memory(self) -> bool:
        """Whether ``content`` can be had without reading a file."""
        return not self._use_file

    def content(self) -> bytes:
        """The whole body, where it is in memory."""
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0] if self._chunks else b""

    async def add(self, chunk: bytes) -> None:
        """Keep one more chunk.

        Raises:
            RequestRefused: there is no room for a body of unknown size (413).
            OSError: the file cannot be written.
        """
        size = self.size + len(chunk)
        if not self._use_file and size > self._memory_room and not self._more_memory(size):
            await self._move_to_file()
        if self._use_file:
            if size > self._file_room and not self._more_file(size):
                raise RequestRefused(
                    "there is no room to collect this chunked body; send it with Content-Length,"
                    " or raise the spool limits",
                    code="body_too_large",
                    status=413,
                )
            self.size = size
            await self._run(self._write_in_thread, chunk)
        else:
            self.size = size
            self._chunks.append(chunk)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body from its beginning, in pieces of at most 256 KiB where it is in a file."""
        if not self._use_file:
            yield self.content()
            return
        position = 0
        while piece := await self._run(self._read_in_thread, position):
            position += len(piece)
            yield piece

    def close(self) -> None:
        """Give the room back and remove what is kept, as soon as no thread works on it."""
        self._keeper._memory.left += self._memory_room
        self._keeper._spool.left += self._file_room
        self._memory_room = self._file_room = 0
        self._chunks = []
        if self._in_thread is not None and not self._in_thread.done():
            self._in_thread.add_done_callback(lambda _: self._close_file())
        else:
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _more_memory(self, size: int) -> bool:
        budget = self._keeper._memory
        if size > budget.each or not budget.take(size - self._memory_room):
            return False
        self._memory_room = size
        return True

    def _more_file(self, size: int) -> bool:
        budget = self._keeper._spool
        if size > budget.each or not budget.take(size - self._file_room):
            return False
        self._file_room = size
        return True

    async def _move_to_file(self) -> None:
        self._use_file = True
        kept, self._chunks = self._chunks, []
        if not self._more_file(self.size):
            raise RequestRefused(
                "the body is too large to be collected", code="body_too_large", status=413
            )
        for chunk in kept:
            await self._run(self._write_in_thread, chunk)
        self._keeper._memory.left += self._memory_room
        self._memory_room = 0

    async def _run(self, work: Callable[[_A], _T], argument: _A) -> _T:
        """Do one thing with the file in a thread.

        Shielded and one at a time: what was begun ends before the next begins, even when whoever
        waited for it was cancelled.
        """
        before = self._in_thread
        if before is not None and not before.done():
            # Only then: a chunk whose add is cancelled here would be lost.
            await asyncio.wait((before,))
        if before is not None and not before.cancelled():
            before.exception()  # told to whoever began it
        begun = spawn(asyncio.to_thread(work, argument), name="wxproxy-spool")
        self._in_thread = begun
        return await asyncio.shield(begun)

    def _write_in_thread(self, chunk: bytes) -> None:
        if self._file is None:
            # Unbuffered, mode 0600 and without a name.
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by close()
                buffering=0, dir=self._keeper._spool_dir
            )
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    def _read_in_thread(self, position: int) -> bytes:
        assert self._file is not None
        self._file.seek(position)
        return self._file.read(_READ_BACK_BYTES)
