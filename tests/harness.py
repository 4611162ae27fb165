"""A sidecar in the test's own process, and a client that speaks raw HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from wxproxy.app import App
from wxproxy.config import load
from wxproxy.logs import Redactor

APPID = "wxsandbox0000000001"
SECRET = "sandbox-secret-1"


@dataclass
class Sidecar:
    """A running App.

    Attributes:
        url: base URL of the proxy listener.
        ops: base URL of the ops listener.
        leaves_nothing: whether stop() asserts that nothing is left in use.
    """

    app: App
    leaves_nothing: bool = field(default=True)

    @property
    def url(self) -> str:
        return self.app.proxy_addresses[-1]

    @property
    def ops(self) -> str:
        return self.app.ops_address

    @property
    def account(self) -> str:
        return self.app.accounts[0].name

    async def stop(self) -> None:
        try:
            if self.leaves_nothing:
                limits = self.app.settings.limits
                await eventually(lambda: self.app.pool.in_use == self.app.proxy.in_flight == 0)
                assert self.app.bodies.memory_left == limits.replay_memory_total_bytes
                assert self.app.bodies.spool_left == limits.spool_total_bytes
        finally:
            # uvloop never ends the loop of a test that leaves a listener open.
            await self.app.close()


async def eventually(holds: Any, *, seconds: float = 5.0) -> None:
    """Wait until a condition holds; fails when it does not within the time."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


async def start_sidecar(
    upstream: str,
    *,
    clock: Any = None,
    redactor: Any = None,
    **settings: object,
) -> Sidecar:
    """Start a sidecar for the sandbox's first app, or for the accounts of ``config``, a path.

    ``clock`` is a wxproxy.clock.Clock in place of the machine's, ``redactor`` the one of the logs.
    """
    environment = {
        "WXPROXY_LISTEN": "127.0.0.1:0",
        "WXPROXY_OPS_LISTEN": "127.0.0.1:0",
        **{f"WXPROXY_{key.upper()}": str(value) for key, value in settings.items()},
    }
    if "config" not in settings:
        account = {"APPID": APPID, "SECRET": SECRET, "UPSTREAM": upstream}
        environment = {f"WXPROXY_{key}": value for key, value in account.items()} | environment
    app = App(load({}, environment), clock=clock, redactor=redactor or Redactor())
    await app.start()
    return Sidecar(app)


@dataclass
class RawReply:
    """A reply as it came.

    Attributes:
        headers: pairs in order, names as sent.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} came twice"
        return found[0] if found else None


class RawClient:
    """One connection on which bytes are sent exactly as given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, url: str) -> "RawClient":
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, data: bytes, *, to_head: bool = False) -> RawReply:
        await self.send(data)
        return await self.reply(to_head=to_head)

    async def reply(self, *, to_head: bool = False) -> RawReply:
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            pairs = [line.partition(": ") for line in head[1:] if line]
            headers = [(name, value) for name, _, value in pairs]
            named = {name.lower(): value for name, value in headers}
            body = b""
            if not to_head and status not in (204, 304) and status >= 200:
                body = await self._body(named)
            return RawReply(status, headers, body)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") == "chunked":
            return b"".join([chunk async for chunk in self._chunks()])
        return await self.reader.read()

    async def _chunks(self) -> Any:
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            yield await self.reader.readexactly(size)
            assert await self.reader.readline() == b"\r\n"
        assert await self.reader.readline() == b"\r\n"

    async def is_closed(self, *, seconds: float = 5.0) -> bool:
        """Whether the sidecar closes the connection without a further byte."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    def leave(self) -> None:
        """Go away at once, with a reset."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[RawClient]:
    """One raw connection, closed at the end whatever happens."""
    client = await RawClient.connect(url)
    try:
        yield client
    finally:
        await client.close()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Data in pieces of at most this size."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
