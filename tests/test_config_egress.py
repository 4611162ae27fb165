"""Where the way out is set: the settings' own keys, HTTPS_PROXY and NO_PROXY, and ip_family."""

import pytest

from wxproxy.config import load
from wxproxy.errors import ConfigError

ONE = {"WXPROXY_APPID": "wx1", "WXPROXY_SECRET": "a-secret"}
PASSWORD = "p-of-the-proxy"
OURS, THEIRS, OTHERS = (f"http://u:{PASSWORD}@{host}:3128" for host in ("ours", "theirs", "others"))

CASES: dict[str, tuple[dict[str, str], str, str]] = {
    "nothing": ({}, "None", "None"),
    "own": ({"WXPROXY_EGRESS_PROXY": OURS}, "ours", "ours"),
    "own for tokens": ({"WXPROXY_TOKEN_EGRESS_PROXY": OURS}, "None", "ours"),
    "both": (
        {"WXPROXY_EGRESS_PROXY": OURS, "WXPROXY_TOKEN_EGRESS_PROXY": OTHERS},
        "ours",
        "others",
    ),
    "HTTPS_PROXY": ({"HTTPS_PROXY": THEIRS}, "theirs", "theirs"),
    "https_proxy": ({"https_proxy": THEIRS, "HTTPS_PROXY": OTHERS}, "theirs", "theirs"),
    "https_proxy emptied": ({"https_proxy": "", "HTTPS_PROXY": THEIRS}, "None", "None"),
    "without a scheme": ({"HTTPS_PROXY": "theirs:3128"}, "theirs", "theirs"),
    "own over HTTPS_PROXY": (
        {"WXPROXY_EGRESS_PROXY": OURS, "HTTPS_PROXY": THEIRS},
        "ours",
        "ours",
    ),
    "own in spite of NO_PROXY": ({"WXPROXY_EGRESS_PROXY": OURS, "NO_PROXY": "*"}, "ours", "ours"),
    "own for tokens beside HTTPS_PROXY": (
        {"WXPROXY_TOKEN_EGRESS_PROXY": OURS, "HTTPS_PROXY": THEIRS},
        "theirs",
        "ours",
    ),
    "NO_PROXY": ({"HTTPS_PROXY": THEIRS, "NO_PROXY": "x, .qq.com"}, "None", "None"),
    "no_proxy": ({"HTTPS_PROXY": THEIRS, "no_proxy": "", "NO_PROXY": "*"}, "theirs", "theirs"),
    "a plain upstream": (
        {"HTTPS_PROXY": THEIRS, "WXPROXY_UPSTREAM": "http://127.0.0.1:1"},
        "None",
        "None",
    ),
    "an unusable one that nothing needs": (
        {"HTTPS_PROXY": "socks5://x", "WXPROXY_UPSTREAM": "http://127.0.0.1:1"},
        "None",
        "None",
    ),
    "an unusable one that is gone over": (
        {"HTTPS_PROXY": "socks5://x", "WXPROXY_EGRESS_PROXY": OURS},
        "ours",
        "ours",
    ),
    "HTTP_PROXY and ALL_PROXY": ({"HTTP_PROXY": THEIRS, "ALL_PROXY": THEIRS}, "None", "None"),
}


@pytest.mark.parametrize(("environ", "calls", "tokens"), CASES.values(), ids=CASES)
def test_the_way_out_is_what_was_set_nearest(
    environ: dict[str, str], calls: str, tokens: str
) -> None:
    """Own settings go over the environment's; token calls have the proxy of all others."""
    loaded = load({}, {**ONE, **environ})

    assert [calls in str(loaded.egress_proxy), tokens in str(loaded.token_proxy)] == [True, True]
    assert PASSWORD not in repr(loaded)


def test_no_proxy_goes_on_sparing_some_of_the_upstreams() -> None:
    """With several upstreams, those that NO_PROXY names are reached without the proxy."""
    both = {"WXPROXY_UPSTREAM": "https://api.weixin.qq.com,https://api2.weixin.qq.com"}
    loaded = load({}, {**ONE, **both, "HTTPS_PROXY": THEIRS, "NO_PROXY": "api2.weixin.qq.com"})

    proxy = loaded.egress_proxy
    assert proxy is not None
    assert [proxy.serves(one) for one in loaded.accounts[0].upstream] == [True, False]


BAD = {
    "own": ({"WXPROXY_EGRESS_PROXY": f"socks5://u:{PASSWORD}@h:1"}, "WXPROXY_EGRESS_PROXY"),
    "tokens": (
        {"WXPROXY_TOKEN_EGRESS_PROXY": f"u:{PASSWORD}@h:1"},
        "WXPROXY_TOKEN_EGRESS_PROXY",
    ),
    "HTTPS_PROXY": ({"HTTPS_PROXY": f"https://u:{PASSWORD}@h:1"}, "HTTPS_PROXY"),
    "https_proxy": ({"https_proxy": f"socks5h://u:{PASSWORD}@h:1"}, "https_proxy"),
}


@pytest.mark.parametrize(("environ", "name"), BAD.values(), ids=BAD)
def test_a_proxy_that_cannot_be_used_is_told_by_its_variable(
    environ: dict[str, str], name: str
) -> None:
    """Going out directly instead would be a surprise; the password is not quoted."""
    with pytest.raises(ConfigError, match=rf"^{name} \(environment\): expected http://") as caught:
        load({}, {**ONE, **environ})

    assert PASSWORD not in str(caught.value)


FAMILIES = {
    "IPv4 upstream": ({"WXPROXY_IP_FAMILY": "6", "WXPROXY_UPSTREAM": "http://127.0.0.1:1"}, "4"),
    "IPv6 upstream": ({"WXPROXY_IP_FAMILY": "4", "WXPROXY_UPSTREAM": "https://[::1]:1"}, "6"),
    "IPv6 proxy": ({"WXPROXY_IP_FAMILY": "4", "WXPROXY_EGRESS_PROXY": "http://[::1]:1"}, "6"),
    "IPv4 proxy": ({"WXPROXY_IP_FAMILY": "6", "HTTPS_PROXY": "10.0.0.1:3128"}, "4"),
}


@pytest.mark.parametrize(("environ", "family"), FAMILIES.values(), ids=FAMILIES)
def test_an_address_of_the_other_family_is_refused(environ: dict[str, str], family: str) -> None:
    """Each call to it would fail."""
    with pytest.raises(ConfigError, match=rf"IP_FAMILY \(environment\): expected auto or {family}"):
        load({}, {**ONE, **environ})


@pytest.mark.parametrize(
    "environ",
    [
        {"WXPROXY_IP_FAMILY": "4", "WXPROXY_UPSTREAM": "http://127.0.0.1:1"},
        {"WXPROXY_IP_FAMILY": "6", "WXPROXY_UPSTREAM": "http://[::1]:1"},
        {"WXPROXY_IP_FAMILY": "6"},
        {"WXPROXY_UPSTREAM": "http://127.0.0.1:1"},
    ],
    ids=["IPv4", "IPv6", "a name", "auto"],
)
def test_what_fits_the_family_is_taken(environ: dict[str, str]) -> None:
    """Names may have either."""
    assert load({}, {**ONE, **environ}).ip_family.value == environ.get("WXPROXY_IP_FAMILY", "auto")
