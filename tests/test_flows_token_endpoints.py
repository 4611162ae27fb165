"""Token endpoints answered by the sidecar: SDKs that fetch a token neither kill one nor see one."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SidecarFactory
from tests.fakes import FakeClock
from tests.harness import RawReply, Sidecar, eventually
from tests.wire import ask_once, metric, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import (
    AGENT,
    AGENT_2,
    AGENT_SECRET,
    AGENT_SECRET_2,
    APPID,
    APPID_2,
    CORPID,
    SECRET,
    SECRET_2,
)

CLIENTS_SECRET = "whatever-the-client-has"


def classic(
    *, appid: str = APPID, secret: str = CLIENTS_SECRET, grant: str = "client_credential"
) -> bytes:
    """GET /cgi-bin/token."""
    return request(f"/cgi-bin/token?grant_type={grant}&appid={appid}&secret={secret}")


def stable(
    *,
    appid: str = APPID,
    secret: str = CLIENTS_SECRET,
    grant: str = "client_credential",
    force: bool = False,
) -> bytes:
    """POST /cgi-bin/stable_token."""
    arguments = {"grant_type": grant, "appid": appid, "secret": secret, "force_refresh": force}
    return stable_with(json.dumps(arguments).encode())


def stable_with(body: bytes) -> bytes:
    """POST /cgi-bin/stable_token with any body."""
    return request("/cgi-bin/stable_token", method="POST", body=body)


BOTH = pytest.mark.parametrize("call", [classic, stable], ids=["token", "stable_token"])


def token_calls(sandbox: Sandbox) -> list[str]:
    """Secrets with which WeChat's own token endpoints were called."""
    calls = [*sandbox.seen("/cgi-bin/token"), *sandbox.seen("/cgi-bin/stable_token")]
    return [SECRET if SECRET in f"{one.target} {one.body!r}" else "" for one in calls]


def fields(reply: RawReply) -> dict[str, Any]:
    """The JSON of an answer that came as WeChat's do: HTTP 200, application/json."""
    assert reply.status == 200
    assert (reply.header("Content-Type") or "").startswith("application/json")
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


async def users(sidecar: Sidecar, token: str) -> RawReply:
    """An API call with the token that an SDK was given."""
    return await ask_once(sidecar.url, request(f"/cgi-bin/user/get?access_token={token}"))


@BOTH
async def test_a_placeholder_stands_for_the_token(
    sidecar: Sidecar, sandbox: Sandbox, call: Any
) -> None:
    """The SDK's own fetch gives a stand-in that works, and WeChat hears of neither."""
    answer = fields(await ask_once(sidecar.url, call()))
    placeholder = answer["access_token"]
    assert answer == {"access_token": placeholder, "expires_in": 7200}
    assert len(placeholder) >= 128
    assert placeholder == sidecar.app.accounts[0].placeholder

    assert b'"total":3' in (await users(sidecar, placeholder)).body
    assert [one.tokens for one in sandbox.seen("/cgi-bin/user/get")] == [(sandbox.token(APPID),)]
    assert token_calls(sandbox) == [SECRET]
    assert CLIENTS_SECRET not in repr(list(sandbox.calls))
    path = "/cgi-bin/token" if call is classic else "/cgi-bin/stable_token"
    assert await metric(sidecar, "wxproxy_token_endpoint_stubbed_total", path=path) == 1


@BOTH
async def test_the_real_token_comes_with_its_remaining_seconds(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock, call: Any
) -> None:
    """In mode real the live token is handed out, as often as asked, at no call to WeChat."""
    sidecar = await start(timed_sandbox.url, clock=clock, token_endpoint="real")
    assert fields(await ask_once(sidecar.url, call()))["expires_in"] == 7200
    clock.advance(1000)
    answer = fields(await ask_once(sidecar.url, call()))

    assert answer == {"access_token": timed_sandbox.token(APPID), "expires_in": 6200}
    assert b'"total":3' in (await users(sidecar, answer["access_token"])).body
    assert token_calls(timed_sandbox) == [SECRET]


