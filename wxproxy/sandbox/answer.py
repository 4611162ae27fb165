"""From a call to its answer: platform, path, token, method, then the handler; pure."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from wxproxy.sandbox import api, sns, tokens, wecom
from wxproxy.sandbox.calls import Call
from wxproxy.sandbox.replies import (
    JSON,
    TEXT,
    WECOM_JSON,
    Refused,
    Reply,
    Style,
    errmsg,
    json_reply,
)
from wxproxy.sandbox.state import OFFICIAL, WECOM, Family, World, is_malformed


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, the method that it wants ("" for any), and whether it wants an app's token."""

    handler: Callable[[World, Call], Reply]
    method: str = "GET"
    token: bool = True


_ECHO = "/sandbox/echo"

_COMMON = {
    _ECHO: Route(api.echo, ""),
    "/sandbox/bytes": Route(api.sized, ""),
    "/sandbox/sink": Route(api.sink, ""),
    "/cgi-bin/getcallbackip": Route(api.ip_list),
    "/cgi-bin/get_api_domain_ip": Route(api.ip_list),
    "/cgi-bin/media/upload": Route(api.media_upload, "POST"),
    "/cgi-bin/media/get": Route(api.media_get),
    "/cgi-bin/menu/create": Route(api.menu_create, "POST"),
    "/cgi-bin/menu/get": Route(api.menu_get),
    "/cgi-bin/menu/delete": Route(api.menu_delete),
}

_OFFICIAL = {
    **_COMMON,
    tokens.CLASSIC_PATH: Route(tokens.classic, token=False),
    tokens.STABLE_PATH: Route(tokens.stable, "POST", token=False),
    "/cgi-bin/user/get": Route(api.user_get),
    "/cgi-bin/user/info": Route(api.user_info),
    "/cgi-bin/user/info/batchget": Route(api.user_info_batchget, "POST"),
    "/cgi-bin/message/custom/send": Route(api.message_custom, "POST"),
    "/cgi-bin/message/template/send": Route(api.message_with_id, "POST"),
    "/cgi-bin/message/subscribe/send": Route(api.message_with_id, "POST"),
    "/cgi-bin/material/get_material": Route(api.get_material, "POST"),
    "/cgi-bin/ticket/getticket": Route(api.ticket),
    "/cgi-bin/openapi/quota/get": Route(api.quota_get, "POST"),
    "/cgi-bin/openapi/rid/get": Route(api.rid_get, "POST"),
    "/cgi-bin/clear_quota": Route(api.clear_quota, "POST"),
    "/cgi-bin/clear_quota/v2": Route(api.clear_quota_v2, "POST", token=False),
    "/cgi-bin/midas/getbalance": Route(api.midas_balance, "POST"),
    "/cgi-bin/component/api_component_token": Route(sns.component_token, "POST", token=False),
    "/cgi-bin/component/api_authorizer_token": Route(sns.authorizer_token, "POST", token=False),
    "/datacube/getusersummary": Route(api.user_summary, "POST"),
    "/wxa/getwxacodeunlimit": Route(api.wxacode, "POST"),
    "/wxa/msg_sec_check": Route(api.msg_sec_check, "POST"),
    "/sns/jscode2session": Route(sns.jscode2session, token=False),
    "/sns/oauth2/access_token": Route(sns.oauth2_access_token, token=False),
    "/sns/oauth2/refresh_token": Route(sns.oauth2_refresh_token, token=False),
    "/sns/userinfo": Route(sns.userinfo, token=False),
    "/sns/auth": Route(sns.auth, token=False),
}

_WECOM = {
    **_COMMON,
    tokens.GETTOKEN_PATH: Route(tokens.gettoken, token=False),
    "/cgi-bin/user/get": Route(wecom.user_get),
    "/cgi-bin/message/send": Route(wecom.message_send, "POST"),
    "/cgi-bin/get_jsapi_ticket": Route(wecom.corp_ticket),
    "/cgi-bin/ticket/get": Route(wecom.agent_ticket),
    "/cgi-bin/service/get_suite_token": Route(sns.suite_token, "POST", token=False),
    "/cgi-bin/webhook/send": Route(wecom.webhook_send, "POST", token=False),
}

_APP_FAMILIES = {
    OFFICIAL: (Family.CLASSIC, Family.STABLE, Family.AUTHORIZER),
    WECOM: (Family.GETTOKEN,),
}

