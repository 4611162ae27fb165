"""Which rule a path falls under, and which targets are refused; pure. The one table is here.

Rules are decided on a copy of the path (``normalise``); what is forwarded are the bytes that
the client sent.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

from wxproxy.accounts import Kind
from wxproxy.errors import RequestRefused

# Longer ones are classed each time: no client may fill the cache with long paths.
_CACHED_PATH_MAX_LENGTH = 128

_REFUSED_METHODS = frozenset({"TRACE", "CONNECT"})


class Rule(StrEnum):
    """What is done with a request."""

    INJECT = "inject"
    """The account's token replaces whatever access_token the client sent."""
    SIGNED = "signed"
    """As INJECT, but the body is signed with the token: never sent twice."""
    LOGIN = "login"
    """The account's appid and secret go in; no token, never sent twice."""
    LOGIN_REFRESH = "login_refresh"
    """The account's appid goes in, nothing else."""
    PASS = "pass"  # noqa: S105 - a rule's name, not a password
    """Somebody else's token: forwarded untouched."""
    TOKEN_ENDPOINT = "token_endpoint"  # noqa: S105 - a rule's name, not a token
    """Answered here: forwarded, it would kill the live token."""
    CONTROL = "control"
    """wxproxy's own routes."""


TOKEN_ENDPOINT_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "/cgi-bin/token": Kind.OFFICIAL,
        "/cgi-bin/stable_token": Kind.OFFICIAL,
        "/cgi-bin/gettoken": Kind.WECOM,
    }
)

# Source: wechat-facts.md 4 and 5: WeChat's own pages for jscode2session, oauth2, component and
# openApi/quota, and https://developer.work.weixin.qq.com/document/path/91039 for WeCom.
_EXACT = {
    "/sns/jscode2session": Rule.LOGIN,
    "/sns/oauth2/access_token": Rule.LOGIN,
    "/sns/oauth2/refresh_token": Rule.LOGIN_REFRESH,
    "/wxa/gettemplatelist": Rule.PASS,
    "/wxa/addtotemplate": Rule.PASS,
    "/wxa/deletetemplate": Rule.PASS,
    "/wxa/gettemplatedraftlist": Rule.PASS,
    "/cgi-bin/clear_quota/v2": Rule.PASS,
} | dict.fromkeys(TOKEN_ENDPOINT_KINDS, Rule.TOKEN_ENDPOINT)

_PREFIXES = (
    ("/_wxproxy/", Rule.CONTROL),
    ("/sns/", Rule.PASS),
    ("/componenttcb/", Rule.PASS),
    ("/cgi-bin/service/", Rule.PASS),
    ("/cgi-bin/webhook/", Rule.PASS),
    ("/cgi-bin/midas/", Rule.SIGNED),
)


class Place(NamedTuple):
    """A path as sent, with what was decided on its copy.

    Attributes:
        raw: as the client sent it, but for leading slashes, of which one is left.
        path: the copy, see ``normalise``.
        rule: see ``classify``.
    """

    raw: str
    path: str
    rule: Rule


def locate(raw_path: str) -> Place:
    """Normalise and classify a path; quick for short ones that were seen before.

    Raises:
        RequestRefused: see ``normalise``.
    """
    if len(raw_path) <= _CACHED_PATH_MAX_LENGTH:
        return _locate_cached(raw_path)
    return _locate(raw_path)


def _locate(raw_path: str) -> Place:
    raw = "/" + raw_path.lstrip("/")
    path = normalise(raw)
    return Place(raw, path, classify(path))


_locate_cached = lru_cache(maxsize=4096)(_locate)


def normalise(raw_path: str) -> str:
    r"""The copy that rules are decided on: decoded once, ``\`` as ``/``, runs of ``/`` collapsed.

    Raises:
        RequestRefused: a ``.`` or ``..`` segment, or NUL.
    """
    path = unquote(raw_path, errors="replace") if "%" in raw_path else raw_path
    path = path.replace("\\", "/")
    while "//" in path:
        path = path.replace("//", "/")
    if "\0" in path:
        raise RequestRefused("the path contains a NUL character (%00); leave it out")
    if "/." in path and not {".", ".."}.isdisjoint(path.split("/")):
        raise RequestRefused("the path contains a . or .. segment; send the path itself")
    return path


def classify(path: str) -> Rule:
    """The rule for a normalised path.

    WeChat's paths are lower case and end without a slash. Other spellings fall under the same
    rule as the real one: should WeChat be tolerant, ``/cgi-bin/Token`` must not slip through
    and kill the live token.
    """
    path = path.lower().rstrip("/")
    rule = _EXACT.get(path)
    if rule is not None:
        return rule
    folder = path + "/"
    for prefix, prefix_rule in _PREFIXES:
        if folder.startswith(prefix):
            return prefix_rule
    return Rule.PASS if "/component/" in folder else Rule.INJECT


def token_endpoint_kind(path: str) -> Kind:
    """The platform whose token endpoint this normalised path is.

    Raises:
        KeyError: it is none.
    """
    return TOKEN_ENDPOINT_KINDS[path.lower().rstrip("/")]


def check_target(target: str, version: tuple[int, int], method: str) -> None:
    """Refuse request lines that no WeChat API needs and that parsers read differently.

    Raises:
        RequestRefused: TRACE, CONNECT, a version other than 1.0 and 1.1, ``#``, ``%00`` or
            anything outside 0x21-0x7E in the target.
    """
    if method in _REFUSED_METHODS:
        raise RequestRefused("TRACE and CONNECT are not forwarded; WeChat's API uses GET and POST")
    if version != (1, 1) and version != (1, 0):
        raise RequestRefused("the HTTP version must be 1.0 or 1.1")
    # ASCII and printable is 0x20-0x7E.
    if not (target.isascii() and target.isprintable()) or " " in target:
        raise RequestRefused(
            "the request target contains a blank, a control character or a byte outside ASCII; "
            "percent-encode it"
        )
    if "#" in target:
        raise RequestRefused("the request target contains #; leave the fragment out or send %23")
    if "%00" in target:
        raise RequestRefused("the request target contains %00; leave it out")
