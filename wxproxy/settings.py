"""The table of settings: each key's parser, default and meaning; pure.

A field of the dataclasses below is a key of the file; its ``WXPROXY_<KEY>`` and its ``--key``
follow from its name. The default is read by the same parser as a given value. Keys of
``[limits]`` have a ``WXPROXY_<KEY>`` too, but no flag; an account's keys have both where one
account needs no file, except that a secret has no flag (command lines are visible to all).
"""
# ruff: noqa: RUF009 - the calls in the dataclasses below make dataclass fields

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from wxproxy import values
from wxproxy.accounts import DEFAULT_UPSTREAMS, Kind, Origin, TokenApi
from wxproxy.egress import EgressProxy, proxy_url
from wxproxy.redact import Secret
from wxproxy.values import Address

_T = TypeVar("_T")


class TokenEndpoint(StrEnum):
    """What the local token endpoints answer."""

    PLACEHOLDER = "placeholder"
    REAL = "real"
    OFF = "off"


class ForeignToken(StrEnum):
    """What happens to a client's long access_token that is none of ours."""

    REPLACE = "replace"
    REFUSE = "refuse"
    PASS = "pass"  # noqa: S105 - a word of the configuration, not a password


class ForceRefresh(StrEnum):
    """Whether a token proved bad may lead to a forced refresh of a stable token."""

    AUTO = "auto"
    NEVER = "never"


class ErrorStatus(StrEnum):
    """HTTP status of the sidecar's own failures: its own, or 200 as WeChat's are."""

    HTTP = "http"
    WECHAT = "wechat"


