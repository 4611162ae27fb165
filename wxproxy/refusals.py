"""What the token endpoints' refusals mean: class, wait, cure, and what their texts tell; pure.

Sources of the table: wechat-facts.md 1 and 8, after
https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken,
the page Get_access_token of the official-account documentation, and
https://developer.work.weixin.qq.com/document/path/90455 for WeCom.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from wxproxy.errors import NO_TOKEN_REFUSAL_ERRCODE
from wxproxy.schedule import backoff_s

UNREACHABLE_CAP_S = 60.0
"""Longest backoff while no answer comes."""

ANSWERING_CAP_S = 300.0
"""Longest backoff while WeChat itself keeps answering with a transient failure."""

_MINUTE = 60.0
_HOUR = 3600.0


class RefusalClass(StrEnum):
    """Who must act before the token endpoint gives a token again."""

    TRANSIENT = "transient"
    CONFIGURATION = "configuration"
    WAITING = "waiting"
    BLOCKED = "blocked"
    QUOTA = "quota"
    ACCOUNT = "account"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an errcode of a token endpoint means.

    Attributes:
        waits_s: wait after the first such refusal in a row, the second, …; the last one repeats.
            Empty for transient ones, which back off.
        cure: one line for the person who can end it; ``{ip}`` is the refused address.
    """

    refusal_class: RefusalClass
    waits_s: tuple[float, ...]
    cure: str


def _configuration(cure: str) -> Refusal:
    return Refusal(RefusalClass.CONFIGURATION, (5 * _MINUTE, 30 * _MINUTE), cure)


def _waiting(cure: str) -> Refusal:
    waits = (_MINUTE, 2 * _MINUTE, 4 * _MINUTE, 5 * _MINUTE)
    return Refusal(RefusalClass.WAITING, waits, cure)


def _blocked(seconds: float, cure: str) -> Refusal:
    return Refusal(RefusalClass.BLOCKED, (seconds,), cure)


def _quota(seconds: float, cure: str) -> Refusal:
    return Refusal(RefusalClass.QUOTA, (seconds,), cure)


def _account(cure: str) -> Refusal:
    return Refusal(RefusalClass.ACCOUNT, (30 * _MINUTE,), cure)


_WRONG_APPSECRET = (
    "the AppSecret is wrong or belongs to another appid (WeCom: the Secret to another corpid or"
    " agent): copy it anew from the console, under 开发 > 基本配置 (WeCom: the app's page)"
)
_NOT_WHITELISTED = (
    "add the address {ip} to the IP whitelist, under 开发 > 基本配置 > IP白名单; it counts from a"
    " few minutes later on"
)
_NOT_TRUSTED = "add the address {ip} to the app's trusted IPs (企业可信IP) in the WeCom console"

_TRANSIENT = Refusal(
    RefusalClass.TRANSIENT, (), "WeChat says that it is busy; it is asked again by itself"
)
_UNKNOWN = Refusal(
    RefusalClass.UNKNOWN,
    (5 * _MINUTE,),
    "this errcode is not known here: look it up in WeChat's table of return codes (全局返回码)",
)
_TABLE: Mapping[int, Refusal] = MappingProxyType(
    {
        -1: _TRANSIENT,
        6000: _TRANSIENT,  # WeCom: data version conflict
        40001: _configuration(_WRONG_APPSECRET),
        40125: _configuration(_WRONG_APPSECRET),
        40091: _configuration(_WRONG_APPSECRET),
        40013: _configuration(
            "the appid (WeCom: corpid) does not exist: look for wrong case and stray characters"
        ),
        40002: _configuration("WeChat did not take the grant_type: check the upstream setting"),
        41002: _configuration("WeChat saw no appid: check the account's appid and the upstream"),
        41004: _configuration("WeChat saw no AppSecret: check the account's secret"),
        43002: _configuration("WeChat wants POST here: check the upstream and proxies before it"),
        40243: _configuration(
            "the AppSecret is frozen: an administrator can unfreeze it in the console, under"
            " 开发 > 基本配置"
        ),
        61024: _configuration(
            "this account's tokens are had through its third-party platform only; wxproxy cannot"
            " keep them"
        ),
        40164: _waiting(_NOT_WHITELISTED),
        60020: _waiting(_NOT_TRUSTED),
        89503: _waiting(
            "an administrator must confirm this address: WeChat has just sent the template message"
        ),
        89501: _waiting("WeChat waits for an administrator to confirm this address"),
        89507: _blocked(
            _HOUR,
            "an administrator refused this address: WeChat blocks it for 1 hour; then confirm the"
            " message, or whitelist the address",
        ),
        89506: _blocked(
            24 * _HOUR,
            "an administrator refused this address twice: WeChat blocks it for 24 hours; restart"
            " wxproxy once that is settled",
        ),
        45009: _quota(
            30 * _MINUTE,
            "the quota of token calls is used up: find what else fetches tokens for this account;"
            " clear_quota restores it (10 times a month)",
        ),
        45011: _quota(_MINUTE, "too many token calls in a minute: find what else makes them"),
        45033: _quota(_MINUTE, "too many token calls at once: find what else makes them"),
        50002: _account("the account is limited, frozen or cancelled: see the console's notices"),
        50004: _account("the account may not fetch tokens (a punishment): see the console"),
        50007: _account("the account is frozen: see the console's notices"),
    }
)

