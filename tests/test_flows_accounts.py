"""Which account a request is for, with several of them: client, sidecar and sandbox."""

import json
from pathlib import Path

import pytest

from tests.conftest import SidecarFactory
from tests.harness import RawReply, Sidecar
from tests.wire import ask_once, metric, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import (
    AGENT,
    AGENT_SECRET,
    APPID,
    APPID_2,
    CORPID,
    SECRET,
    SECRET_2,
    FamilyName,
)

USERS = "/cgi-bin/user/get"
STRANGER = "84_" + "token-of-another-system" * 4

ACCOUNTS = f"""
[[accounts]]
name = "shop"
appid = "{APPID}"
secret = "{SECRET}"
upstream = "{{url}}"
{{default}}

[[accounts]]
name = "game"
appid = "{APPID_2}"
secret = "{SECRET_2}"
upstream = "{{url}}"
listen = "127.0.0.1:0"

[[accounts]]
name = "desk"
appid = "{CORPID}"
secret = "{AGENT_SECRET}"
kind = "wecom"
upstream = "{{url}}"
"""


class Several:
    """A sidecar with three accounts: shop, which is the default, game and desk (WeCom)."""

    def __init__(self, sidecar: Sidecar, sandbox: Sandbox) -> None:
        self.sidecar = sidecar
        self.sandbox = sandbox
        self.placeholders = {one.name: one.placeholder for one in sidecar.app.accounts}

    def live(self, name: str) -> str:
        """The token that WeChat gave last for the account."""
        appid, family, agent = _OWNERS[name]
        return self.sandbox.token(appid, family=family, agent=agent)

    async def ask(self, target: str, *headers: str, listener: int = -1) -> RawReply:
        """Ask on the common listener, or on game's own (0)."""
        url = self.sidecar.app.proxy_addresses[listener]
        return await ask_once(url, request(self.filled(target), *headers))

    def filled(self, text: str) -> str:
        """The text with ``{placeholder game}`` and ``{live game}`` put in."""
        for name in _OWNERS:
            text = text.replace(f"{{placeholder {name}}}", self.placeholders[name])
            text = text.replace(f"{{live {name}}}", self.live(name))
        return text


_OWNERS: dict[str, tuple[str, FamilyName, str]] = {
    "shop": (APPID, "stable", ""),
    "game": (APPID_2, "stable", ""),
    "desk": (CORPID, "gettoken", AGENT),
}


async def begin(
    start: SidecarFactory, sandbox: Sandbox, path: Path, *, default: bool = True, **settings: str
) -> Several:
    """Start a sidecar with the accounts in a file, and give each its token."""
    path.write_text(ACCOUNTS.format(url=sandbox.url, default="default = true" if default else ""))
    several = Several(await start("", config=path, **settings), sandbox)
    for name in _OWNERS:
        await several.ask("/sandbox/echo", f"X-Wxproxy-Account: {name}")
    sandbox.calls.clear()
    return several


@pytest.fixture
async def several(start: SidecarFactory, sandbox: Sandbox, tmp_path: Path) -> Several:
    """Three accounts with a default one."""
    return await begin(start, sandbox, tmp_path / "wx.toml")


CHOICES = {
    "nothing: the default": ("shop", USERS, ()),
    "header by name": ("game", USERS, ("X-Wxproxy-Account: game",)),
    "header by appid": ("game", USERS, (f"x-wxproxy-account: {APPID_2}",)),
    "header by corpid": ("desk", USERS, (f"X-Wxproxy-Account: {CORPID}",)),
    "prefix by name": ("game", f"/@game{USERS}", ()),
    "prefix by appid, encoded": ("game", f"/%40{APPID_2}{USERS}", ()),
    "from_appid": ("game", f"{USERS}?from_appid={APPID_2}", ()),
    "placeholder": ("game", f"{USERS}?access_token={{placeholder game}}", ()),
    "placeholder, encoded name": ("game", f"{USERS}?%61ccess_token={{placeholder game}}", ()),
    "token that we hold": ("game", f"{USERS}?access_token={{live game}}", ()),
    "WeCom's host": ("desk", USERS, ("Host: qyapi.weixin.qq.com",)),
    "absolute target": ("desk", f"https://qyapi.weixin.qq.com{USERS}", ()),
    "all that agree": (
        "game",
        f"/@game{USERS}?from_appid={APPID_2}&access_token={{live game}}",
        (f"X-Wxproxy-Account: {APPID_2}",),
    ),
    "a choice beats a foreign token": (
        "game",
        f"{USERS}?access_token={STRANGER}",
        ("X-Wxproxy-Account: game",),
    ),
}


