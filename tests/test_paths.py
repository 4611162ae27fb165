"""Each path falls under its rule, however it is written, and odd targets are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxproxy.accounts import Kind
from wxproxy.errors import RequestRefused
from wxproxy.paths import (
    Rule,
    check_target,
    classify,
    locate,
    normalise,
    token_endpoint_kind,
)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/cgi-bin/user/info", Rule.INJECT),
        ("/wxa/getwxacodeunlimit", Rule.INJECT),
        ("/datacube/getusersummary", Rule.INJECT),
        ("/cgi-bin/clear_quota", Rule.INJECT),
        ("/cgi-bin/openapi/quota/get", Rule.INJECT),
        ("/cgi-bin/ticket/getticket", Rule.INJECT),
        ("/cgi-bin/tokens", Rule.INJECT),
        ("/wxa/components", Rule.INJECT),
        ("/snsx/userinfo", Rule.INJECT),
        ("/", Rule.INJECT),
        ("/sns/jscode2session", Rule.LOGIN),
        ("/sns/oauth2/access_token", Rule.LOGIN),
        ("/sns/oauth2/refresh_token", Rule.LOGIN_REFRESH),
        ("/sns/userinfo", Rule.PASS),
        ("/sns/component/jscode2session", Rule.PASS),
        ("/sns/oauth2/component/access_token", Rule.PASS),
        ("/cgi-bin/component/api_authorizer_token", Rule.PASS),
        ("/wxa/component/getprivacysetting", Rule.PASS),
        ("/componenttcb/batchcreatecontainerservice", Rule.PASS),
        ("/wxa/gettemplatelist", Rule.PASS),
        ("/wxa/addtotemplate", Rule.PASS),
        ("/wxa/deletetemplate", Rule.PASS),
        ("/wxa/gettemplatedraftlist", Rule.PASS),
        ("/cgi-bin/clear_quota/v2", Rule.PASS),
        ("/cgi-bin/service/get_suite_token", Rule.PASS),
        ("/cgi-bin/webhook/send", Rule.PASS),
        ("/cgi-bin/midas/getbalance", Rule.SIGNED),
        ("/cgi-bin/token", Rule.TOKEN_ENDPOINT),
        ("/cgi-bin/stable_token", Rule.TOKEN_ENDPOINT),
        ("/cgi-bin/gettoken", Rule.TOKEN_ENDPOINT),
        ("/CGI-BIN/Token", Rule.TOKEN_ENDPOINT),
        ("/cgi-bin/token/", Rule.TOKEN_ENDPOINT),
        ("/_wxproxy/refresh", Rule.CONTROL),
        ("/_wxproxy", Rule.CONTROL),
    ],
)
def test_a_path_falls_under_its_rule(path: str, rule: Rule) -> None:
    """The table says for each family of paths whose credential goes in."""
    assert rule is classify(path)


@pytest.mark.parametrize(
    "raw",
    [
        "/cgi-bin/%74oken",
        "//cgi-bin//token",
        "/cgi-bin\\token",
        "/cgi-bin%5Ctoken",
        "/cgi-bin%2Ftoken",
        "/cgi-bin/TOKEN",
        "/cgi-bin/token//",
        "///cgi-bin/%54oken",
    ],
)
def test_no_spelling_of_the_token_endpoint_slips_through(raw: str) -> None:
    """A call that reached WeChat's token endpoint would kill the live token."""
    assert locate(raw).rule is Rule.TOKEN_ENDPOINT


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param("/wxa/a", "/wxa/a", id="plain"),
        pytest.param("/wxa/%61", "/wxa/a", id="decoded"),
        pytest.param("/wxa/%2561", "/wxa/%61", id="decoded once"),
        pytest.param("//wxa///a", "/wxa/a", id="runs of slashes"),
        pytest.param("/wxa\\a%5c/b", "/wxa/a/b", id="backslashes"),
        pytest.param("/wxa/%E5%BE%AE", "/wxa/微", id="UTF-8"),
        pytest.param("/wxa/%FF", "/wxa/\ufffd", id="broken UTF-8"),
        pytest.param("/wxa/..a/.b", "/wxa/..a/.b", id="dots in names"),
        pytest.param("/wxa/a%", "/wxa/a%", id="no escape"),
    ],
)
def test_rules_are_decided_on_a_normal_copy(raw: str, expected: str) -> None:
    """Decoded once, backslashes as slashes, runs of slashes collapsed."""
    assert expected == normalise(raw)


