"""Which account a request means, whose tokens are refused, and who may call."""

from typing import Any

import pytest

from tests.routing_fakes import (
    ALL,
    CHAT,
    FOREIGN,
    HELD,
    HOME,
    NEWS,
    SALES,
    SHOP,
    local_plan,
    plan,
    router,
)
from wxproxy.accounts import Account
from wxproxy.errors import ForeignToken, RequestRefused, UnknownAccount, WxProxyError
from wxproxy.paths import Rule
from wxproxy.routing import ForeignTokenPolicy


@pytest.mark.parametrize(
    ("target", "head", "listener", "chosen"),
    [
        pytest.param("/wxa/a", {}, NEWS, NEWS, id="listener"),
        pytest.param("/wxa/a", {"account": "news"}, None, NEWS, id="header, name"),
        pytest.param("/wxa/a", {"account": "wx2"}, None, NEWS, id="header, appid"),
        pytest.param("/@news/wxa/a", {}, None, NEWS, id="prefix"),
        pytest.param("/%40n%65ws/wxa/a", {}, None, NEWS, id="prefix, encoded"),
        pytest.param("/wxa/a?from_appid=wx2", {}, None, NEWS, id="from_appid"),
        pytest.param("/wxa/a?from_appid=", {}, SHOP, SHOP, id="empty from_appid"),
        pytest.param(f"/wxa/a?access_token={NEWS.placeholder}", {}, None, NEWS, id="placeholder"),
        pytest.param(f"/wxa/a?access_token={HELD}", {}, None, SHOP, id="held token"),
        pytest.param(f"/sns/userinfo?access_token={HELD}", {}, None, SHOP, id="on a pass path"),
        pytest.param(f"/wxa/a?x=%20&access_token={HELD}", {}, None, SHOP, id="the long way"),
        pytest.param("/sns/jscode2session?appid=wx2", {}, None, NEWS, id="appid on login"),
        pytest.param(
            f"/cgi-bin/a?access_token={CHAT.placeholder}",
            {"host": b"qyapi.weixin.qq.com", "account": "ww1"},
            None,
            CHAT,
            id="three that agree",
        ),
        pytest.param("/wxa/a", {"account": "shop"}, SHOP, SHOP, id="two that agree"),
        pytest.param("/a?from_appid=wx1&from_appid=shop", {}, None, SHOP, id="same one twice"),
    ],
)
def test_a_request_chooses_its_account(
    target: str, head: dict[str, Any], listener: Account | None, chosen: Account
) -> None:
    """Each way of choosing works on its own and together with others that agree."""
    assert chosen is plan(router(*ALL), target, listener=listener, **head).account


@pytest.mark.parametrize(
    ("accounts", "head", "chosen"),
    [
        pytest.param((SHOP,), {}, SHOP, id="the only one"),
        pytest.param((SHOP, HOME), {}, HOME, id="the default"),
        pytest.param((SALES,), {"host": b"qyapi.weixin.qq.com"}, SALES, id="the only one of wecom"),
        pytest.param((SHOP, SALES), {"host": b"qyapi.weixin.qq.com"}, SALES, id="wecom's host"),
        pytest.param((SHOP, SALES), {"host": b"api.weixin.qq.com"}, SHOP, id="official host"),
        pytest.param((SHOP, HOME), {"host": b"hk.api.weixin.qq.com"}, HOME, id="default of kind"),
    ],
)
def test_without_a_choice_the_default_or_the_only_account_serves(
    accounts: tuple[Account, ...], head: dict[str, Any], chosen: Account
) -> None:
    """A single account needs no selector; several need a default."""
    assert chosen is plan(router(*accounts), "/cgi-bin/a", **head).account


