"""What is done with a request's target: what goes in, what stays, what is refused."""

from urllib.parse import quote, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.routing_fakes import ALL, FOREIGN, HELD, NEWS, SALES, SHOP, plan, router
from wxproxy.errors import RequestRefused
from wxproxy.headers import RequestHead
from wxproxy.paths import Rule
from wxproxy.routing import Credential


@pytest.mark.parametrize(
    "name",
    [
        "component_access_token",
        "suite_access_token",
        "provider_access_token",
        "cloudbase_access_token",
    ],
)
def test_somebody_elses_token_passes_untouched(name: str) -> None:
    """Third-party platforms and WeCom suites bring tokens of their own, also as access_token."""
    target = f"/cgi-bin/a?x=1&access_token={FOREIGN}&{name}=%2B"

    made = plan(router(SHOP), target)

    assert (made.rule, made.prefix, made.credential) == (Rule.PASS, target, Credential.NONE)


def test_a_placeholder_on_a_pass_path_is_left_as_it_is() -> None:
    """It is no credential, and WeChat's answer is the truth about the call."""
    target = f"/sns/userinfo?access_token={NEWS.placeholder}&openid=o"

    made = plan(router(*ALL), target)

    assert (made.account, made.prefix, made.outcome) == (NEWS, target, "skipped")


@pytest.mark.parametrize(
    ("target", "prefix", "outcome"),
    [
        pytest.param(
            "/sns/jscode2session?js_code=c&grant_type=authorization_code",
            "/sns/jscode2session?js_code=c&grant_type=authorization_code&appid=wx1&secret=",
            "injected",
            id="nothing sent",
        ),
        pytest.param(
            "/sns/jscode2session?appid=wx1&secret=dummy&js_code=%63",
            "/sns/jscode2session?js_code=%63&appid=wx1&secret=",
            "overwritten",
            id="both sent",
        ),
        pytest.param(
            "/sns/oauth2/access_token?appid=&secret=&se%63ret=x&code=c",
            "/sns/oauth2/access_token?code=c&appid=wx1&secret=",
            "overwritten",
            id="empty and repeated",
        ),
        pytest.param(
            "/sns/oauth2/access_token",
            "/sns/oauth2/access_token?appid=wx1&secret=",
            "injected",
            id="no query",
        ),
    ],
)
def test_a_login_gets_appid_and_secret(target: str, prefix: str, outcome: str) -> None:
    """The application needs no AppSecret, whatever it sends in its place."""
    made = plan(router(SHOP), target)

    assert (made.rule, made.prefix, made.outcome) == (Rule.LOGIN, prefix, outcome)
    assert made.credential is Credential.SECRET


def test_a_refresh_of_a_users_token_gets_the_appid_only() -> None:
    """WeChat takes no secret there, so none is sent."""
    target = "/sns/oauth2/refresh_token?appid=x1&secret=s&refresh_token=r"

    made = plan(router(SHOP), target.replace("x1", "wx1"))

    assert made.prefix == "/sns/oauth2/refresh_token?refresh_token=r&appid=wx1"
    assert (made.credential, made.outcome) == (Credential.NONE, "skipped")


@pytest.mark.parametrize("path", ["jscode2session", "oauth2/access_token", "oauth2/refresh_token"])
def test_a_login_of_another_appid_passes_untouched(path: str) -> None:
    """Its owner's secret is in it; ours would only break it."""
    target = f"/sns/{path}?appid=wx9&secret=theirs&code=c"

    made = plan(router(SHOP), target)

    assert (made.account, made.rule, made.prefix) == (SHOP, Rule.PASS, target)


def test_a_signed_path_is_injected_under_its_own_rule() -> None:
    """Its body is signed with the token, so the proxy must never send it twice."""
    made = plan(router(SHOP), "/cgi-bin/midas/pay?access_token=x")

    assert (made.rule, made.credential) == (Rule.SIGNED, Credential.TOKEN)