@pytest.mark.parametrize(
    "raw", ["/wxa/../a", "/wxa/.", "/%2e%2e/a", "/wxa/.%2e\\a", "/..%2fa", "/wxa%5c..", "/a%00b"]
)
def test_paths_that_servers_read_differently_are_refused(raw: str) -> None:
    """Dot segments and NUL could reach another path than the one decided on."""
    with pytest.raises(RequestRefused) as refused:
        locate(raw)

    assert (refused.value.status, refused.value.code) == (400, "bad_request")


@pytest.mark.parametrize(
    ("raw", "forwarded"),
    [
        ("//wxa/a", "/wxa/a"),
        ("///wxa//a", "/wxa//a"),
        ("/wxa/%61", "/wxa/%61"),
        ("/" + "a" * 500, "/" + "a" * 500),
    ],
)
def test_the_path_as_sent_is_forwarded_but_for_leading_slashes(raw: str, forwarded: str) -> None:
    """The copy is for deciding only."""
    assert forwarded == locate(raw).raw


@given(st.text(st.sampled_from("/\\.%25cgibntokeCAB"), max_size=40))
def test_a_normal_path_has_no_odd_parts_left(tail: str) -> None:
    """Whatever is sent, the copy has neither backslashes, runs of slashes nor dot segments."""
    try:
        path = normalise("/" + tail)
    except RequestRefused:
        return

    assert "\\" not in path
    assert "//" not in path
    assert {".", ".."}.isdisjoint(path.split("/"))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/cgi-bin/token", Kind.OFFICIAL),
        ("/cgi-bin/Stable_Token/", Kind.OFFICIAL),
        ("/cgi-bin/gettoken", Kind.WECOM),
    ],
)
def test_a_token_endpoint_belongs_to_one_platform(path: str, kind: Kind) -> None:
    """WeCom's gettoken gives no official account's token, nor the other way round."""
    assert kind is token_endpoint_kind(path)


@pytest.mark.parametrize(
    ("target", "version", "method"),
    [
        pytest.param("/a", (1, 1), "TRACE", id="TRACE"),
        pytest.param("api.weixin.qq.com:443", (1, 1), "CONNECT", id="CONNECT"),
        pytest.param("/a", (0, 9), "GET", id="version 0.9"),
        pytest.param("/a", (2, 0), "GET", id="version 2.0"),
        pytest.param("/a#b", (1, 1), "GET", id="fragment"),
        pytest.param("/a?secret=%00", (1, 1), "GET", id="%00 in the query"),
        pytest.param("/a b", (1, 1), "GET", id="blank"),
        pytest.param("/a\x7f", (1, 1), "GET", id="DEL"),
        pytest.param("/a\t", (1, 1), "GET", id="tab"),
        pytest.param("/微信", (1, 1), "GET", id="not ASCII"),
        pytest.param("/\udcff", (1, 1), "GET", id="undecodable byte"),
    ],
)
def test_odd_request_lines_are_refused(target: str, version: tuple[int, int], method: str) -> None:
    """The text names the cause without quoting the target."""
    with pytest.raises(RequestRefused) as refused:
        check_target(target, version, method)

    assert refused.value.status == 400
    assert target not in refused.value.message


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#%")))
def test_every_printable_target_is_accepted(tail: str) -> None:
    """0x21-0x7E is what targets are made of."""
    check_target("/" + tail, (1, 0), "OPTIONS")
