"""Reading the settings: flags over the environment over the file over the defaults.

Only ``load`` opens a file. Each error names key, source and what was expected, and quotes no
value but paths: others may be a secret in the wrong place.
"""

import argparse
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from wxproxy.accounts import DEFAULT_UPSTREAMS, Account, Kind, TokenApi
from wxproxy.credentials import SecretSource
from wxproxy.egress import EgressProxy, is_bypassed, named_in, proxy_url
from wxproxy.errors import ConfigError
from wxproxy.settings import (
    AccountSettings,
    ForeignToken,
    IpFamily,
    Limits,
    Rule,
    Settings,
    rules,
)

_PREFIX = "WXPROXY_"
_CONFIG_MEANING = "TOML file with settings, [limits] and [[accounts]]"

# WeChat renews a stable token in its last 300 s only: wechat-facts.md, 2, and
# https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
_STABLE_LEAD_MAX_SECONDS = 290

# What Kubernetes sets in each pod for Services called wxproxy or wxproxy-<more>. A port of
# theirs is an URL, which tells WXPROXY_PORT from somebody's guess at a setting's name.
# Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK = re.compile(
    r"WXPROXY_(?:\w+_)?(?:"
    r"SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_\w+)?"
    r")=.*|WXPROXY_(?:\w+_)?PORT=(?:tcp|udp|sctp)://.*",
    re.ASCII,
)

_IPV4 = re.compile(r"[0-9.]+", re.ASCII)

_TOP = rules(Settings)
_LIMITS = rules(Limits)
_ACCOUNT = rules(AccountSettings)
# One account needs no file. Its listener is the listener: AccountSettings.listen is another key.
_SINGLE = {key: rule for key, rule in _ACCOUNT.items() if rule.in_environment}
_OUTSIDE_FILE = {**_TOP, **_LIMITS, **_SINGLE}


class NoAccounts(ConfigError):
    """Nothing says which account to serve."""

    code = "no_accounts"


class SettingDoc(NamedTuple):
    """One row of the documentation: ``key`` as in the file, ``environment`` or ""."""

    key: str
    environment: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class _Given:
    label: str
    raw: object

    def read(self, rule: Rule) -> Any:
        try:
            return rule.parse(self.raw)
        except ValueError as exc:
            raise ConfigError(f"{self.label}: expected {exc}") from None


_Entries = dict[str, _Given]


