"""A client's request body: read whole where it is small or chunked, else streamed and kept."""

from collections.abc import AsyncIterator

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestPayloadError

from wxproxy.body import BodyKeeper
from wxproxy.errors import ClientGone, RequestRefused
from wxproxy.exchange import Exchange, ProxyLimits
from wxproxy.headers import RequestHead
from wxproxy.server import CONTINUE, ClientConnection
from wxproxy.streams import rest_in_hand

_BROKEN = (RequestPayloadError, HttpProcessingError)


class ClientBodies:
    """Takes in request bodies, within the limits of each and of all."""

    def __init__(self, keeper: BodyKeeper, limits: ProxyLimits) -> None:
        self._keeper = keeper
        self._limits = limits

    async def take(self, x: Exchange) -> None:
        """Read the body whole where it is small or chunked; else prepare to stream it.

        Raises:
            RequestRefused: it is too large, or no HTTP.
            ClientGone: the client left before its end.
        """
        length = x.head.content_length or 0
        if not length and not x.message.chunked:
            x.content = b""
            return
        if length > self._limits.body_bytes:
            raise _too_large(self._limits.body_bytes)
        accept(x.connection, x.payload, x.head)
        if x.message.chunked:
            x.kept = self._keeper.growing()
            await self.collect(x)
            x.length = x.kept.size
            x.content = x.kept.content() if x.kept.is_in_memory else None
            return
        x.length = length
        x.kept = self._keeper.in_memory(length)
        if x.kept is None:
            x.from_client = True
            x.kept = self._keeper.in_file(length)
        elif x.payload.is_eof():
            try:
                x.content = rest_in_hand(x.payload)
            except _BROKEN:
                raise _malformed() from None
        else:
            await self.collect(x)
            x.content = x.kept.content()

    async def collect(self, x: Exchange) -> None:
        """Keep what is still to come of the body.

        Raises:
            RequestRefused: it is too large, there is no room for it, or it is no HTTP.
            ClientGone: the client left before its end.
        """
        assert x.kept is not None
        while chunk := await self._next_chunk(x.connection, x.payload):
            if x.kept.size + len(chunk) > self._limits.body_bytes:
                raise _too_large(self._limits.body_bytes)
            try:
                await x.kept.add(chunk)
            except OSError:
                raise RequestRefused(
                    "the body cannot be collected: spool_dir cannot be written",
                    code="body_too_large",
                    status=413,
                ) from None
        x.connection.stop_waiting()
        x.from_client = False

    async def chunks(self, x: Exchange) -> AsyncIterator[bytes]:
        """The body as it is to be sent, kept on the way when it comes from the client."""
        if not x.from_client:
            assert x.kept is not None
            async for chunk in x.kept.chunks():
                yield chunk
            return
        while chunk := await self._next_chunk(x.connection, x.payload):
            if x.kept is not None:
                try:
                    await x.kept.add(chunk)
                except OSError:
                    kept, x.kept = x.kept, None  # the disk is full: it goes on without a retry
                    kept.close()
            yield chunk
        x.from_client = False

    async def read_small(
        self, connection: ClientConnection, payload: StreamReader, limit: int
    ) -> bytes:
        """A body that is read whole or refused.

        Raises:
            RequestRefused: it has more than ``limit`` bytes, or is no HTTP.
            ClientGone: the client left before its end.
        """
        body = b""
        while chunk := await self._next_chunk(connection, payload):
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
        connection.stop_waiting()
        return body

    async def _next_chunk(self, connection: ClientConnection, payload: StreamReader) -> bytes:
        connection.wait_for(payload, self._limits.body_gap_s)
        try:
            return await payload.readany()
        except _BROKEN:
            raise _malformed() from None
        except RuntimeError:
            # aiohttp's "Connection closed."
            raise ClientGone("the client left") from None


def accept(connection: ClientConnection, payload: StreamReader, head: RequestHead) -> None:
    """Tell a client that asked (``Expect: 100-continue``) to send its body."""
    if head.expect_continue and not payload.is_eof():
        connection.write(CONTINUE)


def _malformed() -> RequestRefused:
    return RequestRefused("the request's body is not valid HTTP/1.1")


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(
        f"the body is over the limit of {limit} bytes", code="body_too_large", status=413
    )
