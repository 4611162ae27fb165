"""An HTTP proxy that opens tunnels by CONNECT, with Basic credentials, and fails on request."""

import asyncio
import base64
from urllib.parse import urlsplit

USER, PASSWORD = "wechat", "p@ss/w:rd-of-the-proxy"
ENCODED = f"{USER}:p%40ss%2Fw%3Ard-of-the-proxy"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class ConnectProxy:
    """Opens tunnels for who sends USER and PASSWORD.

    Attributes:
        asked: the target of each CONNECT.
        heads: each request's head as it came.
        open: connections that are open now.
        fails: the reply to every CONNECT, in place of a tunnel; b"" closes without one.
        holds: whether CONNECTs are left without an answer.
        leads_to: where every tunnel leads, or None: where the client wants.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.open = 0
        self.fails: bytes | None = None
        self.holds = False
        self.leads_to: tuple[str, int] | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def shown(self) -> str:
        """Its URL without credentials."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Its URL with credentials, as a setting takes it."""
        return f"http://{ENCODED}@127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Close the listener and every tunnel."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self._writers.add(writer)
        try:
            await self._tunnel(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        assert method == b"CONNECT"
        self.heads.append(head)
        self.asked.append(target.decode())
        if self.holds:
            await reader.read()
        if self.holds or self.fails == b"":
            return
        if self.fails is not None or not self._knows(head):
            writer.write(self.fails or refusal(407))
            await writer.drain()
            return
        parts = urlsplit(f"//{target.decode()}")
        host, port = self.leads_to or (parts.hostname, parts.port)
        there = await asyncio.open_connection(host, port)
        self._writers.add(there[1])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        finally:
            self._writers.discard(there[1])
            there[1].close()

    def _knows(self, head: bytes) -> bool:
        return f"\r\nproxy-authorization: basic {BASIC}\r\n".lower() in head.decode().lower()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends, and end the other with it."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


def refusal(status: int) -> bytes:
    """A reply that opens no tunnel."""
    return b"HTTP/1.1 %d No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nno!\r\n" % status