# Families in which WeChat answers for itself that a path is none; see wechat-facts.md, 5.
_FAMILIES = re.compile(
    "/(cgi-bin|wxa|wxaapi|datacube|card|customservice|channels|shop|product|tcb|cv|sns|device|xpay|"
    "promoter|marketing|bizwifi|scan|semantic|merchant|shakearound|componenttcb|sandbox)/"
)


def platform(world: World, call: Call) -> str:
    """Whose API a call means, as both are served at one address.

    A known token tells; else the path, if only WeCom has it; on a path that both have, the
    ``userid`` that only WeCom's knows, or the host.
    """
    token = world.tokens.find(call.seen.token)
    if token is not None:
        return WECOM if token.family in (Family.GETTOKEN, Family.SUITE) else OFFICIAL
    if call.path not in _WECOM:
        return OFFICIAL
    only_wecom = call.path not in _OFFICIAL
    named = "userid" in call.params or call.seen.header("host").startswith("qyapi.")
    return WECOM if only_wecom or named else OFFICIAL


def answer(world: World, call: Call) -> Reply:
    """What WeChat says to this call."""
    side = platform(world, call)
    try:
        reply = _answer(world, call, side)
    except Refused as refused:
        return refusal(world, call, refused.errcode)
    is_plain_ok = side == WECOM and reply.content_type == JSON
    return replace(reply, content_type=WECOM_JSON) if is_plain_ok else reply


def _answer(world: World, call: Call, side: str) -> Reply:
    path = _ECHO if call.path.startswith(f"{_ECHO}/") else call.path
    route = (_WECOM if side == WECOM else _OFFICIAL).get(path)
    if route is None:
        return _unknown(world, call, side)
    world.path_calls[path] += 1
    if route.token:
        _admit(world, call, side)
    if route.method and call.seen.method not in (route.method, _also(route.method)):
        raise Refused(43001 if route.method == "GET" else 43002)
    return route.handler(world, call)


def _also(method: str) -> str:
    return "HEAD" if method == "GET" else method


def _unknown(world: World, call: Call, side: str) -> Reply:
    """40066 within WeChat's path families, after the look at the token; else a bare 404."""
    if not _FAMILIES.match(call.path):
        return Reply(b"404 Not Found", TEXT, status=404)
    if "component" not in call.path.split("/") and not call.path.startswith("/sns/"):
        _admit(world, call, side)
    raise Refused(40066)


def _admit(world: World, call: Call, side: str) -> None:
    """Check the token, before anything else of the call is looked at.

    WeCom calls every bad token 40014 but an expired one; its 40001 is a wrong secret. Source:
    https://developer.work.weixin.qq.com/document/path/90455
    """
    value = call.seen.token
    if not value:
        raise Refused(41001)
    token = world.tokens.find(value)
    if token is None or token.family not in _APP_FAMILIES[side]:
        errcode = 40014 if is_malformed(value) else 40001
    else:
        errcode = token.errcode(world.now)
        call.appid, call.agent = token.appid, token.agent
    if errcode:
        raise Refused(40014 if side == WECOM and errcode == 40001 else errcode)


def refusal(world: World, call: Call, errcode: int) -> Reply:
    """A refusal in the shape, text and content type that its path has; its rid is recorded."""
    style = _style(world, call)
    text = errmsg(errcode, style=style, ip=world.ip, rid=call.rid)
    reply = json_reply({"errcode": errcode, "errmsg": text}, _error_type(call.path, style))
    if style is Style.OFFICIAL:
        world.rids[call.rid] = {
            "invoke_time": int(time.time()),
            "cost_in_ms": 1,
            "request_url": call.seen.target.partition("?")[2],
            "request_body": call.seen.body.decode("utf-8", "replace"),
            "response_body": reply.body.decode(),
            "client_ip": world.ip,
        }
    return reply


def _style(world: World, call: Call) -> Style:
    if call.path.startswith("/sns/"):
        return Style.SNS
    return Style.WECOM if platform(world, call) == WECOM else Style.OFFICIAL


def _error_type(path: str, style: Style) -> str:
    # text/plain for media errors and under /sns: node-webot/wechat-api issues 4, 126 and 204.
    if style is Style.WECOM:
        return WECOM_JSON
    return TEXT if style is Style.SNS or path.startswith("/cgi-bin/media/get") else JSON
