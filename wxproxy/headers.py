"""Which headers of a request and of a reply are forwarded, and what the rest say; pure.

Headers come as the parser's raw pairs, in the order and case in which they were sent, and leave
as one block of bytes. Both scans run for each request: one look-up per header, one join.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wxproxy.errors import RequestRefused, UpstreamError

RawHeaders = Sequence[tuple[bytes, bytes]]

_TOKEN_CHARS = frozenset(
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_REMEMBERED_NAMES = 512
_REMEMBERED_NAME_MAX_LENGTH = 64
_UNSAFE_IN_VALUES = bytes.maketrans(b"\r\n\0", b"   ")
_PLAIN_CONNECTION_OPTIONS = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})


# What a header means here. Plain numbers: members of an enum compare and hash several times slower.
(
    _FORWARD,
    _DROP,
    _HOST,
    _CONNECTION,
    _CONTENT_LENGTH,
    _TRANSFER_ENCODING,
    _EXPECT,
    _ORIGIN,
    _SEC_FETCH_SITE,
    _ACCOUNT,
    _CONTENT_ENCODING,
    _MALFORMED,
) = range(12)

_HOP_BY_HOP = {
    b"connection": _CONNECTION,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"content-length": _CONTENT_LENGTH,
    b"keep-alive": _DROP,
    b"te": _DROP,
    b"trailer": _DROP,
    b"upgrade": _DROP,
}
_DROPPED_PREFIXES = (b"proxy-", b"x-wxproxy-")


class _Roles(dict[bytes, int]):
    """Role by name as sent, in any case; remembers short names that it was asked for."""

    def __init__(self, by_lower_name: dict[bytes, int]) -> None:
        super().__init__(by_lower_name)
        self._by_lower_name = by_lower_name

    def __missing__(self, name: bytes) -> int:
        role = self._judge(name)
        if len(self) < _REMEMBERED_NAMES and len(name) <= _REMEMBERED_NAME_MAX_LENGTH:
            self[name] = role
        return role

    def _judge(self, name: bytes) -> int:
        if not name or not _TOKEN_CHARS.issuperset(name):
            return _MALFORMED
        lower = name.lower()
        fallback = _DROP if lower.startswith(_DROPPED_PREFIXES) else _FORWARD
        return self._by_lower_name.get(lower, fallback)


_REQUEST_ROLES = _Roles(
    _HOP_BY_HOP
    | {
        b"host": _HOST,
        b"expect": _EXPECT,
        b"http2-settings": _DROP,
        b"origin": _ORIGIN,
        b"sec-fetch-site": _SEC_FETCH_SITE,
        b"x-wxproxy-account": _ACCOUNT,
    }
)
_REPLY_ROLES = _Roles(_HOP_BY_HOP | {b"content-encoding": _CONTENT_ENCODING})


# Not frozen: built for each request, and a frozen dataclass takes three times as long to build.
@dataclass(slots=True)
class RequestHead:
    """What a request's headers say.

    Attributes:
        version: HTTP version, (1, 0) or (1, 1).
        forward: the headers to forward, each ``Name: value`` with CRLF; no blank line after.
        host: the Host header as sent, or b"".
        content_length: the body's length in bytes where the client says one, else None.
        chunked: whether the body is chunked.
        expect_continue: whether to send ``100 Continue`` before the body; never to HTTP/1.0.
        account: ``X-Wxproxy-Account``, or None.
        origin: ``Origin``, or None.
        cross_site: whether a browser says that another site's page makes the request.
    """

    version: tuple[int, int]
    forward: bytes = field(default=b"", repr=False)
    host: bytes = b""
    content_length: int | None = None
    chunked: bool = False
    expect_continue: bool = False
    account: str | None = None
    origin: str | None = None
    cross_site: bool = False


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
        RequestRefused: framing that two parsers may read differently, control characters, a
            header sent twice that may be sent once; status 417 for an Expect that is unknown.
    """
    pieces: list[bytes] = []
    host: bytes | None = None
    length: bytes | None = None
    rest: list[tuple[int, bytes]] = []
    for name, value in raw:
        role = _REQUEST_ROLES[name]
        if role == _FORWARD:
            pieces += (name, b": ", value, b"\r\n")
        elif role == _HOST:
            if host is not None:
                raise _sent_twice("Host")
            host = value
        elif role == _CONTENT_LENGTH:
            if length is not None:
                raise _sent_twice("Content-Length")
            length = value
        elif role == _CONNECTION:
            if value not in _PLAIN_CONNECTION_OPTIONS:
                return scan_request(_end_to_end(raw, _REQUEST_ROLES), version)
        elif role != _DROP:
            rest.append((role, value))
            if role in (_ORIGIN, _SEC_FETCH_SITE):
                pieces += (name, b": ", value, b"\r\n")
    block = b"".join(pieces)
    if _has_stray_control_characters(block, len(pieces) // 4):
        raise RequestRefused("a header's value contains CR, LF or NUL; leave it out")
    head = RequestHead(version, block, host or b"")
    if length is not None:
        head.content_length = _length(length)
        if head.content_length is None:
            raise RequestRefused("Content-Length must be a decimal number of bytes")
    for role, value in rest:
        _read(head, role, value)
    return head


def _read(head: RequestHead, role: int, value: bytes) -> None:
    """Take in a header that few requests have."""
    if role == _TRANSFER_ENCODING:
        if head.chunked or value.lower() != b"chunked" or head.version == (1, 0):
            raise RequestRefused("Transfer-Encoding must be chunked, once, and needs HTTP/1.1")
        if head.content_length is not None:
            raise RequestRefused("Transfer-Encoding and Content-Length were both sent; send one")
        head.chunked = True
    elif role == _EXPECT:
        if value.lower() != b"100-continue":
            raise RequestRefused(
                "the only Expect that is supported is 100-continue; leave the header out",
                status=417,
                code="expectation_failed",
            )
        # RFC 9110, 10.1.1: an HTTP/1.0 client gets no interim reply.
        head.expect_continue = head.version != (1, 0)
    elif role == _ORIGIN:
        if head.origin is not None:
            raise _sent_twice("Origin")
        head.origin = value.decode("latin-1")
    elif role == _SEC_FETCH_SITE:
        head.cross_site = head.cross_site or value.lower() == b"cross-site"
    elif role == _ACCOUNT:
        if head.account is not None:
            raise _sent_twice("X-Wxproxy-Account")
        head.account = value.decode("utf-8", "replace")
    else:
        raise RequestRefused("a header's name contains a character that names may not have")


def _sent_twice(name: str) -> RequestRefused:
    return RequestRefused(f"the header {name} was sent twice; send it once")


def filter_reply(raw: RawHeaders) -> ReplyHead:
    """Read a reply's headers once.

    Left out of what is forwarded: Content-Length, Connection and what it names, Keep-Alive,
    Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade, X-Wxproxy-*, and headers whose name no
    client could read. CR, LF and NUL in a value become blanks (RFC 9110, 5.5).

    Raises:
        UpstreamError: framing that two parsers may read differently.
    """
    head = ReplyHead(b"")
    pieces: list[bytes] = []
    for name, value in raw:
        role = _REPLY_ROLES[name]
        if role == _FORWARD:
            pieces += (name, b": ", value, b"\r\n")
        elif role == _CONTENT_LENGTH:
            length = _length(value)
            if length is None or head.content_length not in (None, length):
                raise UpstreamError("WeChat's reply has a Content-Length that is no length")
            head.content_length = length
        elif role == _CONNECTION:
            if value not in _PLAIN_CONNECTION_OPTIONS:
                return filter_reply(_end_to_end(raw, _REPLY_ROLES))
        elif role == _CONTENT_ENCODING:
            head.content_encoding = value.lower()
            pieces += (name, b": ", value, b"\r\n")
        elif role == _TRANSFER_ENCODING:
            if value.lower() != b"chunked":
                raise UpstreamError("WeChat's reply has a Transfer-Encoding other than chunked")
            head.chunked = True
    head.forward = b"".join(pieces)
    if _has_stray_control_characters(head.forward, len(pieces) // 4):
        pieces[2::4] = [value.translate(_UNSAFE_IN_VALUES) for value in pieces[2::4]]
        head.forward = b"".join(pieces)
    return head


def _end_to_end(raw: RawHeaders, roles: _Roles) -> RawHeaders:
    """The headers less each Connection header and what it names.

    Only what would be forwarded is taken out so: nobody switches off a header that is read
    here, such as Content-Length or Origin, by naming it.
    """
    named = {
        option.strip()
        for name, value in raw
        if roles[name] == _CONNECTION
        for option in value.lower().split(b",")
    }
    return [
        (name, value)
        for name, value in raw
        if (role := roles[name]) != _CONNECTION and (role != _FORWARD or name.lower() not in named)
    ]


def _length(value: bytes) -> int | None:
    """A Content-Length's number; None where it is none or absurd (over 18 digits)."""
    return int(value) if value.isdigit() and len(value) <= 18 else None


def _has_stray_control_characters(block: bytes, lines: int) -> bool:
    """Whether the joined block holds more CR, LF and NUL than its own line ends.

    One pass in C over the whole is far quicker than a look at each value.
    """
    return len(block) - len(block.translate(None, b"\r\n\0")) != 2 * lines
