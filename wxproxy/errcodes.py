"""WeChat's errcode in a reply's body: found without decoding JSON; pure.

WeChat sends JSON under any content type, sometimes with control characters or broken UTF-8 in
it, and WeCom's batch replies carry one errcode per item. So the body is not decoded but scanned
for the one errcode that speaks about the whole call.
"""

import re
import zlib
from collections.abc import Mapping
from types import MappingProxyType

from wxproxy.accounts import Kind

LOOK_LIMIT = 8192
"""Longest body in bytes that is looked at; the longest error body seen has 260."""

TOKEN_BAD: Mapping[Kind, frozenset[int]] = MappingProxyType(
    {
        Kind.OFFICIAL: frozenset({40001, 40014, 42001}),
        # WeCom's 40001 is a wrong secret: https://developer.work.weixin.qq.com/document/path/90455
        Kind.WECOM: frozenset({40014, 42001}),
    }
)
"""Codes that say the access_token is bad. Source: wechat-facts.md 3a and 8."""

_INFLATE_LIMIT = 65536
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_WINDOWS = {
    b"gzip": (_GZIP_WINDOW,),
    b"x-gzip": (_GZIP_WINDOW,),
    # RFC 9110, 8.4.1.2: deflate is the zlib format, but some send it without zlib's header.
    b"deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS),
}

# Blanks and control characters count for nothing outside strings.
_BLANK = rb"[\x00-\x20]*+"
_BOM = b"\xef\xbb\xbf"
_START = re.compile(rb"(?:%b)?+%b\{" % (_BOM, _BLANK))
_FIRST = re.compile(
    rb'(?:%(bom)b)?+%(b)b\{%(b)b"errcode"%(b)b:%(b)b(-?[0-9]{1,18}+)%(b)b[,}]'
    % {b"bom": _BOM, b"b": _BLANK}
)
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_MEMBER = re.compile(
    rb'[\x00-\x20,]*+(%(s)b)%(b)b:%(b)b(%(s)b|[{\[]|[^\x00-\x20"{}\[\]:,]++)'
    % {b"s": _STRING, b"b": _BLANK},
    re.DOTALL,
)
# All up to the next bracket that counts: strings, scalars, containers that hold no others.
_LUMP = re.compile(
    rb'(?:[^"{}\[\]]++|%(s)b?+|[{\[](?:[^"{}\[\]]++|%(s)b)*+[}\]])*+' % {b"s": _STRING}, re.DOTALL
)
_INTEGER = re.compile(rb'-?[0-9]{1,18}|"-?[0-9]{1,18}"')


def find_errcode(body: bytes) -> int | None:
    """The errcode of a JSON object, at its top level or directly in its ``base_resp``.

    An integer, or a string of digits; anything else there is no errcode. As in JSON decoders
    the last of several equal keys counts, and as in SDKs ``base_resp`` goes before the top
    level. Keys are compared as sent: one written with escapes is not recognised. Never raises;
    whatever follows the object is ignored, and a body that is cut off is read as far as it goes.
    """
    mentions = body.count(b"errcode")
    if not mentions:
        return None
    if mentions == 1:
        # The commonest shape, {"errcode":0,…: nothing later can change what was found.
        first = _FIRST.match(body)
        if first is not None:
            return int(first[1])
    start = _START.match(body)
    return None if start is None else _scan(body, start.end(), is_top=True)[0]


def _scan(body: bytes, position: int, *, is_top: bool) -> tuple[int | None, int]:
    """Walk through an object whose brace was just read: its errcode, and where the walk ended."""
    own: int | None = None
    from_base_resp: int | None = None
    while (member := _MEMBER.match(body, position)) is not None:
        key, value = member.groups()
        position = member.end()
        if key == b'"errcode"':
            own = int(value.strip(b'"')) if _INTEGER.fullmatch(value) else None
        elif is_top and key == b'"base_resp"':
            from_base_resp = None
            if value == b"{":
                from_base_resp, position = _scan(body, position, is_top=False)
        if value in (b"{", b"["):
            position = _skip(body, position)
    return own if from_base_resp is None else from_base_resp, position


def _skip(body: bytes, position: int) -> int:
    """Where the container ends that the position is in."""
    depth = 1
    while depth:
        lump = _LUMP.match(body, position)
        position = position if lump is None else lump.end()
        bracket = body[position : position + 1]
        if not bracket:
            break
        depth += 1 if bracket in b"{[" else -1
        position += 1
    return position


def inflate(body: bytes, encoding: bytes, limit: int = _INFLATE_LIMIT) -> bytes | None:
    """The decoded body of a gzip or deflate reply; None when it is broken, cut or too long.

    Args:
        body: the whole body as sent.
        encoding: its Content-Encoding, in lower case.
        limit: most bytes that may come out.
    """
    for window in _WINDOWS.get(encoding, ()):
        stream = zlib.decompressobj(window)
        try:
            content = stream.decompress(body, limit + 1)
        except zlib.error:
            continue
        if stream.eof and len(content) <= limit:
            return content
    return None
