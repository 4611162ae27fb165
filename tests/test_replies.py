"""wxproxy.replies: the bytes that the sidecar itself sends."""

import json

import pytest

from wxproxy.errors import ForeignToken, RequestRefused, TokenUnavailable, UnknownAccount
from wxproxy.replies import as_chunk, connection_line, error_headers, own_reply, status_line


@pytest.mark.parametrize(
    ("version", "keeps_alive", "line"),
    [
        ((1, 1), True, b""),
        ((1, 1), False, b"Connection: close\r\n"),
        ((1, 0), True, b"Connection: keep-alive\r\n"),
        ((1, 0), False, b"Connection: close\r\n"),
    ],
)
def test_the_connection_header_says_what_the_version_does_not(
    version: tuple[int, int], keeps_alive: bool, line: bytes
) -> None:
    """A client of either version learns whether its connection stays open."""
    assert connection_line(version, keeps_alive=keeps_alive) == line


def test_a_reply_to_head_has_the_length_but_not_the_body() -> None:
    """HEAD gets the headers of the answer alone (RFC 9110, 9.3.2)."""
    reply = own_reply(503, b"{}", to_head=True)

    assert reply == b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n"


def test_a_chunk_has_its_size_in_hex() -> None:
    """Chunks are framed as RFC 9112, 7.1 says."""
    assert as_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_an_upstreams_odd_reason_is_passed_on_byte_for_byte() -> None:
    """A reason phrase that is no ASCII survives."""
    reason = b"d\xc3\xa9j\xc3\xa0 \xff".decode("utf-8", "surrogateescape")

    assert status_line(200, reason) == b"HTTP/1.1 200 d\xc3\xa9j\xc3\xa0 \xff\r\n"


@pytest.mark.parametrize(
    ("error", "errcode", "status"),
    [
        (RequestRefused("no"), -60400, 400),
        (UnknownAccount("no"), 40013, 404),
        (ForeignToken("no"), 40014, 200),
        (TokenUnavailable("no", errcode=40164), 40164, 503),
        (TokenUnavailable("no"), -60503, 503),
    ],
    ids=["bad", "unknown", "foreign", "refused-by-wechat", "no-token"],
)
def test_errors_are_shaped_as_wechat_shapes_its_own(
    error: RequestRefused, errcode: int, status: int
) -> None:
    """errcode is WeChat's own where WeChat refused, else -60000 less the status."""
    assert json.loads(error.body()) == {"errcode": errcode, "errmsg": "wxproxy: no"}
    assert error.status == status


def test_retry_after_is_at_least_one_second() -> None:
    """A client that is told to wait never gets 0, on which some spin."""
    lines = error_headers(TokenUnavailable("no", retry_after_s=0.2))

    assert b"Retry-After: 1\r\n" in lines
    assert b"X-Wxproxy-Error: no_token\r\n" in lines
