"""Accounts, their stand-in tokens, and the book that knows what names and tokens mean."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxproxy.accounts import (
    DEFAULT_UPSTREAMS,
    DUMMY_TOKEN_MAX_LENGTH,
    Account,
    AccountBook,
    Kind,
    Origin,
    TokenApi,
    placeholder,
)


def account(name: str, appid: str, kind: Kind = Kind.OFFICIAL) -> Account:
    """An account with the usual upstream of its kind."""
    return Account(name, appid, kind, TokenApi.STABLE, (Origin.parse(DEFAULT_UPSTREAMS[kind]),))


SHOP = account("shop", "wx1")
SALES = account("sales", "ww1", Kind.WECOM)
CHAT = account("chat", "ww1", Kind.WECOM)


@given(st.sampled_from(Kind), st.text(), st.text())
def test_a_placeholder_looks_like_a_token(kind: Kind, appid: str, name: str) -> None:
    """SDKs take short arguments for appids, reserve 512 characters, and put it into URLs."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{128,512}", placeholder(kind, appid, name))


def test_a_placeholder_never_changes() -> None:
    """Every replica and every release must know what an SDK has cached."""
    assert placeholder(Kind.OFFICIAL, "wx1", "shop") == (
        "wxp_6d8Zn7FXBYcFxD4MOFgNbJPx4ShfOuxu2uVKyi-BlFuxVJqphujW8sdrEmNRXVem4UjXy2"
        "hsqiICKLt770N54dTDh5dWQRbb-HeCCphuae6Nkat_27MQY3F0FvO_XqI-8zO-gZ1ZqPCXX0OP"
    )


def test_an_official_placeholder_depends_on_the_appid_only() -> None:
    """Renaming an account leaves what its clients hold valid."""
    assert placeholder(Kind.OFFICIAL, "wx1", "a") == placeholder(Kind.OFFICIAL, "wx1", "b")
    assert placeholder(Kind.OFFICIAL, "wx1", "a") != placeholder(Kind.OFFICIAL, "wx2", "a")


def test_wecom_agents_of_one_corp_have_placeholders_of_their_own() -> None:
    """Agents share a corpid but not a token."""
    assert SALES.placeholder != CHAT.placeholder
    assert placeholder(Kind.WECOM, "ww1", "") != placeholder(Kind.OFFICIAL, "ww1", "")


def test_a_placeholder_is_no_dummy() -> None:
    """A stand-in whose account is gone is refused, not replaced like a dummy."""
    assert len(SHOP.placeholder) > DUMMY_TOKEN_MAX_LENGTH


def test_an_account_does_not_print_its_placeholder() -> None:
    """In a gateway it names an account to whoever reads the log."""
    assert SHOP.placeholder not in repr(SHOP)
    assert "shop" in repr(SHOP)


def test_the_book_knows_names_and_appids() -> None:
    """Both work wherever an account is named; a corpid may mean several."""
    book = AccountBook([SHOP, SALES, CHAT])

    assert book.accounts == (SHOP, SALES, CHAT)
    assert book.named("shop") == book.named("wx1") == (SHOP,)
    assert book.named("ww1") == (SALES, CHAT)
    assert book.named("nobody") == book.named("") == ()


def test_an_account_named_by_its_appid_is_listed_once() -> None:
    """With settings from the environment alone the name is the appid."""
    only = account("wx1", "wx1")

    assert AccountBook([only]).named("wx1") == (only,)


def test_the_book_knows_whose_token_it_is() -> None:
    """Placeholders and tokens fetched earlier name their account; other tokens nobody."""
    book = AccountBook([SHOP, SALES])
    book.remember(SALES, "token-1")
    book.remember(SALES, "token-2")

    assert book.holder(SHOP.placeholder) is SHOP
    assert book.holder("token-1") is SALES
    assert book.holder("token-2") is SALES
    assert book.holder("token-3") is None
    assert book.holder("") is None


def test_only_placeholders_are_placeholders() -> None:
    """A held token is a credential and is treated as one."""
    book = AccountBook([SHOP])
    book.remember(SHOP, "token-1")

    assert book.is_placeholder(SHOP.placeholder)
    assert not book.is_placeholder("token-1")
    assert not book.is_placeholder(SALES.placeholder)


def test_the_book_forgets_the_oldest_tokens_and_no_placeholder() -> None:
    """A year of refreshes takes no more memory than a day."""
    book = AccountBook([SHOP])
    for number in range(1000):
        book.remember(SHOP, f"token-{number}")

    assert book.holder("token-0") is None
    assert book.holder("token-999") is SHOP
    assert book.holder("token-985") is SHOP
    assert book.holder(SHOP.placeholder) is SHOP


@pytest.mark.parametrize(
    ("url", "origin", "netloc"),
    [
        (
            "https://api.weixin.qq.com",
            Origin("https", "api.weixin.qq.com", 443),
            "api.weixin.qq.com",
        ),
        ("https://api.weixin.qq.com/", Origin("https", "api.weixin.qq.com", 443), None),
        ("http://127.0.0.1:8080", Origin("http", "127.0.0.1", 8080), "127.0.0.1:8080"),
        ("http://mirror:80", Origin("http", "mirror", 80), "mirror"),
        ("https://mirror:80", Origin("https", "mirror", 80), "mirror:80"),
        ("https://[::1]:8443", Origin("https", "::1", 8443), "[::1]:8443"),
        ("HTTPS://API.weixin.qq.com", Origin("https", "api.weixin.qq.com", 443), None),
    ],
)
def test_an_upstream_is_read_from_its_url(url: str, origin: Origin, netloc: str | None) -> None:
    """The Host header has the port only where it is not the scheme's own."""
    assert origin == Origin.parse(url)
    assert origin.netloc == (netloc or "api.weixin.qq.com")
    assert origin.is_tls == (origin.scheme == "https")
    assert Origin.parse(str(origin)) == origin


@pytest.mark.parametrize(
    "url",
    [
        "api.weixin.qq.com",
        "ftp://api.weixin.qq.com",
        "https://",
        "https://host/path",
        "https://host?x=1",
        "https://host#x",
        "https://user@host",
        "https://host:port",
        "https://host:70000",
        "https://[::1",
        "",
    ],
)
def test_an_upstream_that_is_no_base_url_is_refused(url: str) -> None:
    """Paths are the client's; a user or query in the base URL would be dropped silently."""
    with pytest.raises(ValueError, match=r".+"):
        Origin.parse(url)
