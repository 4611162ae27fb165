"""A target is taken apart without changing a byte of what is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxproxy.accounts import Kind
from wxproxy.errors import RequestRefused
from wxproxy.targets import Param, Query, cut_token, kind_of_host, split_absolute, split_prefix


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param("", "access_token=", id="empty"),
        pytest.param("a=1", "a=1&access_token=", id="another"),
        pytest.param("a=1&&b=", "a=1&&b=&access_token=", id="empty pieces"),
        pytest.param("&", "&&access_token=", id="only a mark"),
        pytest.param("access_token=x", "access_token=", id="the token"),
        pytest.param("access_token", "access_token=", id="the token's name alone"),
        pytest.param("access_token=x&", "&access_token=", id="the token and a mark"),
        pytest.param("a=%41+b&%61ccess_token=x&c", "a=%41+b&c&access_token=", id="encoded name"),
        pytest.param("access_token=1&a=2&access_token=3", "a=2&access_token=", id="twice"),
        pytest.param("from_appid=wx1&a=2", "a=2&access_token=", id="selector"),
        pytest.param("Access_Token=1&access_token[]=2", None, id="other names"),
        pytest.param("xaccess_token=1&access+token=2", None, id="similar names"),
        pytest.param("a=access_token=1&b=?access_token", None, id="in values"),
    ],
)
def test_the_token_is_replaced_and_nothing_else(raw: str, expected: str | None) -> None:
    """Other parameters keep bytes, order and empty pieces; the new token goes last."""
    dropped = {Param.TOKEN, Param.SELECTOR}

    assert (expected or f"{raw}&access_token=") == Query(raw).before(
        "access_token=", dropped=dropped
    )


@pytest.mark.parametrize(
    ("mark", "raw", "expected"),
    [
        ("", "", ""),
        ("?", "", "?"),
        ("?", "a=1&access_token=x", "?a=1&access_token=x"),
        ("?", "from_appid=wx1", ""),
        ("?", "a=1&from_appid=wx1&&b", "?a=1&&b"),
        ("?", "from_ap%70id=wx1&a", "?a"),
    ],
)
def test_a_query_that_passes_loses_its_selector_only(mark: str, raw: str, expected: str) -> None:
    """from_appid is meant for the sidecar; WeChat never sees it."""
    assert expected == Query(raw, mark).tail()


def test_values_are_decoded_and_empty_ones_left_out() -> None:
    """An empty appid is as good as none; a plus is a blank, as in forms."""
    query = Query("appid=&appid=a%2Bb&app%69d=c+d&secret=")

    assert query.values(Param.APPID) == ["a+b", "c d"]
    assert query.has(Param.SECRET)
    assert not query.has(Param.TOKEN)


_PIECES = st.sampled_from(
    (
        *("access_token=T", "access_token=", "access_token", "access_token==T"),
        *("my_token=1", "xaccess_token=2", "d=access_token=3", "component_access_token=4"),
        *("a=1", "", "b", "c=token", "e=="),
    )
)


@given(st.lists(_PIECES, min_size=1, max_size=5).map("&".join))
def test_the_short_way_to_the_token_agrees_with_the_long_one(raw: str) -> None:
    """Where cut_token takes a query on, it gives what the parsed query gives."""
    before, token = cut_token(raw)
    query = Query(raw)

    if token is None:
        assert before == raw
    else:
        assert f"{before}access_token=" == query.before("access_token=", dropped={Param.TOKEN})
        assert query.values(Param.TOKEN) == ([token] if token else [])
        assert not query.has(Param.THIRD_PARTY_TOKEN)


def test_the_usual_query_of_an_sdk_takes_the_short_way() -> None:
    """Every SDK appends its token: that request must be quick."""
    assert cut_token("a=1&access_token=T&b=2") == ("a=1&b=2&", "T")


@pytest.mark.parametrize(
    ("raw", "host", "path"),
    [
        ("/wxa/a", None, "/wxa/a"),
        ("//evil.example/a", None, "//evil.example/a"),
        ("http://api.weixin.qq.com/wxa/a", "api.weixin.qq.com", "/wxa/a"),
        ("HTTPS://API.weixin.qq.com:443/wxa/a", "api.weixin.qq.com", "/wxa/a"),
        ("http://api.weixin.qq.com", "api.weixin.qq.com", "/"),
        ("http://[::1]:8080/a", "::1", "/a"),
        ("http://[::1]/a", "::1", "/a"),
        ("http://u@api.weixin.qq.com/a", "u@api.weixin.qq.com", "/a"),
        ("http://evil\\.api.weixin.qq.com/a", "evil\\.api.weixin.qq.com", "/a"),
    ],
)
def test_an_absolute_target_gives_its_host_and_path(raw: str, host: str | None, path: str) -> None:
    """What is forwarded is in origin form; a user or backslash makes another host."""
    assert (host, path) == split_absolute(raw)


@pytest.mark.parametrize("raw", ["", "*", "wxa/a", "http://", "ftp://api.weixin.qq.com/a", "@a/b"])
def test_a_target_that_is_no_path_is_refused(raw: str) -> None:
    """Neither a path nor an http URL: there is nothing to forward."""
    with pytest.raises(RequestRefused):
        split_absolute(raw)


@pytest.mark.parametrize(
    ("raw", "name", "path"),
    [
        ("/wxa/a", None, "/wxa/a"),
        ("/", None, "/"),
        ("/@shop/wxa/a", "shop", "/wxa/a"),
        ("//%40shop//wxa/a", "shop", "//wxa/a"),
        ("/@%E5%BE%AE/a", "微", "/a"),
        ("/@shop", "shop", "/"),
        ("/@/a", "", "/a"),
        ("/wxa/@shop", None, "/wxa/@shop"),
    ],
)
def test_a_prefix_names_the_account(raw: str, name: str | None, path: str) -> None:
    """/@name/ is cut off and decoded; the rest stays as it is."""
    assert (name, path) == split_prefix(raw)


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        (b"api.weixin.qq.com", Kind.OFFICIAL),
        (b"API2.weixin.QQ.com:80", Kind.OFFICIAL),
        (b"qyapi.weixin.qq.com", Kind.WECOM),
        (b"127.0.0.1:5780", None),
        (b"[::1]:5780", None),
        (b"api.weixin.qq.com.evil.example", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_wechats_hosts_belong_to_a_platform(host: bytes, kind: Kind | None) -> None:
    """A client that resolves WeChat's name to the sidecar says which platform it means."""
    assert kind is kind_of_host(host)