@pytest.mark.parametrize(
    ("target", "head", "listener"),
    [
        pytest.param("/wxa/a", {"account": "news"}, SHOP, id="listener and header"),
        pytest.param("/@news/wxa/a", {"account": "shop"}, None, id="prefix and header"),
        pytest.param("/@news/a?from_appid=wx1", {}, None, id="prefix and from_appid"),
        pytest.param(f"/a?access_token={HELD}", {"account": "news"}, None, id="token and header"),
        pytest.param(f"/a?access_token={HELD}", {}, NEWS, id="token and listener"),
        pytest.param(
            f"/a?access_token={HELD}&access_token={NEWS.placeholder}", {}, None, id="two tokens"
        ),
        pytest.param("/sns/jscode2session?appid=wx2", {}, SHOP, id="appid and listener"),
        pytest.param("/sns/jscode2session", {}, SALES, id="login and wecom"),
        pytest.param("/cgi-bin/token?appid=wx2", {}, SHOP, id="token call and listener"),
        pytest.param("/cgi-bin/gettoken?corpid=ww1", {}, SHOP, id="other kind's token call"),
        pytest.param("/a", {"host": b"qyapi.weixin.qq.com"}, SHOP, id="host and listener"),
        pytest.param("http://qyapi.weixin.qq.com/a", {}, SHOP, id="absolute host and listener"),
    ],
)
def test_two_choices_that_disagree_are_refused(
    target: str, head: dict[str, Any], listener: Account | None
) -> None:
    """A wrong account's token is the worst of bugs; better no call."""
    with pytest.raises(RequestRefused) as refused:
        plan(router(*ALL), target, listener=listener, **head)

    assert (refused.value.status, refused.value.code) == (400, "account_conflict")


@pytest.mark.parametrize(
    ("accounts", "target", "head"),
    [
        pytest.param(ALL, "/wxa/a", {}, id="none chosen"),
        pytest.param(ALL, "/wxa/a?access_token=dummy", {}, id="a dummy token"),
        pytest.param(ALL, "/cgi-bin/a", {"account": "ww1"}, id="a corpid that two share"),
        pytest.param((SHOP,), "/wxa/a", {"account": "nobody"}, id="unknown header"),
        pytest.param((SHOP,), "/wxa/a", {"account": ""}, id="empty header"),
        pytest.param((SHOP,), "/@nobody/wxa/a", {}, id="unknown prefix"),
        pytest.param((SHOP,), "/@/wxa/a", {}, id="empty prefix"),
        pytest.param((SHOP,), "/@..%2Fshop/wxa/a", {}, id="odd prefix"),
        pytest.param((SHOP,), "/wxa/a?from_appid=wx9", {}, id="unknown from_appid"),
        pytest.param((SHOP,), "/a", {"host": b"qyapi.weixin.qq.com"}, id="no account of the kind"),
        pytest.param((SALES,), "/sns/jscode2session", {}, id="no official account"),
    ],
)
def test_no_account_or_an_unknown_one_is_shaped_like_40013(
    accounts: tuple[Account, ...], target: str, head: dict[str, Any]
) -> None:
    """SDKs know 40013; a person reads the cure."""
    with pytest.raises(UnknownAccount) as unknown:
        plan(router(*accounts), target, **head)

    assert (unknown.value.status, unknown.value.errcode) == (404, 40013)


