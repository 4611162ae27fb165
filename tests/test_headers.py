"""What of a request's and a reply's headers is forwarded, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxproxy.errors import RequestRefused, UpstreamError
from wxproxy.headers import filter_reply, scan_request

Pairs = list[tuple[bytes, bytes]]


def test_a_request_keeps_its_own_headers_byte_for_byte() -> None:
    """Order, case, repetitions and odd bytes stay; Host and framing go."""
    head = scan_request(
        [
            (b"Host", b"127.0.0.1:5780"),
            (b"user-AGENT", b"sdk/1"),
            (b"Wechatmp-Signature", b"a==\xff"),
            (b"Content-Length", b"12"),
            (b"X-Twice", b"1"),
            (b"Connection", b"keep-alive"),
            (b"X-Twice", b""),
            (b"traceparent", b"00-1-2-01"),
        ]
    )

    assert head.forward == (
        b"user-AGENT: sdk/1\r\nWechatmp-Signature: a==\xff\r\nX-Twice: 1\r\nX-Twice: \r\n"
        b"traceparent: 00-1-2-01\r\n"
    )
    assert head.host == b"127.0.0.1:5780"
    assert head.content_length == 12


@pytest.mark.parametrize(
    "pair",
    [
        (b"Host", b"evil.example"),
        (b"CONTENT-LENGTH", b"3"),
        (b"expect", b"100-continue"),
        (b"Connection", b"close"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"proxy-connection", b"keep-alive"),
        (b"TE", b"trailers"),
        (b"Trailer", b"X-Sum"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"AAMAAABk"),
        (b"X-Wxproxy-Account", b"a"),
        (b"x-wxproxy-key", b"k"),
    ],
    ids=lambda pair: pair[0].decode(),
)
def test_headers_of_one_hop_are_not_forwarded(pair: tuple[bytes, bytes]) -> None:
    """What concerns client and sidecar only never reaches WeChat."""
    assert scan_request([(b"A", b"1"), pair, (b"B", b"2")]).forward == b"A: 1\r\nB: 2\r\n"


def test_what_connection_names_is_not_forwarded() -> None:
    """Every Connection header counts, in any case, with other options and blanks between."""
    raw = [
        (b"X-Hop", b"1"),
        (b"Connection", b"keep-alive, x-HOP ,,"),
        (b"X-Stay", b"2"),
        (b"Connection", b"X-Other"),
        (b"X-Other", b"3"),
    ]

    assert scan_request(raw).forward == b"X-Stay: 2\r\n"
    assert filter_reply(raw).forward == b"X-Stay: 2\r\n"


def test_naming_a_header_in_connection_does_not_switch_off_what_it_says() -> None:
    """Framing, the browser guard and the choice of account cannot be hidden that way."""
    head = scan_request(
        [
            (b"Connection", b"content-length, origin, sec-fetch-site, x-wxproxy-account"),
            (b"Content-Length", b"5"),
            (b"Origin", b"https://page.example"),
            (b"Sec-Fetch-Site", b"cross-site"),
            (b"X-Wxproxy-Account", b"shop"),
        ]
    )

    assert (
        head.content_length,
        head.origin,
        head.cross_site,
        head.account,
    ) == (5, "https://page.example", True, "shop")


def test_what_decisions_need_is_read_in_any_case() -> None:
    """Names are matched without regard to case; the browser's own headers are forwarded too."""
    head = scan_request(
        [
            (b"ORIGIN", b"null"),
            (b"sec-fetch-SITE", b"Cross-Site"),
            (b"x-wxproxy-ACCOUNT", "微信".encode()),
            (b"Expect", b"100-Continue"),
            (b"transfer-encoding", b"Chunked"),
        ]
    )

    assert head.forward == b"ORIGIN: null\r\nsec-fetch-SITE: Cross-Site\r\n"
    assert (head.origin, head.cross_site, head.account) == ("null", True, "微信")
    assert (head.expect_continue, head.chunked, head.content_length) == (True, True, None)


def test_same_site_requests_are_no_cross_site_ones() -> None:
    """Only cross-site is a stranger's page."""
    assert not scan_request([(b"Sec-Fetch-Site", b"same-origin")]).cross_site
    assert scan_request(
        [(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Site", b"none")]
    ).cross_site


def test_an_http_1_0_client_is_sent_no_100_continue() -> None:
    """RFC 9110: HTTP/1.0 knows no interim replies."""
    assert not scan_request([(b"Expect", b"100-continue")], (1, 0)).expect_continue


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([(b"Transfer-Encoding", b"gzip, chunked")], id="another coding"),
        pytest.param([(b"Transfer-Encoding", b"chunked ,")], id="not exactly chunked"),
        pytest.param([(b"Transfer-Encoding", b"")], id="empty coding"),
        pytest.param([(b"Transfer-Encoding", b"chunked")] * 2, id="chunked twice"),
        pytest.param(
            [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"3")], id="two framings"
        ),
        pytest.param([(b"Content-Length", b"3"), (b"content-length", b"3")], id="two lengths"),
        pytest.param([(b"Content-Length", b"+3")], id="signed length"),
        pytest.param([(b"Content-Length", b"3, 3")], id="list of lengths"),
        pytest.param([(b"Content-Length", b"")], id="empty length"),
        pytest.param([(b"Content-Length", b"9" * 19)], id="absurd length"),
        pytest.param([(b"Host", b"a"), (b"HOST", b"b")], id="two hosts"),
        pytest.param([(b"Origin", b"a"), (b"Origin", b"b")], id="two origins"),
        pytest.param([(b"X-Wxproxy-Account", b"a")] * 2, id="two accounts"),
        pytest.param([(b"A", b"1\r\nInjected: 2")], id="CRLF in a value"),
        pytest.param([(b"A", b"1\n")], id="LF in a value"),
        pytest.param([(b"A", b"\r")], id="CR in a value"),
        pytest.param([(b"A", b"\0")], id="NUL in a value"),
        pytest.param([(b"A\r\nB", b"1")], id="CRLF in a name"),
        pytest.param([(b"A ", b"1")], id="blank in a name"),
        pytest.param([(b"A:B", b"1")], id="colon in a name"),
        pytest.param([(b"", b"1")], id="empty name"),
    ],
)
def test_ambiguous_request_headers_are_refused(raw: Pairs) -> None:
    """What two parsers may read differently never reaches the second one."""
    with pytest.raises(RequestRefused) as refused:
        scan_request(raw)

    assert (refused.value.status, refused.value.code) == (400, "bad_request")