@pytest.mark.parametrize(("name", "target", "headers"), CHOICES.values(), ids=CHOICES)
async def test_each_selector_chooses_its_account(
    several: Several, name: str, target: str, headers: tuple[str, ...]
) -> None:
    """WeChat sees the chosen account's token once, and nothing of what chose it."""
    reply = await several.ask(target, *headers)

    assert reply.status == 200
    (seen,) = several.sandbox.seen("/")
    assert seen.target == f"{USERS}?access_token={several.live(name)}"
    assert seen.header("X-Wxproxy-Account") == ""


async def test_an_earlier_token_still_names_its_account(several: Several) -> None:
    """An SDK that goes on with the token from before a refresh is served with the new one."""
    old = several.live("game")
    several.sandbox.revoke(APPID_2)
    await several.ask(USERS, "X-Wxproxy-Account: game")
    assert several.live("game") != old

    several.sandbox.calls.clear()
    await several.ask(f"{USERS}?access_token={old}")

    (seen,) = several.sandbox.seen("/")
    assert seen.tokens == (several.live("game"),)


async def test_an_accounts_own_listener_needs_no_other_choice(several: Several) -> None:
    """For SDKs with one global base URL; a foreign token there is replaced."""
    await several.ask(f"{USERS}?access_token={STRANGER}", listener=0)

    (seen,) = several.sandbox.seen("/")
    assert seen.tokens == (several.live("game"),)


CONFLICTS = {
    "header and prefix": (-1, f"/@game{USERS}", ("X-Wxproxy-Account: shop",)),
    "header and from_appid": (-1, f"{USERS}?from_appid={APPID}", ("X-Wxproxy-Account: game",)),
    "two from_appids": (-1, f"{USERS}?from_appid={APPID}&from_appid={APPID_2}", ()),
    "prefix and placeholder": (-1, f"/@shop{USERS}?access_token={{placeholder game}}", ()),
    "header and live token": (
        -1,
        f"{USERS}?access_token={{live shop}}",
        ("X-Wxproxy-Account: game",),
    ),
    "two tokens of ours": (
        -1,
        f"{USERS}?access_token={{live shop}}&access_token={{live game}}",
        (),
    ),
    "host and header": (-1, USERS, ("Host: qyapi.weixin.qq.com", "X-Wxproxy-Account: shop")),
    "login appid and header": (
        -1,
        f"/sns/jscode2session?appid={APPID}&js_code=c",
        ("X-Wxproxy-Account: game",),
    ),
    "own listener and header": (0, USERS, ("X-Wxproxy-Account: shop",)),
    "own listener and placeholder": (0, f"{USERS}?access_token={{placeholder shop}}", ()),
}


@pytest.mark.parametrize(("listener", "target", "headers"), CONFLICTS.values(), ids=CONFLICTS)
async def test_selectors_that_disagree_are_refused(
    several: Several, listener: int, target: str, headers: tuple[str, ...]
) -> None:
    """Calling WeChat for the wrong account is the worst of bugs: nothing is forwarded."""
    reply = await several.ask(target, *headers, listener=listener)

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (400, "account_conflict")
    assert json.loads(reply.body)["errcode"] == -60400
    assert several.sandbox.seen("/") == []


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (USERS, ("X-Wxproxy-Account: nobody",)),
        (f"/@nobody{USERS}", ()),
        (f"{USERS}?from_appid=wx0", ()),
        (f"/@{USERS}", ()),
    ],
    ids=["header", "prefix", "from_appid", "empty prefix"],
)
async def test_an_unknown_account_is_wechats_invalid_appid(
    several: Several, target: str, headers: tuple[str, ...]
) -> None:
    """A misspelt name is never served by the default account."""
    reply = await several.ask(target, *headers)

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (404, "unknown_account")
    assert json.loads(reply.body)["errcode"] == 40013
    assert several.sandbox.seen("/") == []