@pytest.mark.parametrize(
    ("policy", "target", "expected"),
    [
        pytest.param(
            "replace",
            f"/a?access_token={FOREIGN}&b=1",
            (Rule.INJECT, "/a?b=1&access_token=", "overwritten", True),
            id="replace",
        ),
        pytest.param(
            "replace",
            "/a?access_token=" + "d" * 63,
            (Rule.INJECT, "/a?access_token=", "overwritten", False),
            id="dummy",
        ),
        pytest.param(
            "refuse",
            "/a?access_token=" + "d" * 63,
            (Rule.INJECT, "/a?access_token=", "overwritten", False),
            id="dummy where foreign ones are refused",
        ),
        pytest.param(
            "pass",
            f"//a?b=%2F&access_token={FOREIGN}&from_appid=",
            (Rule.PASS, f"/a?b=%2F&access_token={FOREIGN}", "client_supplied", False),
            id="pass",
        ),
        pytest.param(
            "pass",
            f"/cgi-bin/midas/pay?access_token={FOREIGN}",
            (Rule.PASS, f"/cgi-bin/midas/pay?access_token={FOREIGN}", "client_supplied", False),
            id="pass, signed",
        ),
        pytest.param(
            "refuse",
            f"/sns/userinfo?access_token={FOREIGN}",
            (Rule.PASS, f"/sns/userinfo?access_token={FOREIGN}", "skipped", False),
            id="a user's token on its own path",
        ),
        pytest.param(
            "refuse",
            f"/sns/jscode2session?access_token={FOREIGN}",
            (Rule.LOGIN, "/sns/jscode2session?appid=wx1&secret=", "injected", False),
            id="none is used on login",
        ),
    ],
)
def test_a_foreign_token_follows_the_setting(
    policy: ForeignTokenPolicy, target: str, expected: tuple[Any, ...]
) -> None:
    """Short ones are dummies; longer ones are replaced, or passed on, as configured."""
    made = plan(router(SHOP, foreign_token=policy), target)

    assert expected == (made.rule, made.prefix, made.outcome, made.foreign)


@pytest.mark.parametrize(
    "target",
    [
        f"/a?access_token={FOREIGN}",
        f"/a?access_token={'d' * 64}",
        f"/a?access_token={HELD}&access_token={FOREIGN}",
        f"/a?%61ccess_token={FOREIGN}",
        f"/a?access_token={FOREIGN}&x=%20",
    ],
)
@pytest.mark.parametrize("accounts", [(SHOP,), ALL], ids=["one account", "several"])
def test_a_foreign_token_is_refused_as_wechat_would(
    accounts: tuple[Account, ...], target: str
) -> None:
    """HTTP 200 with 40014 makes an SDK fetch a token, which it is then given by the sidecar."""
    with pytest.raises(ForeignToken) as refused:
        plan(router(*accounts), target)

    assert (refused.value.status, refused.value.errcode) == (200, 40014)


@pytest.mark.parametrize(
    ("target", "head", "listener"),
    [
        pytest.param(f"/a?access_token={FOREIGN}", {}, NEWS, id="listener"),
        pytest.param(f"/a?access_token={FOREIGN}", {"account": "news"}, None, id="header"),
        pytest.param(f"/@news/a?access_token={FOREIGN}", {}, None, id="prefix"),
        pytest.param(f"/a?access_token={FOREIGN}&from_appid=wx2", {}, None, id="from_appid"),
    ],
)
@pytest.mark.parametrize("policy", ["replace", "refuse", "pass"])
def test_an_explicit_choice_always_replaces_a_foreign_token(
    policy: ForeignTokenPolicy, target: str, head: dict[str, Any], listener: Account | None
) -> None:
    """Who names the account has said whose token is wanted; it still counts as foreign."""
    made = plan(router(*ALL, foreign_token=policy), target, listener=listener, **head)

    assert (made.account, made.prefix, made.foreign) == (NEWS, "/a?access_token=", True)


@pytest.mark.parametrize(
    ("origin", "cross_site", "target"),
    [
        ("https://page.example", False, "/wxa/a"),
        ("null", False, "/wxa/a"),
        (None, True, "/wxa/a"),
        ("https://page.example", True, "/_wxproxy/refresh"),
        ("HTTP://localhost:3000", False, "/wxa/a"),
    ],
)
def test_a_web_page_may_not_use_the_token(
    origin: str | None, cross_site: bool, target: str
) -> None:
    """Any page can post to 127.0.0.1; only origins that are named may."""
    where = router(SHOP, allow_origins=frozenset({"http://localhost:3000"}))

    with pytest.raises(RequestRefused) as refused:
        plan(where, target, origin=origin, cross_site=cross_site)

    assert (refused.value.status, refused.value.code) == (403, "browser_request")


