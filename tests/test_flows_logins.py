"""Logins, which need our secret, and calls with somebody else's token, which pass untouched."""

import json
from urllib.parse import quote

import pytest

from tests.conftest import SidecarFactory
from tests.harness import RawReply, Sidecar
from tests.upstreams import ScriptedUpstream
from tests.wire import ask_once, metric, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID, APPID_2, COMPONENT_APPID, COMPONENT_SECRET, SECRET

LOGIN = "/sns/jscode2session"
WEB_LOGIN = "/sns/oauth2/access_token"
GRANT = "grant_type=authorization_code"
FOREIGN = "84_" + "somebody-elses-token" * 5


async def ask(sidecar: Sidecar, target: str, body: bytes = b"") -> RawReply:
    """A GET, or a POST where there is a body."""
    method = "POST" if body else "GET"
    return await ask_once(sidecar.url, request(target, method=method, body=body))


LOGIN_QUERIES = {
    "nothing": f"js_code=c&{GRANT}",
    "our appid": f"appid={APPID}&js_code=c&{GRANT}",
    "a dummy secret first": f"secret=x&appid={APPID}&js_code=c&{GRANT}",
    "a wrong secret, encoded name": f"js_code=c&%73ecret=wrong%26&{GRANT}",
    "twice": f"secret=a&js_code=c&secret=b&{GRANT}",
    "a token that has no business here": f"js_code=c&access_token={FOREIGN}&{GRANT}",
}


@pytest.mark.parametrize("query", LOGIN_QUERIES.values(), ids=LOGIN_QUERIES)
async def test_a_login_works_without_the_applications_holding_the_secret(
    sidecar: Sidecar, sandbox: Sandbox, query: str
) -> None:
    """Our appid and secret go in once each, whatever the client sent for them."""
    reply = await ask(sidecar, f"{LOGIN}?{query}")

    assert json.loads(reply.body)["openid"].startswith("o")
    assert reply.header("X-Wxproxy-Token-Id") is None
    (seen,) = sandbox.seen(LOGIN)
    assert seen.target == f"{LOGIN}?js_code=c&{GRANT}&appid={APPID}&secret={SECRET}"


async def test_a_secret_with_odd_characters_arrives_whole(
    start: SidecarFactory, sandbox: Sandbox
) -> None:
    """It is percent-encoded into the query."""
    sandbox.add_app(APPID, "a&b=c+d%/#")
    sidecar = await start(sandbox.url, secret="a&b=c+d%/#")
    reply = await ask(sidecar, f"{LOGIN}?js_code=c&{GRANT}")

    assert "openid" in json.loads(reply.body)
    assert sandbox.seen(LOGIN)[0].target.endswith(f"&secret={quote('a&b=c+d%/#', safe='')}")


async def test_a_login_of_another_appid_passes_untouched(
    sidecar: Sidecar, sandbox: Sandbox
) -> None:
    """It brings its own secret; ours is not given to it."""
    target = f"{LOGIN}?secret=sandbox-secret-2&appid={APPID_2}&js_code=c&{GRANT}"
    reply = await ask(sidecar, target)

    assert "openid" in json.loads(reply.body)
    assert [seen.target for seen in sandbox.seen(LOGIN)] == [target]


async def test_a_users_own_token_arrives_untouched(sidecar: Sidecar, sandbox: Sandbox) -> None:
    """A web login, its refresh and the user's profile work through the sidecar as they do alone."""
    user = json.loads((await ask(sidecar, f"{WEB_LOGIN}?code=c&{GRANT}")).body)
    refresh = f"refresh_token={user['refresh_token']}&grant_type=refresh_token"
    again = json.loads((await ask(sidecar, f"/sns/oauth2/refresh_token?{refresh}")).body)
    target = (
        f"/sns/userinfo?access_token={again['access_token']}&openid={user['openid']}&lang=zh_CN"
    )
    profile = json.loads((await ask(sidecar, target)).body)

    assert profile["openid"] == user["openid"]
    assert sandbox.seen("/sns/userinfo")[0].target == target
    assert sandbox.seen("/sns/oauth2/refresh_token")[0].target == (
        f"/sns/oauth2/refresh_token?{refresh}&appid={APPID}"
    )


async def test_a_third_party_platforms_calls_arrive_untouched(
    sidecar: Sidecar, sandbox: Sandbox
) -> None:
    """Its own token goes under our parameter's name in WeChat's newer pages."""
    body = json.dumps(
        {
            "component_appid": COMPONENT_APPID,
            "component_appsecret": COMPONENT_SECRET,
            "component_verify_ticket": "t",
        }
    ).encode()
    issued = await ask(sidecar, "/cgi-bin/component/api_component_token", body)
    token = json.loads(issued.body)["component_access_token"]
    wanted = json.dumps({"authorizer_appid": APPID, "authorizer_refresh_token": "r"}).encode()

    for name in ("access_token", "component_access_token"):
        target = f"/cgi-bin/component/api_authorizer_token?{name}={token}"
        reply = await ask(sidecar, target, wanted)
        assert "authorizer_access_token" in json.loads(reply.body)
        assert sandbox.seen("/cgi-bin/component/api_authorizer")[-1].target == target


PASSED = [
    f"/sns/userinfo?access_token={FOREIGN}&openid=o",
    f"/sns/auth?openid=o&access_token={FOREIGN}",
    f"/cgi-bin/component/api_query_auth?access_token={FOREIGN}",
    f"/wxa/component/x?access_token={FOREIGN}",
    f"/componenttcb/describeenvs?access_token={FOREIGN}",
    f"/wxa/gettemplatelist?access_token={FOREIGN}",
    f"/wxa/addtotemplate?access_token={FOREIGN}",
    f"/wxa/deletetemplate?access_token={FOREIGN}",
    f"/wxa/gettemplatedraftlist?access_token={FOREIGN}",
    "/cgi-bin/clear_quota/v2",
    f"/cgi-bin/service/get_permanent_code?suite_access_token={FOREIGN}",
    "/cgi-bin/webhook/send?key=693a91f6",
    f"/wxa/commit?component_access_token={FOREIGN}",
    f"/cgi-bin/user/get?provider_access_token={FOREIGN}&a=%2F",
    f"/tcb/invoke?cloudbase_access_token={FOREIGN}",
    f"/cgi-bin/user/get?%63omponent_access_token={FOREIGN}&access_token=x",
]


@pytest.mark.parametrize("target", PASSED)
async def test_calls_with_somebody_elses_token_are_not_touched(
    proxy: Sidecar, scripted: ScriptedUpstream, target: str
) -> None:
    """By path, or by the name of the token that they carry."""
    reply = await ask(proxy, target)

    assert reply.status == 200
    assert scripted.requests[0].target == target


async def test_a_token_error_on_such_a_call_never_touches_our_token(
    sidecar: Sidecar, sandbox: Sandbox
) -> None:
    """It speaks about the token that the client sent: no fetch, no proof, no second try."""
    for target in PASSED:
        sandbox.fault(target.partition("?")[0], errcode=40001, times=1)
        reply = await ask(sidecar, target)
        assert json.loads(reply.body)["errcode"] == 40001
        assert reply.header("X-Wxproxy-Attempts") == "1"

    assert sandbox.token_calls(APPID).fetches == 1
    assert sandbox.seen("/cgi-bin/openapi") == []
    assert sidecar.app.statuses()[0].counts["rejections"] == 0
    assert await metric(sidecar, "wxproxy_credential_injections_total", outcome="skipped") == len(
        PASSED
    )