async def test_without_a_default_a_request_must_choose(
    start: SidecarFactory, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Nobody's account is guessed; the error says how to choose."""
    several = await begin(start, sandbox, tmp_path / "wx.toml", default=False)
    reply = await several.ask(USERS)

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (404, "unknown_account")
    assert "X-Wxproxy-Account" in json.loads(reply.body)["errmsg"]
    assert sandbox.seen("/") == []


async def test_a_foreign_token_is_refused_among_several_accounts(several: Several) -> None:
    """It may be of an account that another system serves: shaped like WeChat's 40014."""
    reply = await several.ask(f"{USERS}?access_token={STRANGER}")

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (200, "foreign_token")
    assert json.loads(reply.body)["errcode"] == 40014
    assert several.sandbox.seen("/") == []
    assert await metric(several.sidecar, "wxproxy_foreign_tokens_total", action="refuse") == 1


async def test_a_foreign_token_is_replaced_for_a_sole_account(
    sidecar: Sidecar, sandbox: Sandbox
) -> None:
    """There is nobody else that it could be for; it is counted."""
    target = f"{USERS}?access_token={STRANGER}"
    await ask_once(sidecar.url, request(target))

    (seen,) = sandbox.seen(USERS)
    assert seen.tokens == (sandbox.token(APPID),)
    assert await metric(sidecar, "wxproxy_foreign_tokens_total", action="replace") == 1


async def test_a_foreign_token_passes_where_it_is_told_to(
    start: SidecarFactory, sandbox: Sandbox
) -> None:
    """The request arrives untouched, and its token error is no business of our token."""
    sidecar = await start(sandbox.url, foreign_token="pass")
    target = f"{USERS}?next_openid=&access_token={STRANGER}&a=%2f"
    reply = await ask_once(sidecar.url, request(target))

    assert json.loads(reply.body)["errcode"] == 40001
    assert reply.header("X-Wxproxy-Attempts") == "1"
    assert reply.header("X-Wxproxy-Token-Id") is None
    assert [seen.target for seen in sandbox.seen(USERS)] == [target]
    assert sandbox.token_calls(APPID).fetches == 1
    assert await metric(sidecar, "wxproxy_foreign_tokens_total", action="pass") == 1


@pytest.mark.parametrize(("length", "is_dummy"), [(1, True), (63, True), (64, False)])
async def test_a_short_token_is_a_dummy(several: Several, length: int, is_dummy: bool) -> None:
    """Real tokens have at least 136 characters; what applications put in for show is short."""
    reply = await several.ask(f"{USERS}?access_token={'x' * length}")

    assert (reply.header("X-Wxproxy-Error") is None) == is_dummy
    assert len(several.sandbox.seen("/")) == is_dummy


async def test_another_appids_token_call_is_no_foreign_token(
    start: SidecarFactory, sandbox: Sandbox
) -> None:
    """Where it is told to pass, it arrives untouched and is counted as nothing of ours."""
    sidecar = await start(sandbox.url, foreign_token="pass")
    query = f"grant_type=client_credential&appid={APPID_2}&secret={SECRET_2}"
    reply = await ask_once(sidecar.url, request(f"/cgi-bin/token?{query}"))

    assert json.loads(reply.body)["access_token"] == sandbox.token(APPID_2, family="classic")
    assert [seen.target for seen in sandbox.seen("/cgi-bin/token")] == [f"/cgi-bin/token?{query}"]
    assert await metric(sidecar, "wxproxy_foreign_tokens_total", action="pass") == 0
    assert await metric(sidecar, "wxproxy_credential_injections_total", outcome="skipped") == 1
