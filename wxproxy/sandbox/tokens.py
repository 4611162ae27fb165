"""The three token endpoints, each with WeChat's own order of checks; pure."""

from collections.abc import Mapping

from wxproxy.sandbox.calls import Call
from wxproxy.sandbox.replies import Refused, Reply, json_reply, ok
from wxproxy.sandbox.state import WECOM, App, Token, World

CLASSIC_PATH = "/cgi-bin/token"
STABLE_PATH = "/cgi-bin/stable_token"
GETTOKEN_PATH = "/cgi-bin/gettoken"
TOKEN_PATHS = (CLASSIC_PATH, STABLE_PATH, GETTOKEN_PATH)


def count(world: World, call: Call) -> None:
    """Count a call to a token endpoint, whatever becomes of it."""
    if call.path not in TOKEN_PATHS:
        return
    arguments: Mapping[str, object] = call.params
    if call.path == STABLE_PATH:
        try:
            arguments = call.json()
        except Refused:
            arguments = {}
    appid = arguments.get("corpid" if call.path == GETTOKEN_PATH else "appid", "")
    counter = world.calls_to(str(appid), call.path)
    counter.fetches += 1
    counter.forced += arguments.get("force_refresh") is True


def classic(world: World, call: Call) -> Reply:
    """GET /cgi-bin/token."""
    app = _app(world, call.params.get("appid"))
    _check(app, call.params, wrong_secret=40001)
    now = world.now
    if not app.classic_quota.take(now):
        raise Refused(45009)
    return _granted(world.tokens.classic(app, now), now)


def stable(world: World, call: Call) -> Reply:
    """POST /cgi-bin/stable_token."""
    arguments = call.json()
    app = _app(world, arguments.get("appid"))
    _check(app, arguments, wrong_secret=40125)
    now = world.now
    if not app.stable_minute.take(now):
        raise Refused(45011)
    force = arguments.get("force_refresh") is True
    return _granted(world.tokens.stable(app, now, force=force), now)


def gettoken(world: World, call: Call) -> Reply:
    """GET /cgi-bin/gettoken. Source: https://developer.work.weixin.qq.com/document/path/91039"""
    corpid = call.params.get("corpid")
    if not corpid:
        raise Refused(41002)
    app = world.app(corpid, WECOM)
    if app is None:
        raise Refused(40013)
    secret = call.params.get("corpsecret")
    if not secret:
        raise Refused(41004)
    agent = next((name for name, value in app.agents.items() if value == secret), None)
    if agent is None:
        raise Refused(40091 if _is_secret_of_another(world, secret) else 40001)
    now = world.now
    token = world.tokens.gettoken(app, agent, now)
    return ok(access_token=token.value, expires_in=token.remaining_s(now))


def _app(world: World, appid: object) -> App:
    # The appid is looked at before grant_type and secret (probe, wechat-facts.md, 1).
    if not appid:
        raise Refused(41002)
    app = world.app(str(appid))
    if app is None:
        raise Refused(40013)
    return app


def _check(app: App, arguments: Mapping[str, object], *, wrong_secret: int) -> None:
    if arguments.get("grant_type") != "client_credential":
        raise Refused(40002)
    if not arguments.get("secret"):
        raise Refused(41004)
    if arguments["secret"] != app.secret:
        raise Refused(wrong_secret)


def _is_secret_of_another(world: World, secret: str) -> bool:
    return any(app.kind == WECOM and secret in app.agents.values() for app in world.apps.values())


def _granted(token: Token, now: float) -> Reply:
    return json_reply({"access_token": token.value, "expires_in": token.remaining_s(now)})