@BOTH
@pytest.mark.parametrize(
    ("refused", "shown"), [(40164, 40164), (40001, 40125), (-1, -60503)], ids=str
)
async def test_without_a_real_token_wechats_last_errcode_is_answered(
    start: SidecarFactory, sandbox: Sandbox, call: Any, refused: int, shown: int
) -> None:
    """In mode real SDKs see why there is no token in the shape that they know, with 200."""
    sandbox.fault("/cgi-bin/stable_token", errcode=refused, times=None)
    sidecar = await start(sandbox.url, token_endpoint="real", token_wait_seconds=0)
    await eventually(lambda: sidecar.app.statuses()[0].counts["failures"] > 0)
    answer = fields(await ask_once(sidecar.url, call()))

    assert answer["errcode"] == shown
    assert answer["errmsg"].startswith("wxproxy: no valid access_token: ")
    assert "access_token" not in answer


@BOTH
async def test_token_calls_can_be_switched_off(
    start: SidecarFactory, sandbox: Sandbox, call: Any
) -> None:
    """In mode off they get 403 with a word that says so; other calls work."""
    sidecar = await start(sandbox.url, token_endpoint="off")
    reply = await ask_once(sidecar.url, call())

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (403, "token_endpoint_off")
    assert json.loads(reply.body)["errcode"] == -60403
    assert b'"total":3' in (await users(sidecar, "x")).body
    assert token_calls(sandbox) == [SECRET]


@pytest.mark.parametrize(
    "path",
    [
        "/cgi-bin/%74oken",
        "//cgi-bin/token",
        "/cgi-bin//token",
        "/cgi-bin\\token",
        "/%63gi-bin%2Ftoken",
        "/@{appid}/cgi-bin/token",
        "http://api.weixin.qq.com/cgi-bin/token",
    ],
)
async def test_no_spelling_of_a_token_endpoint_gets_through(
    sidecar: Sidecar, sandbox: Sandbox, path: str
) -> None:
    """Forwarded, a token call would kill the live token."""
    await users(sidecar, "x")
    path = path.format(appid=APPID)
    query = f"grant_type=client_credential&appid={APPID}&secret={SECRET}"
    answer = fields(await ask_once(sidecar.url, request(f"{path}?{query}")))

    assert answer["access_token"] == sidecar.app.accounts[0].placeholder
    assert token_calls(sandbox) == [SECRET]


@pytest.mark.parametrize("token_api", ["stable", "classic"])
async def test_a_clients_force_refresh_is_one_plain_ask_a_minute(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock, token_api: str
) -> None:
    """SDKs force in loops: WeChat sees one plain ask a minute of it; for classic nothing."""
    sidecar = await start(timed_sandbox.url, clock=clock, token_api=token_api)
    await users(sidecar, "x")
    for _ in range(120):
        fields(await ask_once(sidecar.url, stable(force=True)))
        clock.advance(1)

    calls = timed_sandbox.token_calls(APPID)
    assert (calls.fetches, calls.forced) == (3 if token_api == "stable" else 1, 0)


MISTAKES = {
    "foreign_appid": (classic(appid="wx0000000000000000"), 40013),
    "foreign_appid_stable": (stable(appid="wx0000000000000000"), 40013),
    "foreign_appid_first": (classic(appid="wx0000000000000000", grant="x"), 40013),
    "no_appid": (request("/cgi-bin/token?grant_type=client_credential&secret=x"), 41002),
    "no_appid_stable": (stable_with(b'{"grant_type":"client_credential"}'), 41002),
    "grant_type": (classic(grant="authorization_code"), 40002),
    "grant_type_stable": (stable(grant="authorization_code"), 40002),
    "no_grant_type": (request(f"/cgi-bin/token?appid={APPID}&secret=x"), 40002),
    "stable_by_get": (request(f"/cgi-bin/stable_token?appid={APPID}"), 43002),
    "stable_without_body": (stable_with(b""), 47001),
    "stable_with_a_form": (stable_with(b"grant_type=client_credential"), 47001),
    "stable_with_a_list": (stable_with(b"[1]"), 47001),
    "stable_with_bad_utf8": (stable_with(b'{"appid":"\xff"}'), 47001),
    "stable_with_a_deep_list": (stable_with(b"[" * 60_000), 47001),
    "stable_with_an_odd_appid": (stable_with(b'{"appid":{"a":1}}'), 40013),
}


