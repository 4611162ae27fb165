"""What is masked in a text, with and without knowing the value, and what stays."""

import pytest

from wxproxy.logs import Redactor

KNOWN = "Kn0wn-secret_of.ours~1"
UNKNOWN = "76_aBcDeF-unknown_token"


@pytest.fixture
def redactor() -> Redactor:
    """Knows one secret."""
    redactor = Redactor()
    redactor.add(KNOWN, lasting=True)
    return redactor


MASKED_BY_PATTERN = [
    f"GET /cgi-bin/user/info?access_token={UNKNOWN}&openid=x HTTP/1.1",
    f"https://api.weixin.qq.com/cgi-bin/token?appid=wx1&secret={UNKNOWN}",
    f"/cgi-bin/gettoken?corpid=ww1&corpsecret={UNKNOWN}",
    f"component_access_token={UNKNOWN}",
    f"access_token%3D{UNKNOWN}%26x",
    f'{{"access_token":"{UNKNOWN}","expires_in":7200}}',
    f'{{"appsecret" : "{UNKNOWN}"}}',
    f"{{'secret': '{UNKNOWN}'}}",
    f"{{'AppSecret': b'{UNKNOWN}'}}",
    f'"{{\\"access_token\\":\\"{UNKNOWN}\\"}}"',
    f'"{{\\\\\\"ticket\\\\\\":\\\\\\"{UNKNOWN}\\\\\\"}}"',
    f"b'access_token={UNKNOWN}'",
    f"token='{UNKNOWN}'",
    f"refresh_token={UNKNOWN}",
    f'"session_key":"{UNKNOWN}=="',
    f"/sns/jscode2session?js_code={UNKNOWN}",
    f"Authorization: Bearer {UNKNOWN}",
    f"(b'Authorization', b'Bearer {UNKNOWN}')",
    f"X-Wxproxy-Key: {UNKNOWN}",
    f"/cgi-bin/webhook/send?key={UNKNOWN}",
    f"/path?anything={UNKNOWN}#f",
    f"ACCESS_TOKEN={UNKNOWN}",
    f"\naccess_token={UNKNOWN}\n",
]


@pytest.mark.parametrize("text", MASKED_BY_PATTERN)
def test_values_under_telling_names_are_masked(redactor: Redactor, text: str) -> None:
    """A token that nobody told us of is recognised by what stands before it."""
    masked = redactor.mask(text)

    assert "***" in masked
    assert UNKNOWN not in masked
    assert redactor.mask(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "token_id=1a2b3c4d",
        "trigger=secret_change account=shop",
        '{"token_id":"1a2b3c4d"}',
        "set token_api = stable, or look at secret_file",
        "WXPROXY_SECRET_FILE (environment): /run/secret: cannot be read",
        "errcode=40001 errmsg=invalid credential, access_token is invalid or not latest",
        "is it down? a = b",
    ],
)
def test_what_is_no_secret_stays(redactor: Redactor, text: str) -> None:
    """Names that only begin like a secret's, ids and prose are not masked."""
    assert redactor.mask(text) == text


@pytest.mark.parametrize(
    "text", ["{}", "x{}y", "({})", "/@shop/{}/x", '{{"note": "{}"}}', "{}{}", "a\n{}"]
)
def test_known_values_are_masked_anywhere(redactor: Redactor, text: str) -> None:
    """What we were told of is masked without any context, within longer words too."""
    assert KNOWN not in redactor.mask(text.format(KNOWN, KNOWN))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("via http://user:p%40ss@proxy:3128", "via http://***@proxy:3128"),
        ("'redis://:word@host/0'", "'redis://***@host/0'"),
        ("https://host/@name/path", "https://host/@name/path"),
        ("no user http://proxy:3128 a@b", "no user http://proxy:3128 a@b"),
    ],
    ids=["proxy", "redis", "path", "none"],
)
def test_a_user_in_a_url_is_masked(text: str, masked: str) -> None:
    """Of proxies and stores that other libraries may speak of."""
    assert Redactor().mask(text) == masked


def test_a_known_value_within_another_leaves_no_rest() -> None:
    """The longer of two overlapping values is masked first."""
    redactor = Redactor()
    redactor.add("abcdef")
    redactor.add("abcdefghij")

    assert redactor.mask("<abcdefghij>") == "<***>"


def test_short_values_are_not_learnt() -> None:
    """Masking each "x" would ruin every line."""
    redactor = Redactor()
    redactor.add("short")

    assert redactor.mask("a short text") == "a short text"


def test_the_newest_tokens_are_kept_and_secrets_always() -> None:
    """Tokens come all day: the memory for them is bounded, and they never displace a secret."""
    redactor = Redactor(capacity=2)
    redactor.add("the-secret", lasting=True)
    for token in ("token-1", "token-2", "token-1", "token-3"):
        redactor.add(token)

    assert redactor.mask("the-secret token-1 token-2 token-3") == "*** *** token-2 ***"


def test_forgetting_a_token_keeps_those_that_begin_alike() -> None:
    """Tokens share their beginnings; a secret that is also given as a token still lasts."""
    redactor = Redactor(capacity=1)
    redactor.add("wxp_ab-lasting", lasting=True)
    for token in ("wxp_ab-1", "wxp_ab-2", "wxp_ab-lasting", "wxp_cd-1"):
        redactor.add(token)

    masked = redactor.mask("wxp_ab-lasting wxp_ab-1 wxp_ab-2 wxp_cd-1")

    assert masked == "*** wxp_ab-1 wxp_ab-2 ***"


def test_a_token_can_become_lasting() -> None:
    """A value that is first seen as a token and then configured is never forgotten."""
    redactor = Redactor(capacity=1)
    redactor.add("value-1")
    redactor.add("value-1", lasting=True)
    redactor.add("value-2")
    redactor.add("value-3")

    assert redactor.mask("value-1 value-2 value-3") == "*** value-2 ***"