# Reasons of FetchFailed that are an answer, if a useless one.
_ANSWERED = frozenset({"errcode", "http_status", "bad_body"})

_RID = re.compile(r"\brid: ?([0-9A-Za-z-]{8,64})")
_WECOM_HINT = re.compile(r"\bhint: ?\[([0-9A-Za-z_-]{8,64})\]")
_REFUSED_IP = (
    re.compile(r"invalid ip ([0-9A-Fa-f.:]{2,45}?)(?: ipv6 \S+?)?,? not in whitelist"),
    re.compile(r"not allow to access from your ip\b.{0,200}?\bfrom ip: ?([0-9A-Fa-f.:]{2,45})"),
)

# Codes on which SDKs fetch and retry for ever, if the token endpoint ever gives them.
_NEVER_SHOWN = frozenset({0, -1, 40014, 42001})


def refusal(errcode: int) -> Refusal:
    """What the code means when a token endpoint gives it."""
    return _TABLE.get(errcode, _UNKNOWN)


def refusal_class(reason: str, errcode: int) -> RefusalClass:
    """The class of a failed fetch; ``reason`` as in FetchFailed."""
    return refusal(errcode).refusal_class if reason == "errcode" else RefusalClass.TRANSIENT


def wait_s(reason: str, errcode: int, *, in_a_row: int, jitter: float) -> float:
    """How long to leave the token endpoint alone after a failed fetch.

    Args:
        reason: as in FetchFailed.
        in_a_row: how many failures of this class have followed each other, this one included.
    """
    if refusal_class(reason, errcode) is RefusalClass.TRANSIENT:
        cap = ANSWERING_CAP_S if reason in _ANSWERED else UNREACHABLE_CAP_S
        return backoff_s(in_a_row, cap_s=cap, jitter=jitter)
    waits = refusal(errcode).waits_s
    return waits[min(in_a_row, len(waits)) - 1]


def cure(errcode: int, refused_ip: str) -> str:
    """One line that says what ends this refusal."""
    return refusal(errcode).cure.replace("{ip}", refused_ip or "of this machine's egress")


def shown_errcode(errcode: int) -> int:
    """The code under which clients see a refusal: one that starts no loop in an SDK.

    A 40001 of the token endpoint means a wrong secret, but a bad token everywhere else.
    """
    if errcode == 40001:
        return 40125
    return NO_TOKEN_REFUSAL_ERRCODE if errcode in _NEVER_SHOWN else errcode


def parse_rid(errmsg: str) -> str:
    """WeChat's request id in an errmsg, or WeCom's hint, which serves the same end; else ""."""
    found = _RID.search(errmsg) or _WECOM_HINT.search(errmsg)
    return found[1] if found else ""


def parse_refused_ip(errmsg: str) -> str:
    """The address that an errmsg of 40164 or WeCom's 60020 says was refused, or ""."""
    for pattern in _REFUSED_IP:
        if found := pattern.search(errmsg):
            return _address(found[1])
    return ""


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.rstrip(".")))
    except ValueError:
        return ""
