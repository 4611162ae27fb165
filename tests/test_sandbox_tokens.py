"""The simulator's token rules, on a clock that the tests turn."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.sandbox_client import Client, Clock
from wxproxy.sandbox import Sandbox, tokens
from wxproxy.sandbox.calls import Call, Seen
from wxproxy.sandbox.knobs import AGENT, AGENT_SECRET_2, APPID, APPID_2, CORPID, SECRET, SECRET_2
from wxproxy.sandbox.replies import Refused
from wxproxy.sandbox.state import App, Quota, World


@pytest.fixture
def clock() -> Clock:
    """WeChat's clock."""
    return Clock()


@pytest.fixture
async def wechat(clock: Clock) -> AsyncIterator[Client]:
    """A sandbox on that clock, and a client of it."""
    sandbox = Sandbox(now=clock)
    await sandbox.start()
    async with aiohttp.ClientSession() as session:
        yield Client(sandbox, session)
    await sandbox.stop()


async def test_classic_fetch_makes_a_new_token_each_time(wechat: Client) -> None:
    """Two classic fetches give two tokens with the full life and no errcode."""
    first, second = await wechat.classic(), await wechat.classic()

    assert first["access_token"] != second["access_token"]
    assert {"access_token", "expires_in"} == set(second)
    assert second["expires_in"] == 7200


async def test_token_looks_like_wechats(wechat: Client) -> None:
    """A token begins with digits and an underscore and has at least 136 characters."""
    token = await wechat.token()

    assert token.startswith("84_")
    assert len(token) >= 136


async def test_superseded_classic_token_lives_five_minutes(wechat: Client, clock: Clock) -> None:
    """After a second fetch the first token works for 300 s, then gets 40001."""
    old = (await wechat.classic())["access_token"]
    await wechat.classic()

    clock.seconds += 299
    assert await wechat.verdict(old) == 0
    clock.seconds += 1
    assert await wechat.verdict(old) == 40001


async def test_classic_token_expires(wechat: Client, clock: Clock) -> None:
    """A token that nothing superseded gets 42001 from its expiry on."""
    token = (await wechat.classic())["access_token"]

    clock.seconds += 7199
    assert await wechat.verdict(token) == 0
    clock.seconds += 1
    assert await wechat.verdict(token) == 42001


async def test_classic_quota_ends_and_comes_back(wechat: Client, clock: Clock) -> None:
    """Past the day's fetches comes 45009; the next day they are back."""
    wechat.sandbox.set_quota(APPID, 2)
    await wechat.classic()
    await wechat.classic()

    assert (await wechat.classic())["errcode"] == 45009
    clock.seconds += 86_400
    assert "access_token" in await wechat.classic()


async def test_stable_repeats_its_token_with_remaining_seconds(
    wechat: Client, clock: Clock
) -> None:
    """A stable fetch within the life gives the same token and what remains of it."""
    first = await wechat.stable()
    clock.seconds += 6855
    second = await wechat.stable()

    assert first["access_token"] == second["access_token"]
    assert (first["expires_in"], second["expires_in"]) == (7200, 345)


async def test_stable_renews_in_the_last_five_minutes(wechat: Client, clock: Clock) -> None:
    """At 300 s a new token comes, and the older one works to its announced end."""
    old = await wechat.token()
    clock.seconds += 6899
    assert old == await wechat.token()
    clock.seconds += 1
    new = await wechat.token()

    assert old != new
    clock.seconds += 299
    assert (await wechat.verdict(old), await wechat.verdict(new)) == (0, 0)
    clock.seconds += 1
    assert (await wechat.verdict(old), await wechat.verdict(new)) == (42001, 0)


async def test_stable_renewal_follows_a_shorter_life(wechat: Client, clock: Clock) -> None:
    """With a life of 240 s the renewal begins 10 s before its end, not at once."""
    wechat.sandbox.set_life(APPID, 240)
    old = await wechat.token()
    clock.seconds += 229
    assert old == await wechat.token()
    clock.seconds += 1

    assert old != await wechat.token()


