"""The errcode that speaks about the whole call is found in any body WeChat sends."""

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxproxy.accounts import Kind
from wxproxy.errcodes import TOKEN_BAD, find_errcode, inflate


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"errcode":40001,"errmsg":"invalid credential"}', 40001, id="first"),
        pytest.param(b'{"errcode":0}', 0, id="only"),
        pytest.param(b'{"ip_list":[],"errcode":42001,"errmsg":"x"}', 42001, id="not first"),
        pytest.param(b'{ "errcode" : 40014 }', 40014, id="blanks"),
        pytest.param(b'\xef\xbb\xbf\r\n\t {"errcode":40001}', 40001, id="BOM and blanks"),
        pytest.param(b'{"errcode":-1,"errmsg":"busy"}', -1, id="negative"),
        pytest.param(b'{"errcode":"40001"}', 40001, id="string of digits"),
        pytest.param(b'{"errmsg":"ok","errcode":"-1"}', -1, id="negative string"),
        pytest.param(b'{"base_resp":{"errcode":40001,"errmsg":"x"}}', 40001, id="base_resp"),
        pytest.param(b'{"base_resp":{"a":{"errcode":7},"errcode":5}}', 5, id="base_resp's own"),
        pytest.param(b'{"base_resp":{"errcode":5},"errcode":0}', 5, id="base_resp goes first"),
        pytest.param(b'{"base_resp":{"errmsg":"x"},"errcode":3}', 3, id="after empty base_resp"),
        pytest.param(b'{"base_resp":[{"errcode":5}]}', None, id="base_resp a list"),
        pytest.param(b'{"base_resp":{"base_resp":{"errcode":5}}}', None, id="base_resp within"),
        pytest.param(b'{"a":{"base_resp":{"errcode":5}}}', None, id="base_resp not on top"),
        pytest.param(b'{"errcode":1,"errcode":2}', 2, id="last of two"),
        pytest.param(b'{"errcode":1,"errcode":null}', None, id="last of two is none"),
        pytest.param(b'{"list":[{"errcode":40001},{"errcode":1}]}', None, id="per item"),
        pytest.param(b'{"list":[{"errcode":40001}],"errcode":0}', 0, id="per item and own"),
        pytest.param(b'{"a":[[{"b":[{"errcode":1}]}],"x"],"errcode":9}', 9, id="deep"),
        pytest.param(b'{"text":"{\\"errcode\\":40001}"}', None, id="in a text"),
        pytest.param(b'{"text":"\\\\","errcode":4}', 4, id="text ends in a backslash"),
        pytest.param(b'{"a":["]}","\\"}"],"errcode":4}', 4, id="brackets in texts"),
        pytest.param(b'{"text":"errcode","errcode ":1}', None, id="another key"),
        pytest.param(b'{"errcode":40001.0}', None, id="float"),
        pytest.param(b'{"errcode":true}', None, id="boolean"),
        pytest.param(b'{"errcode":{"errcode":1}}', None, id="object"),
        pytest.param(b'{"errcode":"abc"}', None, id="word"),
        pytest.param(b'{"errcode":' + b"9" * 5000 + b"}", None, id="absurdly long number"),
        pytest.param(b'{"err\\u0063ode":40001,"x":"errcode"}', None, id="escaped key"),
        pytest.param(b'[{"errcode":40001}]', None, id="a list"),
        pytest.param(b'callback({"errcode":40001})', None, id="not an object"),
        pytest.param(b'{"a":"x\x00\x01\n\xff","errcode":40001}', 40001, id="control characters"),
        pytest.param(b'{\x01"errcode":\x0240001}', 40001, id="control characters outside"),
        pytest.param(b'{"errcode":40001}\r\n<!-- -->', 40001, id="trailing bytes"),
        pytest.param(b'{"a":1}{"errcode":40001}', None, id="second object"),
        pytest.param(b'{"errcode":40001,"errmsg":"cut of', 40001, id="cut in a text"),
        pytest.param(b'{"a":[1,{"errcode":2', None, id="cut in a list"),
        pytest.param(b'{"errmsg":"errcode', None, id="cut in the only text"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_the_errcode_of_the_whole_call_is_found(body: bytes, expected: int | None) -> None:
    """Only the top level and its base_resp count, in whatever shape the number comes."""
    assert expected == find_errcode(body)


_KEYS = st.sampled_from(["errcode", "base_resp", "a", 'x"errcode', "错误", "err\\code"])
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-99_999, 99_999)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "40001", "-1", "4 0", '{"errcode":1}', "]}", '\\"', "微信"])
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner), max_leaves=20
)
_OBJECTS = st.dictionaries(_KEYS, _VALUES)


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.lstrip("-").isdigit() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _oracle(content: dict[str, Any]) -> int | None:
    own = _number(content.get("errcode"))
    base_resp = content.get("base_resp")
    inner = _number(base_resp.get("errcode")) if isinstance(base_resp, dict) else None
    return own if inner is None else inner


