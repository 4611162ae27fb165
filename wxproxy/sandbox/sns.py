"""Login and third-party platform: endpoints that take a secret, a code or a user's token; pure."""

import hashlib

from wxproxy.sandbox.calls import Call
from wxproxy.sandbox.replies import TEXT, Refused, Reply, json_reply, ok
from wxproxy.sandbox.state import App, Family, Token, World

COMPONENT_APPID = "wxsandboxcomponent1"
COMPONENT_SECRET = "sandbox-component-secret"  # noqa: S105 - published, opens nothing
_LIFE_S = 7200


def _app(world: World, call: Call) -> App:
    appid = call.params.get("appid")
    if not appid:
        raise Refused(41002)
    app = world.app(appid)
    if app is None:
        raise Refused(40013)
    return app


def _with_secret(world: World, call: Call) -> App:
    app = _app(world, call)
    secret = call.params.get("secret")
    if not secret:
        raise Refused(41004)
    if secret != app.secret:
        raise Refused(40125)
    return app


def _openid(world: World, app: App, code: str) -> str:
    """The user behind a code, which works once: 40163 the second time, 40029 for ``bad…``."""
    if not code:
        raise Refused(41008)
    if code.startswith("bad"):
        raise Refused(40029)
    key = f"{app.appid} {code}"
    if key in world.used_codes:
        raise Refused(40163)
    world.used_codes[key] = code
    return "o" + hashlib.sha256(key.encode()).hexdigest()[:27]


def jscode2session(world: World, call: Call) -> Reply:
    """A Mini Program login: any ``js_code`` works once."""
    app = _with_secret(world, call)
    if call.params.get("grant_type") != "authorization_code":
        raise Refused(40002)
    openid = _openid(world, app, call.params.get("js_code", ""))
    data = {"session_key": "c2FuZGJveC1zZXNzaW9uLWtleQ==", "openid": openid}
    return json_reply(data, TEXT)


def oauth2_access_token(world: World, call: Call) -> Reply:
    """A web login: any ``code`` works once and gives the user's token."""
    app = _with_secret(world, call)
    if call.params.get("grant_type") != "authorization_code":
        raise Refused(40002)
    return _user_token(world, app, _openid(world, app, call.params.get("code", "")))


def oauth2_refresh_token(world: World, call: Call) -> Reply:
    """A new token of the same user, by the refresh token that came with the first."""
    app = _app(world, call)
    if call.params.get("grant_type") != "refresh_token":
        raise Refused(40002)
    openid = call.params.get("refresh_token", "").removeprefix("84_refresh_")
    if world.tokens.current(app.appid, Family.USER, openid) is None:
        raise Refused(40030)
    return _user_token(world, app, openid)


def _user_token(world: World, app: App, openid: str) -> Reply:
    token = world.tokens.issue(app.appid, Family.USER, now=world.now, life_s=_LIFE_S, agent=openid)
    data = {
        "access_token": token.value,
        "expires_in": _LIFE_S,
        "refresh_token": f"84_refresh_{openid}",
        "openid": openid,
        "scope": "snsapi_userinfo",
    }
    return json_reply(data, TEXT)


def _user(world: World, call: Call) -> str:
    token = _good(world, call.seen.token, Family.USER)
    if call.params.get("openid") != token.agent:
        raise Refused(40003)
    return token.agent


def _good(world: World, value: str, family: Family) -> Token:
    token = world.tokens.find(value)
    if token is None or token.family is not family:
        raise Refused(41001 if not value else 40001)
    errcode = token.errcode(world.now)
    if errcode:
        raise Refused(errcode)
    return token


def userinfo(world: World, call: Call) -> Reply:
    """The user whose own token this is; an app's token gets 40001 here."""
    openid = _user(world, call)
    data = {
        "openid": openid,
        "nickname": "沙箱",
        "sex": 0,
        "province": "",
        "city": "",
        "country": "",
        "headimgurl": "",
        "privilege": [],
    }
    return json_reply(data, TEXT)


def auth(world: World, call: Call) -> Reply:
    """Whether a user's token is good."""
    _user(world, call)
    return json_reply({"errcode": 0, "errmsg": "ok"}, TEXT)


def component_token(world: World, call: Call) -> Reply:
    """The third-party platform's own token.

    Source: https://developers.weixin.qq.com/doc/oplatform/openApi/ticket-token/
    api_getcomponentaccesstoken
    """
    if call.text("component_appid") != COMPONENT_APPID:
        raise Refused(61011)
    if call.text("component_appsecret") != COMPONENT_SECRET:
        raise Refused(40125)
    if not call.text("component_verify_ticket"):
        raise Refused(61006)
    token = world.tokens.issue(COMPONENT_APPID, Family.COMPONENT, now=world.now, life_s=_LIFE_S)
    return json_reply({"component_access_token": token.value, "expires_in": _LIFE_S})


def authorizer_token(world: World, call: Call) -> Reply:
    """A merchant's token, for the platform's token under its old name or its new one."""
    value = call.params.get("component_access_token") or call.seen.token
    _good(world, value, Family.COMPONENT)
    app = world.app(call.text("authorizer_appid"))
    if app is None:
        raise Refused(61003)
    refresh_token = call.text("authorizer_refresh_token")
    if not refresh_token:
        raise Refused(61023)
    token = world.tokens.issue(app.appid, Family.AUTHORIZER, now=world.now, life_s=_LIFE_S)
    return json_reply(
        {
            "authorizer_access_token": token.value,
            "expires_in": _LIFE_S,
            "authorizer_refresh_token": refresh_token,
        }
    )


def suite_token(world: World, call: Call) -> Reply:
    """WeCom's suite token, for any suite."""
    if not (call.text("suite_id") and call.text("suite_secret") and call.text("suite_ticket")):
        raise Refused(40085)
    token = world.tokens.issue(call.text("suite_id"), Family.SUITE, now=world.now, life_s=_LIFE_S)
    return ok(suite_access_token=token.value, expires_in=_LIFE_S)
