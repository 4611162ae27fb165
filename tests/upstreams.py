"""An upstream whose every byte a test decides: it records requests raw and answers by script."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult

TOKEN = "84_" + "scripted-token" * 10


@dataclass
class Received:
    """One request as it came.

    Attributes:
        head: request line and headers, without the blank line.
        connection: number of the connection that it came on, from 1.
    """

    head: bytes
    body: bytes
    connection: int

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def header(self, name: bytes) -> bytes | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name!r} came twice"
        return found[0] if found else None


Answer = Callable[[Received, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


def ok(body: bytes = b'{"errcode":0,"errmsg":"ok"}', headers: bytes = b"") -> bytes:
    """A reply of 200 with a length."""
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json; encoding=utf-8\r\n"
        + headers
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


class ScriptedUpstream:
    """Answers token calls by itself, and all else with ``answer`` (bytes, or a coroutine).

    Attributes:
        requests: what came, token calls apart.
        tokens: what stable_token gives, the last one for ever.
        answer: what the next requests get. A coroutine gets the request (its body unread where
            ``reads_bodies`` is False), reader and writer, and says whether to go on.
    """

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.token_calls = 0
        self.tokens = [TOKEN]
        self.answer: bytes | Answer = ok()
        self.reads_bodies = True
        self.connections = 0
        self.open = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 20)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        self._writers.add(writer)
        try:
            while await self._one(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
        received = Received(head, b"", number)
        is_token_call = received.target.startswith("/cgi-bin/stable_token")
        if self.reads_bodies or is_token_call:
            received.body = await reader.readexactly(int(received.header(b"Content-Length") or 0))
        assert received.header(b"Transfer-Encoding") is None, "WeChat would answer 412"
        if is_token_call:
            self.token_calls += 1
            token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
            writer.write(ok(json.dumps({"access_token": token, "expires_in": 7200}).encode()))
            return True
        self.requests.append(received)
        if isinstance(self.answer, bytes):
            writer.write(self.answer)
            await writer.drain()
            return True
        return await self.answer(received, reader, writer)


class ScriptedResolver(AbstractResolver):
    """DNS whose every answer, or failure, a test decides."""

    def __init__(self, answers: list[list[ResolveResult] | OSError]) -> None:
        self._answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self._answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def close(self) -> None:
        pass