@given(_OBJECTS, st.booleans(), st.sampled_from([None, 1]))
def test_the_scan_agrees_with_a_json_decoder(
    content: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    """On valid JSON the scan finds what a decoder would, however nested or quoted."""
    body = json.dumps(content, ensure_ascii=ascii_only, indent=indent).encode()

    assert _oracle(content) == find_errcode(body)


@given(
    st.lists(
        st.sampled_from([b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\0", b"7"])
        | st.sampled_from([b'"errcode"', b'"base_resp":{', b'"errcode":40001', b"\xef\xbb\xbf"])
        | st.binary(max_size=4)
    )
)
def test_no_body_breaks_the_scan(pieces: list[bytes]) -> None:
    """Whatever an upstream sends, the answer is a number or None."""
    assert isinstance(find_errcode(b'{"errcode":' + b"".join(pieces)), int | None)


@given(_OBJECTS, st.integers(0, 400))
def test_a_number_from_a_body_that_is_cut_off_is_one_that_was_sent(
    content: dict[str, Any], length: int
) -> None:
    """A cut body may hide the errcode, but gives none that the text or an item holds."""
    body = json.dumps({"text": '"errcode":-777', "items": [{"errcode": -777}], **content}).encode()

    assert find_errcode(body[:length]) != -777


def _deflate_raw(content: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(content) + stream.flush()


_CONTENT = b'{"errcode":40001}'


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        pytest.param(gzip.compress(_CONTENT), b"gzip", _CONTENT, id="gzip"),
        pytest.param(gzip.compress(_CONTENT), b"x-gzip", _CONTENT, id="x-gzip"),
        pytest.param(zlib.compress(_CONTENT), b"deflate", _CONTENT, id="deflate"),
        pytest.param(_deflate_raw(_CONTENT), b"deflate", _CONTENT, id="deflate without header"),
        pytest.param(gzip.compress(b""), b"gzip", b"", id="empty"),
        pytest.param(gzip.compress(b"x" * 65536), b"gzip", b"x" * 65536, id="at the limit"),
        pytest.param(gzip.compress(b"x" * 65537), b"gzip", None, id="beyond the limit"),
        pytest.param(gzip.compress(b"x" * 10**7), b"gzip", None, id="bomb"),
        pytest.param(gzip.compress(_CONTENT)[:-9], b"gzip", None, id="cut"),
        pytest.param(_CONTENT, b"gzip", None, id="not compressed"),
        pytest.param(_CONTENT, b"deflate", None, id="neither zlib nor raw"),
        pytest.param(gzip.compress(_CONTENT), b"br", None, id="another encoding"),
        pytest.param(_CONTENT, b"", None, id="no encoding"),
    ],
)
def test_a_compressed_body_is_inflated_within_bounds(
    body: bytes, encoding: bytes, expected: bytes | None
) -> None:
    """gzip and both kinds of deflate are read; broken, cut and oversized bodies are not."""
    assert expected == inflate(body, encoding)


@given(st.binary(), st.sampled_from([b"gzip", b"deflate"]))
def test_no_compressed_body_breaks_inflate(body: bytes, encoding: bytes) -> None:
    """Whatever an upstream sends, the answer is bytes or None."""
    assert isinstance(inflate(body, encoding), bytes | None)


def test_a_wecom_wrong_secret_is_no_bad_token() -> None:
    """WeCom's 40001 must not drive refreshes; on official accounts it is the bad token."""
    assert 40001 in TOKEN_BAD[Kind.OFFICIAL]
    assert {40014, 42001} == TOKEN_BAD[Kind.WECOM]