@pytest.mark.parametrize(
    ("target", "prefix", "path"),
    [
        pytest.param("/wxa/%61?x=%2F", "/wxa/%61?x=%2F&access_token=", "/wxa/a", id="as sent"),
        pytest.param("//wxa//a", "/wxa//a?access_token=", "/wxa/a", id="leading slashes"),
        pytest.param("/@shop//wxa/a", "/wxa/a?access_token=", "/wxa/a", id="prefix, slashes"),
        pytest.param("/@shop", "/?access_token=", "/", id="prefix alone"),
        pytest.param("/a?", "/a?access_token=", "/a", id="empty query"),
        pytest.param("/a??b", "/a??b&access_token=", "/a", id="question mark in the query"),
        pytest.param("/a?u=http://x/@y", "/a?u=http://x/@y&access_token=", "/a", id="URL in query"),
        pytest.param(
            "http://api.weixin.qq.com/wxa/a?b=1", "/wxa/a?b=1&access_token=", "/wxa/a", id="URL"
        ),
        pytest.param("HTTP://SH.api.weixin.qq.com:80", "/?access_token=", "/", id="bare URL"),
        pytest.param("https://hk.api.weixin.qq.com?b", "/?b&access_token=", "/", id="URL, query"),
        pytest.param(
            "http://api.weixin.qq.com/@shop/a", "/a?access_token=", "/a", id="URL, prefix"
        ),
    ],
)
def test_what_is_forwarded_is_what_was_sent(target: str, prefix: str, path: str) -> None:
    """Path and query keep their bytes, in origin form; rules and labels use the normal copy."""
    made = plan(router(SHOP), target)

    assert (made.prefix, made.path) == (prefix, path)


def test_an_absolute_target_may_name_the_accounts_own_upstream() -> None:
    """A mirror is as good as WeChat for the account that uses it, and for no other."""
    target = "http://mirror.example:8080/wxa/a"

    assert plan(router(*ALL), target, account="news").prefix == "/wxa/a?access_token="
    with pytest.raises(RequestRefused):
        plan(router(*ALL), target, account="shop")


def test_the_host_of_an_absolute_target_counts_more_than_the_host_header() -> None:
    """RFC 9112, 3.2.2."""
    made = plan(
        router(SHOP, SALES), "http://qyapi.weixin.qq.com/cgi-bin/a", host=b"api.weixin.qq.com"
    )

    assert made.account is SALES


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/wxa/a",
        "http://api.weixin.qq.com.evil.example/a",
        "http://user@api.weixin.qq.com/a",
        "http://api.weixin.qq.com\\.evil.example/a",
        "http://evil.example/cgi-bin/token?appid=wx1",
        "http://evil.example/_wxproxy/token",
        "*",
        "wxa/a",
        "/@shop/@shop/a",
        "/\\@shop/a",
        "/@shop/../a",
        "/a/%2e%2e/b",
        "/a?b=%00",
        "/a#b",
    ],
)
def test_no_request_chooses_the_host_or_a_doubtful_path(target: str) -> None:
    """Only WeChat and the account's upstream are ever asked, for the path that was judged."""
    with pytest.raises(RequestRefused) as refused:
        router(SHOP).plan("GET", target, RequestHead((1, 1)), None)

    assert (refused.value.status, refused.value.code) == (400, "bad_request")


_NAMES = st.sampled_from(
    ["access_token", "openid", "token", "xaccess_token", "Access_Token", "", "名", "a b", "a=b"]
)
_VALUES = st.sampled_from(["", "x", "微信", "a&b=c", "access_token=y", "+ %", HELD]) | st.text()


def _encoded(text: str, style: int) -> str:
    """Text as clients encode it: usually, every byte, or with a plus for blanks."""
    if style == 0:
        return quote(text.replace("\0", ""), safe="")
    if style == 1:
        return "".join(f"%{byte:02x}" for byte in text.replace("\0", "").encode())
    return quote(text.replace("\0", ""), safe=" ").replace(" ", "+")


_STYLES = st.integers(0, 2)
_PARAMS = st.one_of(
    st.builds(
        lambda name, value, styles: f"{_encoded(name, styles[0])}={_encoded(value, styles[1])}",
        _NAMES,
        _VALUES,
        st.tuples(_STYLES, _STYLES),
    ),
    st.sampled_from(["", "b", "=", "a==", "access_token", "access%5ftoken", "c=?"]),
)
_PATHS = st.lists(st.text(max_size=5), max_size=3).map(
    lambda names: "/wxa/" + "".join(f"{_encoded(name, 0)}-/" for name in names)
)


@given(_PATHS, st.lists(_PARAMS, max_size=6))
def test_one_token_goes_in_and_every_other_byte_stays(path: str, params: list[str]) -> None:
    """Odd encodings, repeated and empty parameters, Unicode paths: all but the token is kept."""
    query = "&".join(params)
    kept = [
        piece
        for piece in (params if query else [])
        if unquote_plus(piece.partition("=")[0]) != "access_token"
    ]

    made = plan(router(SHOP, foreign_token="replace"), f"{path}?{query}")

    assert made.prefix == f"{path}?" + "&".join([*kept, "access_token="])


@given(_PATHS, st.lists(_PARAMS, max_size=4))
def test_the_short_way_gives_the_plan_of_the_long_one(path: str, params: list[str]) -> None:
    """Naming the only account in a header takes the long way and changes nothing else."""
    where = router(SHOP, foreign_token="replace")
    target = f"{path}?{'&'.join(params)}"

    assert plan(where, target) == plan(where, target, account="shop")