def test_http_1_0_may_not_send_chunks() -> None:
    """HTTP/1.0 has no chunks; a client that says so is confused or hostile."""
    with pytest.raises(RequestRefused):
        scan_request([(b"Transfer-Encoding", b"chunked")], (1, 0))


def test_an_unknown_expectation_gets_417() -> None:
    """Nothing but 100-continue can be met."""
    with pytest.raises(RequestRefused) as refused:
        scan_request([(b"Expect", b"200-maybe")])

    assert (refused.value.status, refused.value.code) == (417, "expectation_failed")


def test_a_request_head_shows_no_header_values() -> None:
    """Authorization and cookies stay out of whatever prints the head."""
    head = scan_request([(b"Authorization", b"Bearer very-secret")])

    assert b"very-secret" in head.forward
    assert "very-secret" not in repr(head)


def test_a_reply_keeps_its_own_headers_byte_for_byte() -> None:
    """Order, case and repetitions stay; framing and headers of one hop go."""
    head = filter_reply(
        [
            (b"Server", b"nginx"),
            (b"Connection", b"keep-alive"),
            (b"Content-Type", b"application/json; encoding=utf-8"),
            (b"set-cookie", b"a=1"),
            (b"Set-Cookie", b"b=2"),
            (b"Content-Encoding", b"GZIP"),
            (b"Content-Length", b"215"),
            (b"Keep-Alive", b"timeout=5"),
            (b"Proxy-Authenticate", b"Basic"),
            (b"Trailer", b"X"),
            (b"Upgrade", b"h2c"),
            (b"X-Wxproxy-Attempts", b"9"),
        ]
    )

    assert head.forward == (
        b"Server: nginx\r\nContent-Type: application/json; encoding=utf-8\r\nset-cookie: a=1\r\n"
        b"Set-Cookie: b=2\r\nContent-Encoding: GZIP\r\n"
    )
    assert (head.content_length, head.content_encoding, head.chunked) == (215, b"gzip", False)


def test_a_chunked_reply_has_no_length() -> None:
    """The caller chooses the framing towards the client."""
    head = filter_reply([(b"Transfer-Encoding", b"CHUNKED")])

    assert (head.forward, head.content_length, head.chunked) == (b"", None, True)


def test_repeated_equal_lengths_of_a_reply_are_one_length() -> None:
    """RFC 9110, 8.6 lets a recipient take them as one."""
    assert filter_reply([(b"Content-Length", b"7")] * 2).content_length == 7


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([(b"Content-Length", b"7"), (b"Content-Length", b"8")], id="two lengths"),
        pytest.param([(b"Content-Length", b"-7")], id="no length"),
        pytest.param([(b"Transfer-Encoding", b"gzip, chunked")], id="another coding"),
    ],
)
def test_an_ambiguous_reply_is_the_upstreams_fault(raw: Pairs) -> None:
    """A body of unclear length is never passed on as if whole."""
    with pytest.raises(UpstreamError) as broken:
        filter_reply(raw)

    assert broken.value.code == "upstream_broken"


def test_control_characters_in_a_reply_become_blanks() -> None:
    """The lenient reply parser lets them through; no header may be smuggled to the client."""
    head = filter_reply([(b"A", b"1\r\nSet-Cookie: x"), (b"B", b"\0\n"), (b"C\n", b"2")])

    assert head.forward == b"A: 1  Set-Cookie: x\r\nB:   \r\n"


_NAMES = st.text("abcXYZ-019", min_size=1, max_size=80).map(
    lambda name: b"Z" + name.encode("ascii")
)
_VALUES = st.binary(max_size=30).map(lambda value: value.translate(None, b"\r\n\0"))


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=20), st.integers(0, 20))
def test_unknown_headers_pass_both_ways_untouched(pairs: Pairs, position: int) -> None:
    """Any header that means nothing here is forwarded as it is, whatever stands between."""
    expected = b"".join(name + b": " + value + b"\r\n" for name, value in pairs)
    raw = [*pairs[:position], (b"Connection", b"keep-alive"), *pairs[position:]]

    assert expected == scan_request(raw).forward
    assert expected == filter_reply(raw).forward


def test_many_different_names_do_not_pile_up() -> None:
    """Names are remembered for speed, within a bound, and judged rightly beyond it."""
    for number in range(2000):
        name = b"X-Wxproxy-%d" % number

        assert scan_request([(name, b"1"), (b"Y" + name, b"2")]).forward == b"Y%b: 2\r\n" % name