def test_a_page_of_an_allowed_origin_may_call() -> None:
    """Also across sites: the origin is what was named."""
    where = router(SHOP, allow_origins=frozenset({"http://localhost:3000"}))

    made = plan(where, "/wxa/a", origin="http://localhost:3000", cross_site=True)

    assert made.outcome == "injected"


@pytest.mark.parametrize(
    ("target", "listener", "candidates"),
    [
        pytest.param("/cgi-bin/stable_token", None, (SHOP, NEWS), id="the body decides"),
        pytest.param("/cgi-bin/token?appid=wx2&secret=s", None, (NEWS,), id="appid"),
        pytest.param("/cgi-bin/token?appid=wx9", None, (SHOP, NEWS), id="appid of nobody"),
        pytest.param("/cgi-bin/token?appid=wx9", NEWS, (NEWS,), id="appid of nobody, listener"),
        pytest.param("/@news/cgi-bin/%74oken", None, (NEWS,), id="prefix, encoded path"),
        pytest.param("/cgi-bin/gettoken?corpid=ww1", None, (SALES, CHAT), id="shared corpid"),
        pytest.param("/cgi-bin/gettoken?corpid=ww1", CHAT, (CHAT,), id="shared corpid, listener"),
        pytest.param("/_wxproxy/refresh", None, ALL, id="control"),
        pytest.param("/_wxproxy/refresh?from_appid=wx1", None, (SHOP,), id="control, from_appid"),
    ],
)
def test_a_token_call_keeps_the_accounts_that_its_head_leaves(
    target: str, listener: Account | None, candidates: tuple[Account, ...]
) -> None:
    """Of the endpoint's platform; the body or the secret decides among them."""
    assert candidates == local_plan(router(*ALL), target, listener).candidates


def test_a_local_plan_keeps_the_query_without_the_selector() -> None:
    """The handler reads the query; what may be passed on is whole but for from_appid."""
    made = local_plan(router(*ALL), "//cgi-bin/token?appid=wx9&from_appid=wx1&secret=%41")

    assert made.path == "/cgi-bin/token"
    assert made.query == "appid=wx9&secret=%41"
    assert made.target == "/cgi-bin/token?appid=wx9&secret=%41"


def test_a_third_party_token_does_not_carry_a_token_call_past_the_sidecar() -> None:
    """The live token would die of it."""
    made = local_plan(router(SHOP), "/cgi-bin/token?component_access_token=x")

    assert made.rule is Rule.TOKEN_ENDPOINT


def test_candidates_are_narrowed_by_name_or_appid() -> None:
    """For bodies and control routes, which name their account too."""
    where = router(*ALL)

    assert where.narrow(ALL, "news") == (NEWS,)
    assert where.narrow(ALL, "ww1") == (SALES, CHAT)
    assert where.narrow((SHOP,), "news") == ()
    assert where.narrow(ALL, "nobody") == ()


def test_plans_and_errors_show_neither_tokens_nor_queries() -> None:
    """What is printed of a request holds nothing that must not be seen."""
    where = router(*ALL)
    shown = [
        repr(plan(where, f"/a?openid=o-x&access_token={HELD}")),
        repr(local_plan(where, "/cgi-bin/token?appid=wx1&secret=o-x")),
    ]
    for target in (f"/a?x=o-x&access_token={FOREIGN}", "/a?o-x#", "/@o-x/a", "http://o-x/a"):
        with pytest.raises(WxProxyError) as refused:
            plan(where, target, listener=None if "/@" in target or FOREIGN in target else SHOP)
        shown.append(f"{refused.value}{refused.value.body()!r}")

    for text in shown:
        assert "o-x" not in text
        assert HELD not in text
        assert FOREIGN not in text
