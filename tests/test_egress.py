"""Egress proxies: how their URLs are read, whom they serve, and that no credential shows."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxproxy.accounts import Origin
from wxproxy.egress import EgressProxy, is_bypassed, proxy_url, way
from wxproxy.redact import Secret

WECHAT = Origin.parse("https://api.weixin.qq.com")
parse = proxy_url("egress_proxy")

URLS = {
    "name and port": ("http://proxy:3128", "http://proxy:3128"),
    "no port": ("http://proxy.corp.example", "http://proxy.corp.example:80"),
    "slash and blanks": (" http://PROXY:8080/\n", "http://proxy:8080"),
    "IPv4": ("http://10.0.0.1:3128", "http://10.0.0.1:3128"),
    "IPv6": ("http://[2001:DB8:0::1]:3128", "http://[2001:db8::1]:3128"),
    "credentials": ("http://user:word@proxy:3128", "http://proxy:3128"),
    "user alone": ("http://user@proxy:3128", "http://proxy:3128"),
}


@pytest.mark.parametrize(("raw", "shown"), URLS.values(), ids=URLS)
def test_a_proxy_is_shown_without_its_credentials(raw: str, shown: str) -> None:
    """What is printed can be compared with what was set, but for user and password."""
    assert str(parse(raw)) == shown


BAD_URLS = {
    "nothing": "",
    "no scheme": "proxy:3128",
    "TLS to the proxy": "https://proxy:3128",
    "SOCKS": "socks5://proxy:1080",
    "raw @ in the password": "http://u:p@ss@proxy:3128",
    "raw / in the password": "http://u:p/ss@proxy:3128",
    "no host": "http://u:p@:3128",
    "a path": "http://proxy:3128/x",
    "a query": "http://proxy:3128?x",
    "port 0": "http://proxy:0",
    "a port beyond all": "http://proxy:65536",
    "brackets without IPv6": "http://[1:2]:3128",
    "no text": 3128,
}


@pytest.mark.parametrize("raw", BAD_URLS.values(), ids=BAD_URLS)
def test_a_url_that_is_none_is_refused_with_what_was_expected(raw: object) -> None:
    """The text shows the shape and says how to write odd characters, and quotes nothing."""
    with pytest.raises(ValueError, match=r"^http://host:port .* percent-encoded$"):
        parse(raw)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(name=TEXTS.filter(lambda text: ":" not in text), password=TEXTS)
def test_credentials_reach_the_proxy_whatever_is_in_them(name: str, password: str) -> None:
    """User and password are decoded once and sent as Basic credentials, in UTF-8."""
    proxy = parse(f"http://{quote(name, safe='')}:{quote(password, safe='')}@proxy:3128")

    scheme, _, basic = proxy.headers(WECHAT)["Proxy-Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(basic).decode() == f"{name}:{password}"


def test_each_form_of_the_password_is_hidden_and_in_no_repr() -> None:
    """Whoever logs the value, the header or the URL finds them masked."""
    proxy = parse("http://user:p%40ssword@proxy:3128")
    basic = base64.b64encode(b"user:p@ssword").decode()

    assert set(proxy.hidden()) == {"user:p%40ssword", "p%40ssword", "p@ssword", basic}
    assert [one for one in proxy.hidden() if one in repr(proxy) + str(proxy)] == []


def test_a_proxy_without_credentials_hides_and_sends_none() -> None:
    """No empty credentials go out."""
    proxy = parse("http://proxy:3128")

    assert proxy.hidden() == ()
    assert proxy.headers(WECHAT) == {"Host": "api.weixin.qq.com"}


BYPASSES = {
    "nothing": ("https://api.weixin.qq.com", "", False),
    "everything": ("https://api.weixin.qq.com", "*", True),
    "the host": ("https://api.weixin.qq.com", "localhost, api.weixin.qq.com", True),
    "its domain": ("https://api.weixin.qq.com", ".qq.com", True),
    "its domain without a dot": ("https://api.weixin.qq.com", "qq.com", True),
    "host and port": ("https://api.weixin.qq.com", "API.weixin.qq.com:443", True),
    "another port": ("https://api.weixin.qq.com", "api.weixin.qq.com:8443", False),
    "another host": ("https://api.weixin.qq.com", "weixin.qq.com.cn,evil-qq.com", False),
    "an address": ("https://127.0.0.1:8443", "127.0.0.1", True),
    "an IPv6 address": ("https://[::1]:8443", "::1", True),
}


@pytest.mark.parametrize(("url", "bypass", "expected"), BYPASSES.values(), ids=BYPASSES)
def test_no_proxy_is_read_as_other_programs_read_it(url: str, bypass: str, expected: bool) -> None:
    """Hosts, suffixes, ports and the star mean what they mean elsewhere."""
    assert is_bypassed(Origin.parse(url), bypass) is expected


@pytest.mark.parametrize(
    ("url", "bypass", "expected"),
    [
        ("https://api.weixin.qq.com", "", "http://proxy:3128"),
        ("https://api.weixin.qq.com", "qq.com", "direct"),
        ("http://127.0.0.1:5790", "", "direct"),
    ],
    ids=["TLS", "bypassed", "plain"],
)
def test_only_what_fits_a_tunnel_goes_through(url: str, bypass: str, expected: str) -> None:
    """A plain upstream would show the token to the proxy."""
    proxy = EgressProxy("proxy", 3128, Secret("u:p"), bypass)

    assert way(Origin.parse(url), proxy) == expected
    assert proxy.serves(Origin.parse(url)) is (expected != "direct")


def test_without_a_proxy_the_way_is_direct() -> None:
    """Nothing set, nothing between."""
    assert way(WECHAT, None) == "direct"
