"""A request target taken apart, host, account prefix and query, each byte kept; pure."""

from collections.abc import Container, Mapping
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote, unquote_plus

from wxproxy.accounts import Kind
from wxproxy.errors import RequestRefused

# Source: wechat-facts.md 6,
# https://developers.weixin.qq.com/doc/service/Basic_Information/Interface_field_description.html
WECHAT_HOSTS: Mapping[str, Kind] = MappingProxyType(
    {
        "api.weixin.qq.com": Kind.OFFICIAL,
        "api2.weixin.qq.com": Kind.OFFICIAL,
        "sh.api.weixin.qq.com": Kind.OFFICIAL,
        "sz.api.weixin.qq.com": Kind.OFFICIAL,
        "hk.api.weixin.qq.com": Kind.OFFICIAL,
        "qyapi.weixin.qq.com": Kind.WECOM,
    }
)


class Param(IntEnum):
    """A query parameter's meaning here."""

    OTHER = 0
    TOKEN = 1
    SELECTOR = 2
    APPID = 3
    CORPID = 4
    SECRET = 5
    THIRD_PARTY_TOKEN = 6


_PARAMS = {
    "access_token": Param.TOKEN,
    "from_appid": Param.SELECTOR,
    "appid": Param.APPID,
    "corpid": Param.CORPID,
    "secret": Param.SECRET,
    "component_access_token": Param.THIRD_PARTY_TOKEN,
    "suite_access_token": Param.THIRD_PARTY_TOKEN,
    "provider_access_token": Param.THIRD_PARTY_TOKEN,
    "cloudbase_access_token": Param.THIRD_PARTY_TOKEN,
}


class Query:
    """A query as sent, its parameters named; ``mark`` is the ``?`` before it, if there is one.

    Names are matched after percent-decoding; nothing is encoded again, so what is kept keeps
    its bytes, order and empty pieces.
    """

    __slots__ = ("_pieces", "_sent", "_tail")

    def __init__(self, raw: str, mark: str = "?") -> None:
        self._tail = mark + raw
        self._pieces: list[tuple[Param, str]] = []
        self._sent: dict[Param, list[str]] = {}
        for piece in raw.split("&") if raw else ():
            name, _, value = piece.partition("=")
            # A "+" needs no look: as a blank it is in none of the names.
            param = _PARAMS.get(unquote(name) if "%" in name else name, Param.OTHER)
            if param is not Param.OTHER:
                if "%" in value or "+" in value:
                    value = unquote_plus(value)
                self._sent.setdefault(param, []).append(value)
            self._pieces.append((param, piece))

    def values(self, *params: Param) -> list[str]:
        """The decoded values of these parameters; empty ones are as good as not sent."""
        return [value for param in params for value in self._sent.get(param, ()) if value]

    def has(self, param: Param) -> bool:
        """Whether the parameter was sent, if only empty."""
        return param in self._sent

    def before(self, last: str, *, dropped: Container[Param]) -> str:
        """The query less the dropped parameters, with one more parameter at its end."""
        kept = [piece for param, piece in self._pieces if param not in dropped]
        return "&".join((*kept, last))

    def tail(self) -> str:
        """The query less ``from_appid``, with the question mark where there is one."""
        if Param.SELECTOR not in self._sent:
            return self._tail
        kept = [piece for param, piece in self._pieces if param is not Param.SELECTOR]
        return "?" + "&".join(kept) if kept else ""


def cut_token(query: str) -> tuple[str, str | None]:
    """Take the access_token out of a query without escapes that has one parameter so named.

    Returns:
        What goes before a new one, and the token; None for it where the query is another one.
    """
    before, mark, rest = query.partition("access_token=")
    if not mark or "_token" in before or "_token" in rest or (before and before[-1] != "&"):
        return query, None
    token, more, after = rest.partition("&")
    return f"{before}{after}{more}", token


def split_absolute(raw_path: str) -> tuple[str | None, str]:
    """The host of a target in absolute form, None for origin form; and the path.

    Raises:
        RequestRefused: the target is in neither form.
    """
    if raw_path.startswith("/"):
        return None, raw_path
    scheme, _, rest = raw_path.partition("://")
    if not rest or scheme.lower() not in ("http", "https"):
        raise RequestRefused("the request target must be a path such as /cgi-bin/user/info")
    authority, slash, path = rest.partition("/")
    return _hostname(authority), f"{slash}{path}" or "/"


def split_prefix(raw_path: str) -> tuple[str | None, str]:
    """The account's name in a ``/@name`` prefix, None without one; and the rest of the path."""
    first, slash, rest = raw_path.lstrip("/").partition("/")
    name = unquote(first)
    return (name[1:], f"{slash}{rest}" or "/") if name.startswith("@") else (None, raw_path)


def _hostname(authority: str) -> str:
    """The host of ``host[:port]``, in lower case."""
    host, colon, port = authority.rpartition(":")
    if not colon or "]" in port:
        host = authority
    return host.strip("[]").lower()


@lru_cache(maxsize=64)
def kind_of_host(host: bytes) -> Kind | None:
    """The platform whose host a Host header names; None for any other, such as our own."""
    return WECHAT_HOSTS.get(_hostname(host.decode("latin-1")))