def load(argv_flags: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """The settings that flags (by key), environment and the file named by either add up to.

    Raises:
        NoAccounts: no credentials at all.
        ConfigError: something cannot be used as given.
    """
    environment = _environment(environ)
    config = argv_flags.get("config") or environ.get("WXPROXY_CONFIG", "").strip()
    from_file, entries = _file(config, _read_toml(config)) if config else ({}, [])
    flags = {
        key: _Given(f"{_flag(key)} (flag)", raw)
        for key, raw in argv_flags.items()
        if key in _OUTSIDE_FILE
    }
    given = {**from_file, **environment, **flags}
    accounts = _accounts(entries, {key: given[key] for key in _SINGLE if key in given})
    top = {key: given[key].read(rule) for key, rule in _TOP.items() if key in given}
    if "egress_proxy" not in top:
        top["egress_proxy"] = _proxy_of_the_environment(environ, accounts)
    limits = {key: given[key].read(rule) for key, rule in _LIMITS.items() if key in given}
    if len(accounts) > 1:
        top.setdefault("foreign_token", ForeignToken.REFUSE)
    settings = Settings(accounts=accounts, limits=Limits(**limits), **top)
    labels = {key: one.label for key, one in given.items()}
    for index, entry in enumerate(entries):
        labels |= {f"accounts[{index}].{key}": one.label for key, one in entry.items()}
    _check_accounts(accounts, config)
    _check_listeners(settings, labels)
    _check_numbers(settings, labels)
    _check_family(settings, labels)
    return settings


def build_accounts(settings: Settings) -> tuple[Account, ...]:
    """The accounts, without their secrets."""
    return tuple(
        Account(
            name=account.name,
            appid=account.appid,
            kind=account.kind,
            token_api=account.token_api,
            upstreams=account.upstream,
            default=account.default,
        )
        for account in settings.accounts
    )


def build_secrets(settings: Settings) -> dict[str, SecretSource]:
    """Each account's secret by its name; reads the secret files.

    Raises:
        ConfigError: a secret file cannot be used.
    """
    return {account.name: _secret_source(account) for account in settings.accounts}


def _secret_source(account: AccountSettings) -> SecretSource:
    if account.secret_file is not None:
        return SecretSource.from_file(account.secret_file, setting=account.secret_setting)
    if account.secret is None:
        raise ConfigError(f"account {account.name}: neither secret nor secret_file is set")
    return SecretSource(account.secret)


# -- the three sources -------------------------------------------------------------------------


def _read_toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError(f"--config: cannot read {path}: {exc.strerror}") from None
    except tomllib.TOMLDecodeError as exc:
        # Only the place: the rest of the text may quote the file.
        place = re.search(r"line [0-9]+, column [0-9]+", str(exc))
        where = f"at {place[0]}" if place else "at its end"
        raise ConfigError(f"{path}: not valid TOML {where}; texts need quotes") from None
    except ValueError:
        raise ConfigError(f"{path}: expected a TOML file in UTF-8") from None


def _file(name: str, document: dict[str, Any]) -> tuple[_Entries, list[_Entries]]:
    limits = document.pop("limits", {})
    accounts = document.pop("accounts", [])
    if not isinstance(limits, dict):
        raise ConfigError(f"limits (file {name}): expected a table, [limits]")
    if not isinstance(accounts, list) or not all(isinstance(one, dict) for one in accounts):
        raise ConfigError(f"accounts (file {name}): expected tables, each [[accounts]]")
    top = _table(name, "", document, _TOP)
    entries = [
        _table(name, f"accounts[{index}].", one, _ACCOUNT) for index, one in enumerate(accounts)
    ]
    return top | _table(name, "limits.", limits, _LIMITS), entries


def _table(
    name: str, prefix: str, table: Mapping[str, object], known: Mapping[str, Rule]
) -> _Entries:
    for key in table:
        if key not in known:
            raise ConfigError(f"{(prefix + key)!r} (file {name}): unknown key{_place(key, known)}")
    return {key: _Given(f"{prefix}{key} (file {name})", raw) for key, raw in table.items()}


def _place(key: str, known: Mapping[str, Rule]) -> str:
    """Where a misplaced key belongs, or the key that was perhaps meant."""
    for section, keys in (("[limits]", _LIMITS), ("[[accounts]]", _ACCOUNT)):
        if key in keys and keys is not known:
            return f"; it belongs in {section}"
    if key in _TOP:
        return "; it belongs at the top of the file, before any [table]"
    top_tables = ("accounts", "limits") if known is _TOP else ()
    return _hint(key, (*known, *top_tables))


def _hint(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _environment(environ: Mapping[str, str]) -> _Entries:
    given = {}
    for name, raw in environ.items():
        if not name.startswith(_PREFIX) or name == "WXPROXY_CONFIG" or not raw.strip():
            continue
        key = name.removeprefix(_PREFIX).lower()
        if name == _variable(key) and key in _OUTSIDE_FILE:
            given[key] = _Given(f"{name} (environment)", raw)
        elif not _SERVICE_LINK.fullmatch(f"{name}={raw}"):
            hint = _hint(name.upper(), map(_variable, _OUTSIDE_FILE))
            raise ConfigError(f"{name!r} (environment): unknown setting{hint}")
    return given


def _proxy_of_the_environment(
    environ: Mapping[str, str], accounts: Iterable[AccountSettings]
) -> EgressProxy | None:
    """What HTTPS_PROXY says, where NO_PROXY leaves an upstream to it."""
    name, raw = named_in(environ, "https_proxy")
    _, bypass = named_in(environ, "no_proxy")
    origins = [origin for account in accounts for origin in account.upstream]
    if not raw or all(not one.is_tls or is_bypassed(one, bypass) for one in origins):
        return None
    try:
        proxy = proxy_url(name)(raw if "://" in raw else f"http://{raw}")
    except ValueError as exc:
        raise ConfigError(
            f"{name} (environment): expected {exc}; WXPROXY_EGRESS_PROXY goes over it, and NO_PROXY"
            " names upstreams that are to be reached without it"
        ) from None
    return replace(proxy, bypass=bypass)


def _variable(key: str) -> str:
    return _PREFIX + key.upper()


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


# -- accounts ----------------------------------------------------------------------------------


def _accounts(entries: list[_Entries], single: _Entries) -> tuple[AccountSettings, ...]:
    if entries and single:
        labels = ", ".join(one.label for one in single.values())
        raise ConfigError(
            f"{labels}: expected nothing, as the file has [[accounts]]; choose one of the two"
        )
    if entries:
        return tuple(_account(one, f"accounts[{index}]") for index, one in enumerate(entries))
    if not single.keys() & {"appid", "secret", "secret_file"}:
        raise NoAccounts(
            "no account is configured: set WXPROXY_APPID and WXPROXY_SECRET_FILE (or "
            "WXPROXY_SECRET), or name a file with [[accounts]] by --config. "
            "`wxproxy demo` runs without credentials."
        )
    return (_account(single, "the account given by environment or flags"),)


def _account(given: _Entries, where: str) -> AccountSettings:
    read = {key: one.read(_ACCOUNT[key]) for key, one in given.items()}
    if "appid" not in read:
        raise ConfigError(f"{where}: expected an appid (WXPROXY_APPID)")
    if ("secret" in read) == ("secret_file" in read):
        raise ConfigError(f"{where}: expected either secret or secret_file (WXPROXY_SECRET[_FILE])")
    kind = read.get("kind", Kind.OFFICIAL)
    if kind is Kind.WECOM and "token_api" in read:
        raise ConfigError(f"{given['token_api'].label}: expected nothing, as the kind is wecom")
    token_api = TokenApi.GETTOKEN if kind is Kind.WECOM else TokenApi.STABLE
    upstream = _ACCOUNT["upstream"].parse(DEFAULT_UPSTREAMS[kind])
    derived = {"name": read["appid"], "token_api": token_api, "upstream": upstream}
    setting = given["secret_file" if "secret_file" in read else "secret"].label
    return AccountSettings(**{**derived, **read}, secret_setting=setting)


def _check_accounts(accounts: tuple[AccountSettings, ...], config: str) -> None:
    for (first, one), (second, other) in combinations(enumerate(accounts), 2):
        pair = f"accounts[{first}] and accounts[{second}] (file {config})"
        if one.name == other.name:
            raise ConfigError(f"{pair}: the same name; give each its own `name`")
        if one.appid == other.appid and {one.kind, other.kind} != {Kind.WECOM}:
            raise ConfigError(f"{pair}: the same appid; keep one of the two")
        if one.name == other.appid or other.name == one.appid:
            raise ConfigError(f"{pair}: the name of one is the appid of the other; rename it")
        if one.default and other.default:
            raise ConfigError(f"{pair}: both have default = true; expected at most one")


# -- rules across settings ---------------------------------------------------------------------


def _check_listeners(settings: Settings, labels: Mapping[str, str]) -> None:
    listeners = {"listen": settings.listen, "ops_listen": settings.ops_listen}
    for index, account in enumerate(settings.accounts):
        if account.listen is not None:
            listeners[f"accounts[{index}].listen"] = account.listen
    named = [(labels.get(key, f"{key} (default)"), key, at) for key, at in listeners.items()]
    for label, key, address in named:
        if key != "ops_listen" and not (address.is_private or settings.allow_anonymous):
            raise ConfigError(
                f"{label}: expected a loopback address or unix:/path, as other machines can reach "
                "this one and callers need no key; to allow that set allow_anonymous = true "
                "(WXPROXY_ALLOW_ANONYMOUS)"
            )
    for (label, _, address), (other_label, _, other) in combinations(named, 2):
        if address.clashes_with(other):
            raise ConfigError(f"{label} and {other_label}: expected different addresses")


def _check_numbers(settings: Settings, labels: Mapping[str, str]) -> None:
    stable = any(account.token_api is TokenApi.STABLE for account in settings.accounts)
    if stable and settings.refresh_lead_seconds > _STABLE_LEAD_MAX_SECONDS:
        raise ConfigError(
            f"{labels['refresh_lead_seconds']}: expected at most {_STABLE_LEAD_MAX_SECONDS} with "
            "a stable account, as WeChat gives a new token only in the last 300 s of the old one"
        )
    limits = settings.limits
    for key, each, all_of_them in (
        ("replay_memory", limits.replay_memory_bytes, limits.replay_memory_total_bytes),
        ("spool", limits.spool_bytes, limits.spool_total_bytes),
    ):
        if each > all_of_them:
            one, total = (
                labels.get(name, f"{name} (default)")
                for name in (f"{key}_bytes", f"{key}_total_bytes")
            )
            raise ConfigError(f"{one}: expected at most the value of {total}")


def _check_family(settings: Settings, labels: Mapping[str, str]) -> None:
    """An address of the other family could never be connected to."""
    if settings.ip_family is IpFamily.AUTO:
        return
    hosts = {proxy.host: str(proxy) for proxy in settings.proxies}
    hosts |= {one.host: str(one) for account in settings.accounts for one in account.upstream}
    for host, place in hosts.items():
        version = "6" if ":" in host else "4" if _IPV4.fullmatch(host) else ""
        if version not in ("", settings.ip_family.value):
            raise ConfigError(
                f"{labels['ip_family']}: expected auto or {version}, as {place} is an IPv{version}"
                " address"
            )


# -- help --------------------------------------------------------------------------------------


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` and a flag for each setting that has one."""
    group = parser.add_argument_group("settings", "each also as WXPROXY_<NAME> in the environment")
    group.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=_CONFIG_MEANING)
    for key, rule in _OUTSIDE_FILE.items():
        if not rule.is_flag:
            continue
        default = f" (default: {rule.default})" if rule.default else ""
        flag = group.add_argument(
            _flag(key),
            metavar="VALUE",
            default=argparse.SUPPRESS,
            help=(rule.meaning + default).replace("%", "%%"),
        )
        if rule.is_boolean:
            flag.nargs, flag.const = "?", "true"


def given_flags(arguments: argparse.Namespace) -> dict[str, str]:
    """What ``load`` wants of parsed arguments: the flags that were given, by key."""
    return {
        key: raw
        for key, raw in vars(arguments).items()
        if key == "config" or (key in _OUTSIDE_FILE and _OUTSIDE_FILE[key].is_flag)
    }


def describe() -> list[SettingDoc]:
    """Every setting, for help and documentation."""
    docs = [SettingDoc("--config", "WXPROXY_CONFIG", "", _CONFIG_MEANING)]
    for prefix, table in (("", _TOP), ("limits.", _LIMITS), ("accounts.", _ACCOUNT)):
        docs += [
            SettingDoc(
                prefix + key,
                _variable(key) if rule.in_environment else "",
                rule.default,
                rule.meaning,
            )
            for key, rule in table.items()
        ]
    return docs