async def test_force_kills_the_old_token_at_once(wechat: Client) -> None:
    """A forced fetch gives a new token; the old one gets 40001 with no overlap."""
    old = await wechat.token()
    new = (await wechat.stable(force=True))["access_token"]

    assert (await wechat.verdict(old), await wechat.verdict(new)) == (40001, 0)


async def test_force_within_30_seconds_does_nothing(wechat: Client, clock: Clock) -> None:
    """A second forced fetch gives the same token for 30 s, then a new one."""
    first = (await wechat.stable(force=True))["access_token"]
    clock.seconds += 29
    second = (await wechat.stable(force=True))["access_token"]
    clock.seconds += 1
    third = (await wechat.stable(force=True))["access_token"]

    assert first == second
    assert second != third


async def test_force_works_20_times_a_day(wechat: Client, clock: Clock) -> None:
    """The 21st forced fetch of a day gives the token of the 20th, the next day's a new one."""
    had = []
    for _ in range(21):
        had.append((await wechat.stable(force=True))["access_token"])
        clock.seconds += 30

    assert len(set(had)) == 20
    assert had[19] == had[20]
    clock.seconds += 86_400
    assert (await wechat.stable(force=True))["access_token"] not in had
    assert wechat.sandbox.token_calls(APPID).forced == 22


async def test_classic_and_stable_live_apart(wechat: Client, clock: Clock) -> None:
    """Neither classic fetches nor forced stable ones touch the other family."""
    classic, stable = (await wechat.classic())["access_token"], await wechat.token()
    await wechat.classic()
    clock.seconds += 250
    assert (await wechat.verdict(classic), await wechat.verdict(stable)) == (0, 0)
    newer = (await wechat.classic())["access_token"]
    await wechat.stable(force=True)

    assert (await wechat.verdict(newer), await wechat.verdict(stable)) == (0, 40001)


def test_stable_minute_quota() -> None:
    """Past the minute's calls comes 45011."""
    world = World(lambda: 0.0)
    world.apps[APPID] = App(APPID, SECRET, stable_minute=Quota(1, 60))
    body = b'{"grant_type":"client_credential","appid":"%b","secret":"%b"}'
    seen = Seen("POST", tokens.STABLE_PATH, (), tokens.STABLE_PATH, (), 0.0)
    call = Call(seen, {}, body % (APPID.encode(), SECRET.encode()))
    seen.body_length = len(call.body)
    tokens.stable(world, call)

    with pytest.raises(Refused) as refused:
        tokens.stable(world, call)
    assert refused.value.errcode == 45011


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        pytest.param("", 41002, id="no appid"),
        pytest.param("appid=wxnobody", 40013, id="unknown appid before grant_type"),
        pytest.param(f"appid={CORPID}", 40013, id="a corpid is no appid"),
        pytest.param(f"appid={APPID}", 40002, id="no grant_type"),
        pytest.param(f"appid={APPID}&grant_type=x&secret={SECRET}", 40002, id="other grant_type"),
        pytest.param(f"appid={APPID}&grant_type=client_credential", 41004, id="no secret"),
        pytest.param(
            f"appid={APPID}&grant_type=client_credential&secret={SECRET_2}",
            40001,
            id="another app's secret",
        ),
    ],
)
async def test_classic_refusals(wechat: Client, query: str, errcode: int) -> None:
    """The classic endpoint refuses bad arguments with HTTP 200, in WeChat's order of checks."""
    status, content_type, body = await wechat.call(f"/cgi-bin/token?{query}")

    assert (status, content_type) == (200, "application/json; encoding=utf-8")
    assert body.startswith(b'{"errcode":%d,"errmsg":"' % errcode)
    assert b" rid: " in body


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        pytest.param(b"", 44002, id="no body"),
        pytest.param(b"appid=x", 47001, id="a form"),
        pytest.param(b"[]", 47001, id="no object"),
        pytest.param({}, 41002, id="no appid"),
        pytest.param({"appid": "wxnobody"}, 40013, id="unknown appid"),
        pytest.param({"appid": APPID}, 40002, id="no grant_type"),
        pytest.param({"appid": APPID, "grant_type": "client_credential"}, 41004, id="no secret"),
        pytest.param(
            {"appid": APPID, "grant_type": "client_credential", "secret": "x"},
            40125,
            id="wrong secret",
        ),
    ],
)
async def test_stable_refusals(wechat: Client, body: object, errcode: int) -> None:
    """The stable endpoint refuses bad arguments; a wrong secret is 40125 there."""
    assert errcode == (await wechat.json("/cgi-bin/stable_token", body))["errcode"]


