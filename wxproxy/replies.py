"""What the sidecar sends to clients: heads of replies, its own answers; pure."""

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from math import ceil

from wxproxy.errors import WxProxyError

JSON_TYPE = b"Content-Type: application/json; charset=utf-8\r\n"
END_OF_CHUNKS = b"0\r\n\r\n"

# RFC 9110, 8.6: a server must not send Content-Length with these.
_WITHOUT_LENGTH = frozenset({204, 304})


@lru_cache(maxsize=128)
def status_line(code: int, reason: str) -> bytes:
    """``HTTP/1.1 200 OK``, with its line end."""
    return f"HTTP/1.1 {code} {reason}\r\n".encode("utf-8", "surrogateescape")


def connection_line(version: tuple[int, int], *, keeps_alive: bool) -> bytes:
    """The Connection header where the version's own default would mislead the client."""
    if version >= (1, 1):
        return b"" if keeps_alive else b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if keeps_alive else b"Connection: close\r\n"


def as_chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def own_reply(
    status: int,
    content: bytes,
    *,
    headers: Sequence[bytes] = (),
    connection: bytes = b"",
    to_head: bool = False,
) -> bytes:
    """A whole reply of the sidecar's own; ``headers`` are lines with their line ends."""
    framing = b"" if status in _WITHOUT_LENGTH else b"Content-Length: %d\r\n" % len(content)
    return b"".join(
        (
            status_line(status, HTTPStatus(status).phrase),
            *headers,
            framing,
            connection,
            b"\r\n",
            b"" if to_head else content,
        )
    )


def error_headers(exc: WxProxyError) -> list[bytes]:
    """Content type, the error's stable code and, where known, when to try again."""
    lines = [JSON_TYPE, f"X-Wxproxy-Error: {exc.code}\r\n".encode()]
    if exc.retry_after_s is not None:
        lines.append(f"Retry-After: {max(1, ceil(exc.retry_after_s))}\r\n".encode())
    return lines