class IpFamily(StrEnum):
    """Which addresses of an upstream are used."""

    AUTO = "auto"
    V4 = "4"
    V6 = "6"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one key is read and what it means.

    Attributes:
        default: as documentation shows it.
        in_environment: whether ``WXPROXY_<KEY>`` exists.
        is_flag: whether ``--key`` exists.
    """

    parse: Callable[[object], Any]
    default: str
    meaning: str
    in_environment: bool
    is_flag: bool

    @property
    def is_boolean(self) -> bool:
        """Whether the flag alone means true."""
        return self.parse is values.boolean


def _setting(
    parse: Callable[[object], _T],
    default: str,
    meaning: str,
    *,
    shown: str = "",
    in_environment: bool = True,
    is_flag: bool = True,
) -> _T:
    rule = Rule(parse, shown or default, meaning, in_environment, is_flag)
    return field(default=parse(default), metadata={"rule": rule})


def _optional(
    parse: Callable[[object], _T],
    meaning: str,
    *,
    shown: str = "",
    in_environment: bool = True,
    is_flag: bool = True,
) -> _T | None:
    rule = Rule(parse, shown, meaning, in_environment, is_flag)
    return field(default=None, metadata={"rule": rule})


def _derived(
    parse: Callable[[object], _T], meaning: str, *, shown: str = "", in_environment: bool = True
) -> _T:
    rule = Rule(parse, shown, meaning, in_environment, is_flag=in_environment)
    required: _T = field(metadata={"rule": rule})
    return required


def _limit(parse: Callable[[object], _T], default: str, meaning: str) -> _T:
    return _setting(parse, default, meaning, is_flag=False)


def _secret(raw: object) -> Secret:
    return Secret(values.secret(raw))


def _upstreams(raw: object) -> tuple[Origin, ...]:
    try:
        return tuple(Origin.parse(values.base_url(url)) for url in values.listed(raw))
    except ValueError:
        # urlsplit's own text quotes the URL.
        expected = "base URLs such as https://api.weixin.qq.com, without user, path or query"
        raise ValueError(expected) from None


# Accounts of all these kinds use api.weixin.qq.com and its tokens: wechat-facts.md, 1.
_OFFICIAL_KINDS = ("mp", "miniprogram", "minigame", "shop", "channels")
_KIND = values.one_of(Kind, also=dict.fromkeys(_OFFICIAL_KINDS, Kind.OFFICIAL))
_TOKEN_API = values.one_of((TokenApi.STABLE, TokenApi.CLASSIC))
_TIMEOUT = values.seconds(0.1, 86_400)
_BYTES = values.size(0, 1 << 40)
_COUNT = values.integer(1, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """One account; either ``secret`` or ``secret_file`` is set.

    Attributes:
        secret_setting: where the secret was set, for errors about its file.
    """

    name: str = _derived(
        values.word,
        "how paths, headers and metrics call it",
        shown="its appid",
        in_environment=False,
    )
    appid: str = _derived(values.appid, "appid (corpid for wecom)")
    secret: Secret | None = _optional(_secret, "AppSecret", is_flag=False)
    secret_file: Path | None = _optional(
        values.secret_path, "file that holds the AppSecret, re-read when its content changes"
    )
    kind: Kind = _setting(_KIND, "official", f"official ({', '.join(_OFFICIAL_KINDS)}) or wecom")
    token_api: TokenApi = _derived(
        _TOKEN_API, "stable or classic; for official accounts only", shown="stable"
    )
    upstream: tuple[Origin, ...] = _derived(
        _upstreams,
        "base URLs, tried in order when one cannot be connected to",
        shown=" or ".join(DEFAULT_UPSTREAMS.values()) + ", by kind",
    )
    listen: Address | None = _optional(
        values.address,
        "a proxy listener for this account alone",
        in_environment=False,
        is_flag=False,
    )
    default: bool = _setting(
        values.boolean,
        "false",
        "serves requests that choose no account",
        in_environment=False,
        is_flag=False,
    )
    secret_setting: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds each wait, count and size."""

    connect_seconds: float = _limit(
        _TIMEOUT, "5", "to connect to an upstream, with pool wait, DNS and TLS"
    )
    reply_head_seconds: float = _limit(
        _TIMEOUT, "60", "from the last request byte to the head of the reply"
    )
    reply_gap_seconds: float = _limit(_TIMEOUT, "60", "between bytes of a reply")
    client_head_seconds: float = _limit(_TIMEOUT, "30", "for a client to send its request's head")
    client_body_gap_seconds: float = _limit(_TIMEOUT, "30", "between bytes of a client's body")
    client_stall_seconds: float = _limit(_TIMEOUT, "60", "for a client that does not read")
    client_idle_seconds: float = _limit(
        _TIMEOUT, "1h", "before an idle client connection is closed"
    )
    upstream_idle_seconds: float = _limit(
        _TIMEOUT, "15", "before an idle connection to an upstream is closed"
    )
    token_call_seconds: float = _limit(_TIMEOUT, "10", "for a call to a token endpoint")
    token_fetches: int = _limit(_COUNT, "16", "token calls in flight, of all accounts")
    client_connections: int = _limit(_COUNT, "10000", "client connections; beyond: 503 overloaded")
    upstream_connections: int = _limit(_COUNT, "512", "connections to one upstream")
    routes: int = _limit(_COUNT, "100", "routes that metrics learn as label values")
    interim_replies: int = _limit(_COUNT, "16", "1xx replies to one request")
    body_bytes: int = _limit(_BYTES, "1GiB", "of one request body")
    replay_memory_bytes: int = _limit(
        _BYTES, "1MiB", "of one request body kept in memory for a retry"
    )
    replay_memory_total_bytes: int = _limit(
        _BYTES, "16MiB", "of all request bodies kept in memory for a retry"
    )
    spool_bytes: int = _limit(_BYTES, "64MiB", "of one request body kept in spool_dir for a retry")
    spool_total_bytes: int = _limit(
        _BYTES, "256MiB", "of all request bodies kept in spool_dir for a retry"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, valid by construction through ``load``."""

    accounts: tuple[AccountSettings, ...] = ()
    limits: Limits = Limits()
    listen: Address = _setting(
        values.address, "127.0.0.1:5780", "proxy listener: host:port, :port or unix:/path"
    )
    ops_listen: Address = _setting(
        values.address, "127.0.0.1:5781", "listener for probes, metrics and status"
    )
    allow_anonymous: bool = _setting(
        values.boolean, "false", "lets a proxy listener be reached from other machines"
    )
    allow_origins: tuple[str, ...] = _setting(
        values.web_origins, "", "browser origins that may call", shown="none"
    )
    token_endpoint: TokenEndpoint = _setting(
        values.one_of(TokenEndpoint),
        "placeholder",
        "what /cgi-bin/token answers: placeholder, real or off",
    )
    token_endpoint_expires_in: int = _setting(
        values.integer(1, 86_400), "7200", "expires_in (seconds) told with a placeholder"
    )
    expose_token: bool = _setting(
        values.boolean, "false", "lets /_wxproxy/token give the live token"
    )
    foreign_token: ForeignToken = _setting(
        values.one_of(ForeignToken),
        "replace",
        "what becomes of a client's token that is none of ours: replace, refuse or pass",
        shown="replace with one account, refuse with several",
    )
    force_refresh: ForceRefresh = _setting(
        values.one_of(ForceRefresh),
        "auto",
        "auto, or never where an appid is shared with production",
    )
    refresh_lead_seconds: float = _setting(
        values.seconds(1, 3600), "240", "how long before its expiry a token is refreshed"
    )
    classic_fetches_per_day: int = _setting(
        values.integer(1, 100_000),
        "200",
        "token fetches a day of each classic account (a test account: set 60)",
    )
    token_wait_seconds: float = _setting(
        values.seconds(0, 300), "3", "longest wait of a request for a token"
    )
    startup_wait_seconds: float = _setting(
        values.seconds(0, 3600), "20", "after which /startupz is 200 in any case; 0: at once"
    )
    shutdown_delay_seconds: float = _setting(
        values.seconds(0, 3600), "0", "from SIGTERM to the closing of the listeners"
    )
    drain_seconds: float = _setting(
        values.seconds(0, 3600), "25", "that requests in flight may take after that"
    )
    error_status: ErrorStatus = _setting(
        values.one_of(ErrorStatus),
        "http",
        "status of the sidecar's own failures: http, or wechat for 200",
    )
    egress_proxy: EgressProxy | None = _optional(
        proxy_url("egress_proxy"),
        "HTTP proxy to WeChat: http://[user:password@]host:port",
        shown="HTTPS_PROXY and NO_PROXY",
        is_flag=False,
    )
    token_egress_proxy: EgressProxy | None = _optional(
        proxy_url("token_egress_proxy"),
        "HTTP proxy for token calls alone, in place of egress_proxy",
        shown="egress_proxy",
        is_flag=False,
    )
    ip_family: IpFamily = _setting(
        values.one_of(IpFamily), "auto", "addresses used to reach WeChat: auto, 4 or 6"
    )
    upstream_ca_file: Path | None = _optional(
        values.path, "PEM file of the authorities to trust", shown="OpenSSL's store"
    )
    spool_dir: Path | None = _optional(
        values.path,
        "directory for bodies kept for a retry",
        shown="the system's temporary directory",
    )
    log_level: LogLevel = _setting(values.one_of(LogLevel), "info", "debug, info, warning or error")
    log_format: LogFormat | None = _optional(
        values.one_of(LogFormat), "text or json", shown="text on a terminal, else json"
    )

    @property
    def token_proxy(self) -> EgressProxy | None:
        """What token calls go out through."""
        return self.token_egress_proxy or self.egress_proxy

    @property
    def proxies(self) -> tuple[EgressProxy, ...]:
        """Every proxy that calls may go out through."""
        return tuple(one for one in (self.egress_proxy, self.token_egress_proxy) if one)

    @property
    def hidden(self) -> tuple[str, ...]:
        """What no log may show, the accounts' secrets apart."""
        return tuple(text for proxy in self.proxies for text in proxy.hidden())


def rules(table: type) -> dict[str, Rule]:
    """The keys of a settings class."""
    return {
        entry.name: entry.metadata["rule"] for entry in fields(table) if "rule" in entry.metadata
    }
