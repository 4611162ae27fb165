"""A client of the sandbox for its own tests, and the clock that they turn."""

import asyncio
import io
import json
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import AGENT_SECRET, APPID, CORPID, SECRET


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Client:
    """Calls a sandbox as an application would."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session

    async def call(
        self, target: str, data: Any = None, *, method: str = "", **options: Any
    ) -> tuple[int, str, bytes]:
        """Status, content type and body; an object is posted as JSON, bytes as they are."""
        if data is not None and not isinstance(data, bytes | aiohttp.FormData):
            data = json.dumps(data).encode()
        if isinstance(data, bytes):
            data = io.BytesIO(data)
        method = method or ("GET" if data is None else "POST")
        async with self.session.request(
            method, self.sandbox.url + target, data=data, **options
        ) as reply:
            return reply.status, reply.headers.get("Content-Type", ""), await reply.read()

    async def json(self, target: str, data: Any = None, **options: Any) -> Any:
        """The reply's JSON, whatever its content type."""
        _, _, body = await self.call(target, data, **options)
        return json.loads(body)

    async def classic(self, *, appid: str = APPID, secret: str = SECRET) -> Any:
        """A classic fetch."""
        query = f"grant_type=client_credential&appid={appid}&secret={secret}"
        return await self.json(f"/cgi-bin/token?{query}")

    async def stable(self, *, force: bool = False, secret: str = SECRET) -> Any:
        """A stable fetch."""
        body = {"grant_type": "client_credential", "appid": APPID, "secret": secret}
        return await self.json("/cgi-bin/stable_token", {**body, "force_refresh": force})

    async def gettoken(self, *, corpid: str = CORPID, secret: str = AGENT_SECRET) -> Any:
        """WeCom's fetch."""
        return await self.json(f"/cgi-bin/gettoken?corpid={corpid}&corpsecret={secret}")

    async def token(self) -> str:
        """A stable token."""
        return str((await self.stable())["access_token"])

    async def verdict(self, token: str, path: str = "/cgi-bin/user/get?") -> int:
        """The errcode that a call with this token gets; 0 for none."""
        return int((await self.json(f"{path}access_token={token}")).get("errcode", 0))


async def raw(sandbox: Sandbox, request: bytes, *, until: bytes | None = None) -> bytes:
    """Write bytes on a new connection; what comes back until it closes, or until these bytes."""
    parts = urlsplit(sandbox.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    try:
        async with asyncio.timeout(5):
            return await (reader.readuntil(until) if until else reader.read())
    finally:
        writer.close()
        await writer.wait_closed()