async def test_stable_wants_post(wechat: Client) -> None:
    """A GET of stable_token gets 43002."""
    assert (await wechat.json("/cgi-bin/stable_token"))["errcode"] == 43002


@pytest.mark.parametrize(
    ("token", "errcode"),
    [
        pytest.param("", 41001, id="missing"),
        pytest.param("2", 40001, id="garbage"),
        pytest.param("84_" + "x" * 136, 40001, id="unknown"),
        pytest.param("a%20b", 40014, id="malformed"),
    ],
)
async def test_bad_tokens(wechat: Client, token: str, errcode: int) -> None:
    """Each kind of bad token gets its own code, before the body is looked at."""
    assert errcode == await wechat.verdict(token)
    refused = await wechat.json(f"/cgi-bin/menu/create?access_token={token}", b"no JSON")
    assert errcode == refused["errcode"]


async def test_first_of_several_tokens_counts_and_all_are_recorded(wechat: Client) -> None:
    """Of two access_token parameters the first is judged, and a test can see both."""
    good = await wechat.token()

    assert await wechat.verdict("2", f"/cgi-bin/user/get?access_token={good}&") == 0
    assert await wechat.verdict(good, "/cgi-bin/user/get?access_token=2&") == 40001
    assert [(good, "2"), ("2", good)] == [c.tokens for c in wechat.sandbox.seen("/cgi-bin/user")]


async def test_revoke_one_family_of_one_app(wechat: Client) -> None:
    """Revoking stable leaves classic; a plain ask then gives a new token."""
    classic, stable = (await wechat.classic())["access_token"], await wechat.token()

    assert wechat.sandbox.revoke(APPID, family="stable") == 1
    assert (await wechat.verdict(classic), await wechat.verdict(stable)) == (0, 40001)
    assert stable != await wechat.token()
    assert wechat.sandbox.revoke(APPID_2) == 0


async def test_revoke_one_token(wechat: Client) -> None:
    """Revoking by value leaves the app's other tokens."""
    old, new = [(await wechat.classic())["access_token"] for _ in range(2)]
    wechat.sandbox.revoke(APPID, token=new)

    assert (await wechat.verdict(old), await wechat.verdict(new)) == (0, 40001)


async def test_revoked_token_that_wechat_insists_on(wechat: Client) -> None:
    """With insist the dead token is handed out until a forced fetch."""
    dead = await wechat.token()
    wechat.sandbox.revoke(APPID, insist=True)

    assert dead == await wechat.token()
    assert await wechat.verdict(dead) == 40001
    forced = (await wechat.stable(force=True))["access_token"]
    assert await wechat.verdict(forced) == 0


async def test_expire_in_shortens_what_remains(wechat: Client, clock: Clock) -> None:
    """A living token can be given an earlier end, which is then announced."""
    token = await wechat.token()
    wechat.sandbox.expire_in(APPID, 400)

    assert (await wechat.stable())["expires_in"] == 400
    clock.seconds += 400
    assert await wechat.verdict(token) == 42001


async def test_advance_moves_the_clock(wechat: Client) -> None:
    """The sandbox's own offset ages tokens as time does."""
    token = await wechat.token()
    wechat.sandbox.advance(7200)

    assert await wechat.verdict(token) == 42001


def test_unknown_app_is_named() -> None:
    """A knob turned for an app that does not exist says so."""
    with pytest.raises(ValueError, match="no app wxnobody"):
        Sandbox().revoke("wxnobody")


async def test_fetches_are_counted_by_appid(wechat: Client) -> None:
    """Refused and granted fetches count alike, each for its appid."""
    await wechat.classic()
    await wechat.stable(secret="wrong")
    await wechat.classic(appid=APPID_2, secret=SECRET_2)

    assert wechat.sandbox.token_calls(APPID).fetches == 2
    assert wechat.sandbox.token_calls(APPID_2).fetches == 1
    assert wechat.sandbox.token_calls(APPID).forced == 0


