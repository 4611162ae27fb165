"""What WeChat's answers look like: shapes, content types and texts of refusals; pure."""

import json
import secrets
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

JSON = "application/json; encoding=utf-8"
WECOM_JSON = "application/json; charset=UTF-8"
TEXT = "text/plain"
JPEG = "image/jpeg"

# A whole baseline JPEG of 1 x 1 pixel. A comment of 16 KiB makes it longer than an error body.
_TABLE = "01" + "00" * 16
PICTURE = (
    bytes.fromhex("ffd8ffe000104a46494600010100000100010000fffe4002")
    + bytes(0x4000)
    + bytes.fromhex("ffdb004300" + "01" * 64 + "ffc0000b080001000101011100")
    + bytes.fromhex(f"ffc4001400{_TABLE}ffc4001410{_TABLE}ffda0008010100003f003fffd9")
)


class Style(StrEnum):
    """Three ways in which WeChat words a refusal."""

    OFFICIAL = "official"
    SNS = "sns"
    WECOM = "wecom"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. With ``size`` the body is that many bytes of a pattern, made as they go."""

    body: bytes = b""
    content_type: str = JSON
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    size: int | None = None
    errcode: int | None = None


class Refused(Exception):
    """WeChat says no, as HTTP 200 with an errcode."""

    def __init__(self, errcode: int) -> None:
        super().__init__(errcode)
        self.errcode = errcode


def json_reply(data: Any, content_type: str = JSON) -> Reply:
    """An object as WeChat writes it: no spaces, no escapes for other scripts."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    errcode = data.get("errcode") if isinstance(data, dict) else None
    return Reply(body, content_type, errcode=errcode)


def ok(**more: Any) -> Reply:
    """``{"errcode":0,"errmsg":"ok",…}``."""
    return json_reply({"errcode": 0, "errmsg": "ok", **more})


# Sources: wechat-facts.md, 1, 3b and 8, and the official tables of return codes that it names.
_TEXTS = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest, could get access_token "
    "by getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40004: "invalid media type",
    40007: "invalid media_id",
    40013: "invalid appid",
    40014: "invalid access_token",
    40016: "invalid button size",
    40029: "invalid code",
    40030: "invalid refresh_token",
    40033: r"invalid charset. please check your request, if include \uxxxx will create fail!",
    40066: "invalid url",
    40097: "invalid args",
    40113: "unsupported file type",
    40125: "invalid appsecret",
    40129: "invalid scene",
    40163: "code been used",
    40164: "invalid ip {ip} ipv6 ::ffff:{ip}, not in whitelist",
    40243: "appsecret has been frozen",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41005: "media data missing",
    41008: "missing code",
    42001: "access_token expired",
    43001: "require GET method",
    43002: "require POST method",
    44002: "empty post data",
    45001: "media size out of limit",
    45002: "content size out of limit",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit  mustslower  retry next minute",
    46003: "menu no exist",
    47001: "data format error",
    48001: "api unauthorized",
    48006: "forbid to clear quota because of reaching the limit",
    50002: "user limited",
    50004: "forbid to use token api",
    50007: "account frozen",
    61003: "component is not authorized by this account",
    61006: "component ticket is invalid",
    61011: "invalid component",
    61023: "refresh_token is invalid",
    61024: "must use component token",
    61500: "date format error",
    76001: "rid not found",
    76021: "cgi_path not found, please check",
    89501: "ip is waiting for the administrator's confirmation",
    89503: "the call of this ip needs the administrator's confirmation",
    89506: "the administrator refused this ip twice, no calls for 24 hours",
    89507: "the administrator refused this ip, no calls for 1 hour",
    90009: "mp_sig error",
}

_WECOM_TEXTS = {
    40001: "invalid credential",
    40013: "invalid corpid",
    40014: "invalid access_token",
    40091: "secret does not belong to this corp",
    41002: "corpid missing",
    41004: "corpsecret missing",
    45033: "api concurrent out of limit",
    60011: "no privilege to access/modify contact/party/agent",
    60020: "not allow to access from your ip",
    60111: "userid not found",
    93000: "invalid webhook url",
    301002: "not allow operate another agent with this accesstoken",
}

_SNS_TEXTS = {40001: "invalid credential, access_token is invalid or not latest"}


def new_rid() -> str:
    """A request id such as ``6aac005a-01bfdbee-79769285``; its first part is the unix time."""
    return f"{int(time.time()):08x}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"


def errmsg(errcode: int, *, style: Style, ip: str, rid: str) -> str:
    """The text that goes with a refusal."""
    text = _TEXTS.get(errcode, "refused").format(ip=ip)
    if style is Style.WECOM:
        hint = f"{int(time.time())}_28_{rid.replace('-', '')}"
        return (
            f"{_WECOM_TEXTS.get(errcode, text)}, hint: [{hint}], from ip: {ip}, "
            f"more info at https://open.work.weixin.qq.com/devtool/query?e={errcode}"
        )
    if style is Style.SNS:
        return f"{_SNS_TEXTS.get(errcode, text)}, rid: {rid}"
    return f"{text} rid: {rid}"
