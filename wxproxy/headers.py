"""Which headers of a request and of a reply are forwarded, and what the rest say; pure.

Headers come as the parser's raw pairs, in the order and case in which they were sent, and leave
as one block of bytes. Both scans run for each request: one cached look-up per header, one join.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

from wxproxy.errors import RequestRefused, UpstreamError

RawHeaders = Sequence[tuple[bytes, bytes]]

_TOKEN_CHARS = frozenset(
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_UNSAFE_IN_VALUES = bytes.maketrans(b"\r\n\0", b"   ")
_PLAIN_CONNECTION_OPTIONS = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})


class _Role(IntEnum):
    """What a header means here; FORWARD is falsy, for the quick way through the loop."""

    FORWARD = 0
    DROP = 1
    HOST = 2
    CONNECTION = 3
    CONTENT_LENGTH = 4
    TRANSFER_ENCODING = 5
    EXPECT = 6
    ORIGIN = 7
    SEC_FETCH_SITE = 8
    ACCOUNT = 9
    CONTENT_ENCODING = 10
    MALFORMED = 11


_HOP_BY_HOP = {
    b"connection": _Role.CONNECTION,
    b"transfer-encoding": _Role.TRANSFER_ENCODING,
    b"content-length": _Role.CONTENT_LENGTH,
    b"keep-alive": _Role.DROP,
    b"te": _Role.DROP,
    b"trailer": _Role.DROP,
    b"upgrade": _Role.DROP,
}
_REQUEST_ROLES = _HOP_BY_HOP | {
    b"host": _Role.HOST,
    b"expect": _Role.EXPECT,
    b"http2-settings": _Role.DROP,
    b"origin": _Role.ORIGIN,
    b"sec-fetch-site": _Role.SEC_FETCH_SITE,
    b"x-wxproxy-account": _Role.ACCOUNT,
}
_REPLY_ROLES = _HOP_BY_HOP | {b"content-encoding": _Role.CONTENT_ENCODING}
_DROPPED_PREFIXES = (b"proxy-", b"x-wxproxy-")


def _role(name: bytes, roles: dict[bytes, _Role]) -> _Role:
    if not name or not _TOKEN_CHARS.issuperset(name):
        return _Role.MALFORMED
    lower = name.lower()
    role = roles.get(lower)
    if role is None:
        return _Role.DROP if lower.startswith(_DROPPED_PREFIXES) else _Role.FORWARD
    return role


@lru_cache(maxsize=512)
def _request_role(name: bytes) -> _Role:
    return _role(name, _REQUEST_ROLES)


@lru_cache(maxsize=512)
def _reply_role(name: bytes) -> _Role:
    return _role(name, _REPLY_ROLES)


# Not frozen: built for each request, and a frozen dataclass takes three times as long to build.
@dataclass(slots=True)
class RequestHead:
    """What a request's headers say.

    Attributes:
        version: HTTP version, (1, 0) or (1, 1).
        forward: the headers to forward, each ``Name: value`` with CRLF; no blank line after.
        host: the Host header as sent, or b"".
        account: ``X-Wxproxy-Account``, or None.
        origin: ``Origin``, or None.
        cross_site: whether a browser says that another site's page makes the request.
        expect_continue: whether to send ``100 Continue`` before the body; never to HTTP/1.0.
        chunked: whether the body is chunked.
        content_length: the body's length in bytes where the client says one, else None.
    """

    version: tuple[int, int]
    forward: bytes = field(default=b"", repr=False)
    host: bytes = b""
    account: str | None = None
    origin: str | None = None
    cross_site: bool = False
    expect_continue: bool = False
    chunked: bool = False
    content_length: int | None = None


@dataclass(slots=True)
class ReplyHead:
    """What a reply's headers say.

    Attributes:
        forward: the headers to forward, each ``Name: value`` with CRLF; no blank line after
            and no framing, which the caller sets.
        content_length: as the upstream says it, for HEAD and 304 too, or None.
        content_encoding: lower case, b"" without one.
        chunked: whether the upstream sends the body in chunks.
    """

    forward: bytes = field(repr=False)
    content_length: int | None = None
    content_encoding: bytes = b""
    chunked: bool = False


def scan_request(raw: RawHeaders, version: tuple[int, int] = (1, 1)) -> RequestHead:
    """Read a request's headers once.

    Left out of what is forwarded: Host, Content-Length, Expect, Connection and what it names,
    Keep-Alive, Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade, HTTP2-Settings, X-Wxproxy-*.

    Raises:
        RequestRefused: framing that two parsers may read differently, control characters, one
            of the headers read here sent twice; status 417 for an Expect but 100-continue.
    """
    head = RequestHead(version)
    lines: list[bytes] = []
    seen = 0
    named_by_connection: frozenset[bytes] = frozenset()
    for name, value in raw:
        role = _request_role(name)
        if not role:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif role is _Role.DROP:
            continue
        elif role is _Role.CONNECTION:
            if value not in _PLAIN_CONNECTION_OPTIONS:
                named_by_connection |= _connection_options(value)
        elif role is _Role.EXPECT:
            _read_expect(head, value)
        else:
            if seen >> role & 1:
                raise RequestRefused(f"the header {name.decode('ascii')} was sent twice; send one")
            seen |= 1 << role
            if role is _Role.HOST:
                head.host = value
            else:
                _read_single(head, role, value)
                if role is _Role.ORIGIN or role is _Role.SEC_FETCH_SITE:
                    lines.append(b"%b: %b\r\n" % (name, value))
    if named_by_connection:
        lines = [line for line in lines if not _is_named(line, named_by_connection)]
    if head.chunked and head.content_length is not None:
        raise RequestRefused("Transfer-Encoding and Content-Length were both sent; send one")
    head.forward = b"".join(lines)
    if _has_stray_control_characters(head.forward, len(lines)):
        raise RequestRefused("a header's value contains CR, LF or NUL; leave it out")
    return head


def _read_single(head: RequestHead, role: _Role, value: bytes) -> None:
    """Take in a header that may be sent once."""
    match role:
        case _Role.CONTENT_LENGTH:
            head.content_length = _length(value)
            if head.content_length is None:
                raise RequestRefused("Content-Length must be a decimal number of bytes")
        case _Role.TRANSFER_ENCODING:
            if value.lower() != b"chunked" or head.version == (1, 0):
                raise RequestRefused("Transfer-Encoding must be chunked, and needs HTTP/1.1")
            head.chunked = True
        case _Role.ORIGIN:
            head.origin = value.decode("latin-1")
        case _Role.SEC_FETCH_SITE:
            head.cross_site = value.strip().lower() == b"cross-site"
        case _Role.ACCOUNT:
            head.account = value.decode("utf-8", "replace").strip()
        case _:
            raise RequestRefused("a header's name contains a character that names may not have")


def _read_expect(head: RequestHead, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise RequestRefused(
            "the only Expect that is supported is 100-continue; leave the header out",
            status=417,
            code="expectation_failed",
        )
    # RFC 9110, 10.1.1: an HTTP/1.0 client gets no interim reply.
    head.expect_continue = head.version != (1, 0)


def filter_reply(raw: RawHeaders) -> ReplyHead:
    """Read a reply's headers once.

    Left out of what is forwarded: Content-Length, Connection and what it names, Keep-Alive,
    Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade, X-Wxproxy-*, and headers whose name no
    client could read. CR, LF and NUL in a value become blanks (RFC 9110, 5.5).

    Raises:
        UpstreamError: framing that two parsers may read differently.
    """
    head = ReplyHead(b"")
    lines: list[bytes] = []
    named_by_connection: frozenset[bytes] = frozenset()
    for name, value in raw:
        role = _reply_role(name)
        if not role:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif role is _Role.CONTENT_LENGTH:
            length = _length(value)
            if length is None or head.content_length not in (None, length):
                raise UpstreamError("WeChat's reply has a Content-Length that is no length")
            head.content_length = length
        elif role is _Role.CONTENT_ENCODING:
            head.content_encoding = value.strip().lower()
            lines.append(b"%b: %b\r\n" % (name, value))
        elif role is _Role.TRANSFER_ENCODING:
            if value.lower() != b"chunked":
                raise UpstreamError("WeChat's reply has a Transfer-Encoding other than chunked")
            head.chunked = True
        elif role is _Role.CONNECTION and value not in _PLAIN_CONNECTION_OPTIONS:
            named_by_connection |= _connection_options(value)
    if named_by_connection:
        lines = [line for line in lines if not _is_named(line, named_by_connection)]
    head.forward = b"".join(lines)
    if _has_stray_control_characters(head.forward, len(lines)):
        head.forward = b"".join(line[:-2].translate(_UNSAFE_IN_VALUES) + b"\r\n" for line in lines)
    return head


def _connection_options(value: bytes) -> frozenset[bytes]:
    """The header names that a Connection header names, in lower case."""
    return frozenset(option.strip() for option in value.lower().split(b","))


def _is_named(line: bytes, names: frozenset[bytes]) -> bool:
    return line.partition(b":")[0].lower() in names


def _length(value: bytes) -> int | None:
    """A Content-Length's number; None where it is none or absurd (over 18 digits)."""
    return int(value) if value.isdigit() and len(value) <= 18 else None


def _has_stray_control_characters(block: bytes, lines: int) -> bool:
    """Whether the joined block holds more CR or LF than its own line ends, or a NUL.

    Three scans in C over the whole are far quicker than a look at each header.
    """
    return block.count(b"\n") != lines or block.count(b"\r") != lines or b"\0" in block