async def test_reset_forgets_all_but_the_apps(wechat: Client) -> None:
    """After a reset tokens, calls and settings are gone; an added app is still there."""
    wechat.sandbox.add_app("wxmine", "s")
    wechat.sandbox.set_quota("wxmine", 0)
    wechat.sandbox.advance(100)
    token = await wechat.token()
    wechat.sandbox.reset()

    assert (
        wechat.sandbox.token_calls(APPID).fetches,
        wechat.sandbox.now,
        list(wechat.sandbox.calls),
    ) == (0, 0.0, [])
    assert await wechat.verdict(token) == 40001
    assert "access_token" in await wechat.classic(appid="wxmine", secret="s")


async def test_wecom_repeats_its_token(wechat: Client, clock: Clock) -> None:
    """gettoken says errcode 0 and repeats the agent's token until it expires."""
    first = await wechat.gettoken()
    clock.seconds += 7000
    second = await wechat.gettoken()
    clock.seconds += 200
    third = await wechat.gettoken()

    assert (first["errcode"], first["errmsg"], first["expires_in"]) == (0, "ok", 7200)
    assert first["access_token"] == second["access_token"]
    assert (second["expires_in"], third["expires_in"]) == (200, 7200)
    assert first["access_token"] != third["access_token"]


async def test_wecom_agents_have_their_own_tokens(wechat: Client) -> None:
    """Two secrets of one corp give two tokens."""
    first, second = await wechat.gettoken(), await wechat.gettoken(secret=AGENT_SECRET_2)

    assert first["access_token"] != second["access_token"]
    assert first["access_token"] == wechat.sandbox.token(CORPID, family="gettoken", agent=AGENT)


async def test_wecom_can_make_a_new_token_each_time(wechat: Client) -> None:
    """Switched so, each fetch gives another token and the older one still works."""
    wechat.sandbox.set_new_each_time(CORPID, True)
    first, second = await wechat.gettoken(), await wechat.gettoken()

    assert first["access_token"] != second["access_token"]
    assert await wechat.verdict(first["access_token"], "/cgi-bin/user/get?userid=a&") == 0


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        pytest.param("", 41002, id="no corpid"),
        pytest.param("corpid=wwnobody", 40013, id="unknown corpid"),
        pytest.param(f"corpid={APPID}", 40013, id="an appid is no corpid"),
        pytest.param(f"corpid={CORPID}", 41004, id="no secret"),
        pytest.param(f"corpid={CORPID}&corpsecret=x", 40001, id="wrong secret"),
        pytest.param(f"corpid={CORPID}&corpsecret=other", 40091, id="another corp's secret"),
    ],
)
async def test_wecom_refusals(wechat: Client, query: str, errcode: int) -> None:
    """gettoken refuses in WeCom's words, with a hint and the caller's address."""
    wechat.sandbox.add_app("wwother", "other", kind="wecom")
    _, content_type, body = await wechat.call(f"/cgi-bin/gettoken?{query}")

    assert content_type == "application/json; charset=UTF-8"
    assert body.startswith(b'{"errcode":%d,' % errcode)
    assert b"from ip: 203.0.113.8" in body
    assert body.endswith(b'query?e=%d"}' % errcode)


async def test_wecom_bad_tokens(wechat: Client, clock: Clock) -> None:
    """WeCom says 40014 for revoked and unknown tokens, 42001 for expired ones, never 40001."""
    path = "/cgi-bin/user/get?userid=a&"
    revoked = (await wechat.gettoken())["access_token"]
    wechat.sandbox.revoke(CORPID)
    expired = (await wechat.gettoken())["access_token"]
    clock.seconds += 7200

    assert await wechat.verdict(expired, path) == 42001
    clock.seconds -= 7200
    assert await wechat.verdict(revoked, path) == 40014
    assert await wechat.verdict("x", path) == 40014
    assert await wechat.verdict("", path) == 41001