@pytest.mark.parametrize(("call", "errcode"), MISTAKES.values(), ids=MISTAKES)
async def test_mistakes_get_wechats_own_errcodes(
    sidecar: Sidecar, sandbox: Sandbox, call: bytes, errcode: int
) -> None:
    """Errors of the local endpoints look like WeChat's, with HTTP 200, and cost WeChat nothing."""
    await users(sidecar, "x")
    answer = fields(await ask_once(sidecar.url, call))

    assert answer["errcode"] == errcode
    assert answer["errmsg"].startswith("wxproxy: ")
    assert token_calls(sandbox) == [SECRET]


@BOTH
async def test_another_systems_token_call_can_be_passed_on(
    start: SidecarFactory, sandbox: Sandbox, call: Any
) -> None:
    """Under foreign_token = pass a foreign appid's call arrives untouched, ours stays local."""
    sidecar = await start(sandbox.url, foreign_token="pass")
    await users(sidecar, "x")
    answer = fields(await ask_once(sidecar.url, call(appid=APPID_2, secret=SECRET_2)))
    assert answer["access_token"] == sandbox.token(
        APPID_2, family="classic" if call is classic else "stable"
    )
    own = fields(await ask_once(sidecar.url, call()))
    assert own["access_token"] == sidecar.app.accounts[0].placeholder
    assert sandbox.token_calls(APPID).fetches == 1

    foreign = list(sandbox.calls)[-1]
    head, _, body = call(appid=APPID_2, secret=SECRET_2).partition(b"\r\n\r\n")
    assert head.startswith(f"{foreign.method} {foreign.target} ".encode())
    assert foreign.body == body


# -- WeCom -----------------------------------------------------------------------------------

AGENTS = f"""
[[accounts]]
name = "sales"
appid = "{CORPID}"
secret = "{AGENT_SECRET}"
kind = "wecom"
upstream = "URL"

[[accounts]]
name = "chat"
appid = "{CORPID}"
secret = "{AGENT_SECRET_2}"
kind = "wecom"
upstream = "URL"
"""


@pytest.fixture
async def agents(start: SidecarFactory, sandbox: Sandbox, tmp_path: Path) -> Sidecar:
    """A sidecar for two agents of one corp."""
    file = tmp_path / "wxproxy.toml"
    file.write_text(AGENTS.replace("URL", sandbox.url))
    return await start(sandbox.url, config=file)


def gettoken(secret: str, corpid: str = CORPID) -> bytes:
    """GET /cgi-bin/gettoken."""
    return request(f"/cgi-bin/gettoken?corpid={corpid}&corpsecret={secret}")


@pytest.mark.parametrize(
    ("secret", "agent"),
    [(AGENT_SECRET, AGENT), ("sales", AGENT), (AGENT_SECRET_2, AGENT_2), ("chat", AGENT_2)],
)
async def test_the_secret_or_name_chooses_the_agent(
    agents: Sidecar, sandbox: Sandbox, secret: str, agent: str
) -> None:
    """Agents of one corp share a corpid: each gets the stand-in of its own token."""
    answer = fields(await ask_once(agents.url, gettoken(secret)))
    assert (answer["errcode"], answer["expires_in"]) == (0, 7200)
    reply = await ask_once(
        agents.url,
        request(f"/cgi-bin/user/get?userid=zhangsan&access_token={answer['access_token']}"),
    )

    assert json.loads(reply.body)["errcode"] == 0
    expected = sandbox.token(CORPID, family="gettoken", agent=agent)
    assert sandbox.seen("/cgi-bin/user/get")[0].tokens == (expected,)
    assert sandbox.token_calls(CORPID).fetches == 2


@pytest.mark.parametrize(
    ("call", "errcode"),
    [
        (gettoken("neither"), 40001),
        (gettoken(""), 40001),
        (gettoken(CORPID), 40001),
        (gettoken(AGENT_SECRET, corpid="wwother"), 40013),
        (request(f"/cgi-bin/gettoken?corpsecret={AGENT_SECRET}"), 41002),
    ],
    ids=["wrong", "none", "the_corpid", "foreign_corp", "no_corp"],
)
async def test_what_names_no_agent_gets_wecoms_errcode(
    agents: Sidecar, sandbox: Sandbox, call: bytes, errcode: int
) -> None:
    """A secret that is no agent's is refused as WeCom refuses it, without asking WeCom."""
    await eventually(lambda: sandbox.token_calls(CORPID).fetches == 2)
    answer = fields(await ask_once(agents.url, call))

    assert answer["errcode"] == errcode
    assert sandbox.token_calls(CORPID).fetches == 2
