"""WeChat's reply on its way to the client: read for a look, sent in one write, or streamed."""

from typing import Any

from aiohttp import ClientError
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from wxproxy.errors import UpstreamError
from wxproxy.exchange import Answer, Exchange
from wxproxy.headers import ReplyHead
from wxproxy.replies import END_OF_CHUNKS, as_chunk, connection_line, status_line
from wxproxy.schedule import Token
from wxproxy.streams import rest_in_hand

_WITHOUT_BODY = frozenset({204, 304})
_BROKEN = (ClientError, HttpProcessingError, OSError, RuntimeError)
_BROKE_OFF = "WeChat's reply broke off"


class Relay:
    """Passes replies on.

    Args:
        reply_gap_s: longest gap between bytes of a reply.
    """

    def __init__(self, reply_gap_s: float) -> None:
        self._reply_gap_s = reply_gap_s

    async def read_up_to(
        self, x: Exchange, payload: StreamReader, limit: int, *, only_json: bool = False
    ) -> tuple[bytes, bool]:
        """Read until past ``limit`` bytes; give them, and whether that is the whole reply.

        Args:
            only_json: stop as soon as it cannot be a JSON object.

        Raises:
            UpstreamError: it broke off.
        """
        content = b""
        while len(content) <= limit:
            chunk = await self._next_chunk(x, payload)
            if not chunk:
                return content, True
            content += chunk
            if only_json and not _may_be_json(content):
                break
        return content, payload.at_eof()

    @staticmethod
    def in_hand(payload: StreamReader) -> bytes:
        """The rest of a reply that has come in to its end.

        Raises:
            UpstreamError: it came in broken.
        """
        try:
            return rest_in_hand(payload)
        except _BROKEN:
            raise UpstreamError(_BROKE_OFF) from None

    def send(self, x: Exchange, token: Token | None, answer: Answer) -> None:
        """Send a reply that is wholly in hand, in one write.

        Raises:
            ClientGone: the client left.
        """
        if x.message.method == "HEAD" or answer.status in _WITHOUT_BODY:
            framing = _length_line(answer.head.content_length)
        else:
            framing = b"Content-Length: %d\r\n" % len(answer.content)
        head = _reply_head(x, token, answer.status, answer.reason, answer.head, framing)
        x.connection.write(head + answer.content)

    async def stream(
        self,
        x: Exchange,
        token: Token | None,
        message: Any,
        reply: ReplyHead,
        payload: StreamReader,
        begun: bytes,
    ) -> None:
        """Pass a reply on as it comes, at the client's pace; ``begun`` was read already.

        Raises:
            UpstreamError: it broke off; its head may have been sent.
            ClientGone: the client left.
        """
        connection = x.connection
        chunked = False
        if reply.content_length is not None:
            framing = _length_line(reply.content_length)
        elif x.message.version >= (1, 1):
            chunked = True
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            connection.keeps_alive = False  # its end is the connection's end
            framing = b""
        connection.write(_reply_head(x, token, message.code, message.reason, reply, framing))
        connection.expect_much()
        chunk = begun or await self._next_chunk(x, payload)
        while chunk:
            connection.write(as_chunk(chunk) if chunked else chunk)
            await connection.drain()
            chunk = await self._next_chunk(x, payload)
        if chunked:
            connection.write(END_OF_CHUNKS)

    async def _next_chunk(self, x: Exchange, payload: StreamReader) -> bytes:
        x.connection.wait_for(payload, self._reply_gap_s)
        try:
            return await payload.readany()
        except UpstreamError:
            raise
        except _BROKEN:
            raise UpstreamError(_BROKE_OFF) from None


def _reply_head(
    x: Exchange, token: Token | None, status: int, reason: str, reply: ReplyHead, framing: bytes
) -> bytes:
    connection = x.connection
    if not connection.has_whole_request or connection.server.draining:
        connection.keeps_alive = False
    connection.replied = True
    x.status = status
    attempts = b"X-Wxproxy-Attempts: 2\r\n" if x.attempts == 2 else b"X-Wxproxy-Attempts: 1\r\n"
    token_line = f"X-Wxproxy-Token-Id: {token.id}\r\n\r\n".encode() if token else b"\r\n"
    return b"".join(
        (
            status_line(status, reason),
            reply.forward,
            framing,
            connection_line(connection.version, keeps_alive=connection.keeps_alive),
            attempts,
            token_line,
        )
    )


def _may_be_json(content: bytes) -> bool:
    """Whether it may begin a JSON object."""
    begun = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    return not begun or begun[:1] == b"{"


def _length_line(length: int | None) -> bytes:
    return b"" if length is None else b"Content-Length: %d\r\n" % length
