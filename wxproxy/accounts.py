"""Accounts, and the book that says which account a name, an appid or a token means; pure."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from cachetools import LRUCache

# A real token has at least 136 characters (wechat-facts.md, 11); dummies such as "x" are short.
DUMMY_TOKEN_MAX_LENGTH = 63

_HELD_TOKENS_PER_ACCOUNT = 16


class Kind(StrEnum):
    """Which of WeChat's two platforms an account lives on."""

    OFFICIAL = "official"
    WECOM = "wecom"


class TokenApi(StrEnum):
    """How tokens are had: ``stable`` and ``classic`` on official, ``gettoken`` on wecom."""

    STABLE = "stable"
    CLASSIC = "classic"
    GETTOKEN = "gettoken"


DEFAULT_UPSTREAMS = {
    Kind.OFFICIAL: "https://api.weixin.qq.com",
    Kind.WECOM: "https://qyapi.weixin.qq.com",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of an upstream."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> "Origin":
        """Read ``https://host[:port]``.

        Raises:
            ValueError: not http(s), no host, or anything after the host and port.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a base URL such as https://api.weixin.qq.com")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise ValueError("a base URL without path, query or user")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, parts.hostname, port)

    @property
    def is_tls(self) -> bool:
        """Whether connections to it are encrypted."""
        return self.scheme == "https"

    @property
    def netloc(self) -> str:
        """The Host header's value: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


@dataclass(frozen=True, slots=True)
class Account:
    """One appid (or one wecom agent) whose token wxproxy keeps. Holds no secret.

    Attributes:
        name: how settings, headers, metrics and logs call it.
        appid: WeChat's appid; for wecom the corpid, which several accounts may share.
        upstreams: tried in order when one cannot be connected to.
        default: serves requests that choose no account.
        placeholder: token-like string that stands for the account in unmodified SDKs.
    """

    name: str
    appid: str
    kind: Kind
    token_api: TokenApi
    upstreams: tuple[Origin, ...]
    default: bool = False
    placeholder: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        # Set here so that an account without its placeholder cannot exist.
        object.__setattr__(self, "placeholder", placeholder(self.kind, self.appid, self.name))


def placeholder(kind: Kind, appid: str, name: str) -> str:
    """The account's stand-in token: 148 characters of ``[A-Za-z0-9_-]``, no credential.

    A hash of kind, appid and, for wecom, name: the same in every replica and environment, after
    a restart and after a change of secret.
    Source: SDKs take arguments under 50 characters for an appid (weixin-popular) and reserve
    512 (Senparc, WeChat's docs): sdks-and-threads.md B3.5.
    """
    seed = f"{kind}\0{appid}\0{name if kind is Kind.WECOM else ''}".encode()
    digest = hashlib.shake_256(b"wxproxy placeholder\0" + seed).digest(108)
    return "wxp_" + base64.urlsafe_b64encode(digest).decode()


class AccountBook:
    """Which account a name, an appid or a token means.

    Attributes:
        accounts: all of them, in the order of the configuration.
    """

    def __init__(self, accounts: Iterable[Account]) -> None:
        self.accounts = tuple(accounts)
        self._by_name: dict[str, tuple[Account, ...]] = {}
        for account in self.accounts:
            for key in {account.name, account.appid}:
                self._by_name[key] = (*self._by_name.get(key, ()), account)
        self._by_placeholder = {account.placeholder: account for account in self.accounts}
        self._held: LRUCache[str, Account] = LRUCache(
            _HELD_TOKENS_PER_ACCOUNT * max(1, len(self.accounts))
        )

    def named(self, name: str) -> tuple[Account, ...]:
        """The accounts with this name or appid; several only for a shared wecom corpid."""
        return self._by_name.get(name, ())

    def holder(self, token: str) -> Account | None:
        """The account whose placeholder, token or earlier token this is."""
        return self._by_placeholder.get(token) or self._held.get(token)

    def is_placeholder(self, token: str) -> bool:
        """Whether this is an account's stand-in."""
        return token in self._by_placeholder

    def remember(self, account: Account, token: str) -> None:
        """Note that the account has this token, so that a client that sends it is recognised."""
        self._held[token] = account
