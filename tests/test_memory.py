"""Resident memory of a sidecar in a process of its own, under bodies far larger than it.

Linux only: the peak is read from ``/proc``.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.commands import Command, running
from tests.harness import RawClient
from tests.upstreams import Received, ScriptedUpstream, ok
from tests.wire import ask_once, request
from wxproxy.sandbox.knobs import APPID, SECRET

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")

MIB = 1 << 20
DOWNLOAD = "/cgi-bin/media/get"
UPLOAD = "/cgi-bin/media/upload"
CHUNK = b"x" * (256 * 1024)

# Both directions: what is kept does not grow with the size of a body.
GROWTH_MIB = 32


class Measured:
    """A running sidecar whose memory is watched.

    Attributes:
        url: base URL of its proxy listener.
    """

    def __init__(self, command: Command, url: str) -> None:
        self._proc = Path(f"/proc/{command.pid}")
        self.url = url

    def forget_peak(self) -> None:
        """Let the peak begin anew, and count growth from the memory of now."""
        (self._proc / "clear_refs").write_text("5")
        self._before = self._read("VmRSS")

    @property
    def growth_mib(self) -> float:
        """How far resident memory rose at its peak."""
        return (self._read("VmHWM") - self._before) / MIB

    def _read(self, key: str) -> int:
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


@asynccontextmanager
async def measured(upstream: ScriptedUpstream) -> AsyncIterator[Measured]:
    """Start a sidecar that has served a call of each kind, so that all its code is loaded."""
    settings = {
        "WXPROXY_APPID": APPID,
        "WXPROXY_SECRET": SECRET,
        "WXPROXY_UPSTREAM": upstream.url,
        "WXPROXY_LISTEN": "127.0.0.1:0",
        "WXPROXY_OPS_LISTEN": "127.0.0.1:0",
    }
    async with running("serve", env=settings) as command:
        started = json.loads((await command.says(r'\{[^\n]*"event":"started"[^\n]*\}'))[0])
        sidecar = Measured(command, started["listen"][0])
        await upload(sidecar.url, 2 * MIB)
        sidecar.forget_peak()
        yield sidecar


async def upload(url: str, size: int) -> None:
    """Send a body of this size; its answer is the length that arrived."""
    client = await RawClient.connect(url)
    await client.send(request(UPLOAD, f"Content-Length: {size}", method="POST"))
    for start in range(0, size, len(CHUNK)):
        await client.send(CHUNK[: size - start])
    reply = await client.reply()
    await client.close()
    assert json.loads(reply.body) == {"length": size}


async def take_in(
    received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Read the body without keeping it, and tell its length."""
    expected = int(received.header(b"Content-Length") or 0)
    length = 0
    while length < expected:
        length += len(await reader.read(min(len(CHUNK), expected - length)))
    writer.write(ok(b'{"length":%d}' % length))
    return True


def hand_out(size: int) -> bytes:
    """The head of a download."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: %d\r\n\r\n" % size


@pytest.fixture
async def upstream(scripted: ScriptedUpstream) -> ScriptedUpstream:
    """Takes uploads of any size, and gives downloads of ``X-Size`` bytes."""

    async def answer(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if received.target.startswith(UPLOAD):
            return await take_in(received, reader, writer)
        size = int(received.header(b"X-Size") or 0)
        writer.write(hand_out(size))
        for _ in range(size // len(CHUNK)):
            writer.write(CHUNK)
            await writer.drain()
        return True

    scripted.reads_bodies = False
    scripted.answer = answer
    return scripted


async def download(url: str, size: int, *, pauses: int = 0) -> None:
    """Read a body of this size, with so many pauses of 0.1 s in it."""
    client = await RawClient.connect(url)
    await client.send(request(DOWNLOAD, f"X-Size: {size}"))
    await client.reader.readuntil(b"\r\n\r\n")
    taken, paused = 0, 0
    while taken < size:
        data = await client.reader.read(MIB)
        assert data, "the reply broke off"
        taken += len(data)
        if taken * pauses > size * paused:
            paused += 1
            await asyncio.sleep(0.1)
    await client.close()
    assert taken == size


@pytest.mark.parametrize("pauses", [0, 20], ids=["quick reader", "slow reader"])
async def test_a_download_of_300_mb_is_not_kept(upstream: ScriptedUpstream, pauses: int) -> None:
    """WeChat is read at the client's pace: what the client has not taken is not fetched."""
    async with measured(upstream) as sidecar:
        await download(sidecar.url, 300 * MIB, pauses=pauses)

        assert sidecar.growth_mib < GROWTH_MIB


async def test_an_upload_of_64_mb_is_kept_on_disk_alone(upstream: ScriptedUpstream) -> None:
    """It is kept for a retry in a file, while it streams."""
    async with measured(upstream) as sidecar:
        await upload(sidecar.url, 64 * MIB)

        assert sidecar.growth_mib < GROWTH_MIB


async def test_200_uploads_of_1_mb_at_once_stay_within_the_limits(
    upstream: ScriptedUpstream,
) -> None:
    """16 MiB of them are kept in memory, the rest in files.

    The bound: those 16 MiB as they are kept, in the one write that sends them, and in what the
    socket has not taken of it; and for each upload two reads of 128 KiB, one in the parser's
    hands and one on its way to the file and to WeChat. All bodies are 190 MiB.
    """
    async with measured(upstream) as sidecar:
        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(upload(sidecar.url, 1_000_000))

        assert sidecar.growth_mib < 3 * 16 + 200 * (2 * 128) / 1024
        assert (await ask_once(sidecar.url, request(DOWNLOAD, "X-Size: 0"))).status == 200
