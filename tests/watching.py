"""Watches all that a sidecar says, for secrets: logs at debug level, replies, ops pages."""

import asyncio
import gc
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness import SECRET, RawClient, Sidecar
from tests.upstreams import TOKEN
from tests.wire import request
from wxproxy.logs import Redactor, TextFormatter, configure

# Looks like a token of WeChat's and is known to nobody.
CANARY = "84_Canary0known0to0nobody" + "-c4n4ry_" * 14
# What a sidecar in front of the scripted upstream holds.
LIVE = (TOKEN, TOKEN[3:23], SECRET)
CLOSE = "Connection: close"


class Watch:
    """What was said.

    Attributes:
        redactor: to be given to the sidecar that is watched.
        hidden: what must not be said, besides what ``is_silent`` gets.
    """

    def __init__(self) -> None:
        self.redactor = Redactor()
        self.hidden = {CANARY, CANARY[4:24]}
        self._log = io.StringIO()
        self._said: list[bytes] = []

    @contextmanager
    def logs(self) -> Iterator[None]:
        """Take all logs of the process, every level, in both formats, until the end."""
        root, ours = logging.getLogger(), logging.getLogger("wxproxy")
        kept = root.handlers[:], root.level, ours.level
        configure(level="debug", log_format="json", stream=self._log, redactor=self.redactor)
        as_text = logging.StreamHandler(self._log)
        as_text.setFormatter(TextFormatter(self.redactor))
        root.addHandler(as_text)
        try:
            yield
        finally:
            root.handlers[:], root.level, ours.level = kept

    @property
    def logged(self) -> str:
        """All lines until now."""
        return self._log.getvalue()

    async def ask(self, url: str, data: bytes) -> bytes:
        """Send bytes, end the sending side, and read all that comes back."""
        client = await RawClient.connect(url)
        try:
            await client.send(data)
            async with asyncio.timeout(10):
                said = await client.reader.readuntil(b"\r\n\r\n")
                client.writer.write_eof()
                said += await client.reader.read()
        finally:
            await client.close()
        self._said.append(said)
        return said

    async def is_silent(self, sidecar: Sidecar, *hidden: str) -> None:
        """Assert that none of what is hidden was said, nor is by the ops listener now."""
        gc.collect()  # exceptions that nobody retrieved are logged by their finaliser
        await asyncio.sleep(0)
        for path in ("/metrics", "/status", "/", "/startupz"):
            await self.ask(sidecar.ops, request(path, CLOSE))
        account = sidecar.app.accounts[0]
        spoken = self.logged + b"\n".join(self._said).decode("latin-1")
        for secret in self.hidden | {account.placeholder, account.placeholder[4:24], *hidden}:
            assert secret not in spoken
