"""Which account a request means and how its target is rewritten; pure.

Everything that can choose an account is a set of candidates; what is left of all of them is
the choice. The common request (one account, an ordinary path, no token sent) takes a short way
through ``Router.plan`` that gives the same plan as the long one.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, unquote, unquote_plus

from wxproxy.accounts import DUMMY_TOKEN_MAX_LENGTH, Account, AccountBook, Kind
from wxproxy.errors import ForeignToken, RequestRefused, UnknownAccount
from wxproxy.headers import RequestHead
from wxproxy.paths import Place, Rule, check_target, locate, token_endpoint_kind

ForeignTokenPolicy = Literal["replace", "refuse", "pass"]

# Source: wechat-facts.md 6,
# https://developers.weixin.qq.com/doc/service/Basic_Information/Interface_field_description.html
_WECHAT_HOSTS = {
    "api.weixin.qq.com": Kind.OFFICIAL,
    "api2.weixin.qq.com": Kind.OFFICIAL,
    "sh.api.weixin.qq.com": Kind.OFFICIAL,
    "sz.api.weixin.qq.com": Kind.OFFICIAL,
    "hk.api.weixin.qq.com": Kind.OFFICIAL,
    "qyapi.weixin.qq.com": Kind.WECOM,
}


class Credential(Enum):
    """What the caller appends to a plan's prefix."""

    TOKEN = "token"  # noqa: S105 - a kind of credential
    SECRET = "secret"  # noqa: S105 - a kind of credential
    NONE = "none"


# Not frozen: built for each request, and a frozen dataclass takes three times as long to build.
@dataclass(slots=True)
class Plan:
    """A request to forward.

    Attributes:
        account: whose upstream and credential are used.
        rule: PASS too where the request's own credential makes it so.
        path: normalised, without query: for the fault cache and route labels.
        prefix: the target in origin form up to where the credential goes: it ends in
            ``access_token=`` or ``secret=``, or is whole where ``credential`` is NONE.
        credential: what to append to the prefix.
        outcome: ``injected``; ``overwritten``: the client had sent one; ``client_supplied``:
            its foreign token is passed on; ``skipped``: the rule takes no credential.
        foreign: whether a real-looking token that is none of ours was replaced.
    """

    account: Account
    rule: Rule
    path: str
    prefix: str = field(repr=False)
    credential: Credential
    outcome: str
    foreign: bool = False


@dataclass(slots=True)
class LocalPlan:
    """A request to answer here: TOKEN_ENDPOINT or CONTROL.

    Attributes:
        rule: one of the two.
        path: normalised, without query and account prefix.
        query: as sent, less ``from_appid``.
        target: what to forward where a foreign appid is passed on.
        candidates: the accounts that the head leaves possible, at least one; a body or a
            control route's ``account`` narrows them (``Router.narrow``, ``Router.choose``).
        foreign_appid: whether the query of a token endpoint names an appid of nobody.
    """

    rule: Rule
    path: str
    query: str = field(repr=False)
    target: str = field(repr=False)
    candidates: tuple[Account, ...]
    foreign_appid: bool = False


class _Param(Enum):
    """A query parameter's meaning here."""

    OTHER = 0
    TOKEN = 1
    SELECTOR = 2
    APPID = 3
    CORPID = 4
    SECRET = 5
    THIRD_PARTY_TOKEN = 6


_PARAMS = {
    "access_token": _Param.TOKEN,
    "from_appid": _Param.SELECTOR,
    "appid": _Param.APPID,
    "corpid": _Param.CORPID,
    "secret": _Param.SECRET,
    "component_access_token": _Param.THIRD_PARTY_TOKEN,
    "suite_access_token": _Param.THIRD_PARTY_TOKEN,
    "provider_access_token": _Param.THIRD_PARTY_TOKEN,
    "cloudbase_access_token": _Param.THIRD_PARTY_TOKEN,
}
_APPID_PARAMS = {
    Rule.LOGIN: (_Param.APPID,),
    Rule.LOGIN_REFRESH: (_Param.APPID,),
    Rule.TOKEN_ENDPOINT: (_Param.APPID, _Param.CORPID),
}
_INJECT_DROPPED = frozenset({_Param.SELECTOR, _Param.TOKEN})
_LOGIN_DROPPED = _INJECT_DROPPED | {_Param.APPID, _Param.SECRET}
_LOCAL_RULES = frozenset({Rule.TOKEN_ENDPOINT, Rule.CONTROL})
# Second characters of a path that make the quick way through plan leave it to the long one.
_MAY_START_PREFIX = "@%/\\"


class _Query:
    """A query as sent, its parameters named.

    Names are matched after percent-decoding; nothing is encoded again, so what is kept keeps
    its bytes, order and empty pieces.
    """

    __slots__ = ("_pieces", "_raw", "_sent")

    def __init__(self, raw: str) -> None:
        self._raw = raw
        self._pieces: list[tuple[_Param, str]] = []
        self._sent: dict[_Param, list[str]] = {}
        for piece in raw.split("&") if raw else ():
            name, _, value = piece.partition("=")
            # A "+" needs no look: as a blank it is in none of the names.
            param = _PARAMS.get(unquote(name) if "%" in name else name, _Param.OTHER)
            if param is not _Param.OTHER:
                if "%" in value or "+" in value:
                    value = unquote_plus(value)
                self._sent.setdefault(param, []).append(value)
            self._pieces.append((param, piece))

    def values(self, *params: _Param) -> list[str]:
        """The decoded values of these parameters; empty ones are as good as not sent."""
        return [value for param in params for value in self._sent.get(param, ()) if value]

    def has(self, param: _Param) -> bool:
        """Whether the parameter was sent, if only empty."""
        return param in self._sent

    def before(self, last: str, *, dropped: Container[_Param]) -> str:
        """The query less the dropped parameters, with one more parameter at its end."""
        kept = [piece for param, piece in self._pieces if param not in dropped]
        return "&".join((*kept, last))

    def unselected(self) -> str:
        """The query less ``from_appid``."""
        if _Param.SELECTOR not in self._sent:
            return self._raw
        return "&".join(piece for param, piece in self._pieces if param is not _Param.SELECTOR)


class _Candidates:
    """The accounts that a request may mean; each selector leaves fewer of them."""

    __slots__ = ("_narrowed", "left")

    def __init__(self, accounts: tuple[Account, ...]) -> None:
        self._narrowed = False
        self.left = accounts

    def keep(self, accounts: tuple[Account, ...]) -> None:
        """Take in a selector that means these accounts.

        Raises:
            RequestRefused: ``account_conflict``: an earlier one means others.
        """
        # The first selector is taken as it is: there may be a thousand accounts to compare with.
        self._settle(_common(accounts, self.left) if self._narrowed else accounts)

    def keep_kind(self, kind: Kind) -> None:
        """Take in that the request belongs to one of the two platforms.

        Raises:
            RequestRefused: ``account_conflict``: an earlier selector means the other one.
            UnknownAccount: no account of this kind is configured.
        """
        left = tuple(account for account in self.left if account.kind is kind)
        if not left and not self._narrowed:
            raise UnknownAccount(f"the request needs a {kind} account and none is configured")
        self._settle(left)

    def _settle(self, left: tuple[Account, ...]) -> None:
        if not left:
            raise RequestRefused(
                "the request names two different accounts (by listener, header, path prefix, "
                "from_appid, token, appid or host); leave one of them out",
                code="account_conflict",
            )
        self.left = left
        self._narrowed = True


class Router:
    """Turns a request's head into a plan.

    Args:
        book: the accounts and their tokens.
        foreign_token: what to do with a real-looking token that is none of ours.
        allow_origins: browser origins that may call, such as ``http://localhost:3000``.
    """

    def __init__(
        self,
        book: AccountBook,
        *,
        foreign_token: ForeignTokenPolicy,
        allow_origins: frozenset[str],
    ) -> None:
        self._book = book
        self._foreign_token = foreign_token
        self._allow_origins = allow_origins
        self._sole = book.accounts[0] if len(book.accounts) == 1 else None

    def plan(
        self, method: str, target: str, head: RequestHead, listener: Account | None
    ) -> Plan | LocalPlan:
        """Decide what to do with a request.

        Args:
            method: as sent.
            target: as sent, in origin or absolute form.
            head: what its headers say.
            listener: the account whose own listener took the request, if any.

        Raises:
            RequestRefused: ``bad_request``, ``account_conflict`` or ``browser_request``.
            UnknownAccount: no account is chosen, or one that is not configured.
            ForeignToken: a real-looking token that is none of ours, under ``refuse``.
        """
        check_target(target, head.version, method)
        if head.origin is not None or head.cross_site:
            self._check_browser(head)
        raw_path, mark, query = target.partition("?")
        sole = self._sole
        if (
            sole is not None
            and head.account is None
            and (listener is None or listener is sole)
            and "_token" not in query
            and "from_appid" not in query
            and "%" not in query
            and raw_path[:1] == "/"
            and raw_path[1:2] not in _MAY_START_PREFIX
            and _kind_of_host(head.host) in (None, sole.kind)
        ):
            place = locate(raw_path)
            if place.rule is Rule.INJECT:
                more = f"{query}&" if query else ""
                prefix = f"{place.raw}?{more}access_token="
                return Plan(sole, Rule.INJECT, place.path, prefix, Credential.TOKEN, "injected")
        return self._plan_fully(raw_path, mark, query, head, listener)

    def narrow(self, candidates: tuple[Account, ...], name: str) -> tuple[Account, ...]:
        """Those of the candidates that have this name or appid; none is for the caller to judge."""
        return _common(self._book.named(name), candidates)

    def choose(self, candidates: tuple[Account, ...]) -> Account:
        """The only candidate, or the default account among them.

        Raises:
            UnknownAccount: there is neither.
        """
        if len(candidates) == 1:
            return candidates[0]
        for account in candidates:
            if account.default:
                return account
        raise UnknownAccount(
            "the request does not say which of several accounts it is for; send the header "
            "X-Wxproxy-Account, or make one account the default"
        )

    def _check_browser(self, head: RequestHead) -> None:
        if head.origin not in self._allow_origins:
            raise RequestRefused(
                "a web page's request is not forwarded: any page could post to this address; "
                "name its origin in allow_origins if it may",
                status=403,
                code="browser_request",
            )

    def _plan_fully(
        self, raw_path: str, mark: str, raw_query: str, head: RequestHead, listener: Account | None
    ) -> Plan | LocalPlan:
        """The long way of ``plan``: any target, any selector."""
        host, raw_path = _split_absolute(raw_path)
        prefix_name, raw_path = _split_prefix(raw_path)
        place = locate(raw_path)
        if place.path.startswith("/@"):
            raise RequestRefused("the path has a second /@account prefix; send one")
        query = _Query(raw_query)

        names = query.values(_Param.SELECTOR)
        names.extend(name for name in (head.account, prefix_name) if name is not None)
        candidates = _Candidates(self._book.accounts)
        if listener is not None:
            candidates.keep((listener,))
        for name in names:
            candidates.keep(self._named(name))
        has_foreign_token = self._keep_token_holders(candidates, query)
        has_foreign_appid = self._keep_appid_owners(candidates, query, place.rule)
        for kind in _kinds(place, host, head):
            candidates.keep_kind(kind)

        if place.rule in _LOCAL_RULES:
            _check_host(host, candidates.left)
            rest = query.unselected()
            target = _with_query(place.raw, mark, rest)
            return LocalPlan(
                place.rule, place.path, rest, target, candidates.left, has_foreign_appid
            )
        rule, outcome = self._final_rule(
            place.rule,
            query,
            is_explicit=bool(names) or listener is not None,
            has_foreign_token=has_foreign_token,
            has_foreign_appid=has_foreign_appid,
        )
        account = self.choose(candidates.left)
        _check_host(host, (account,))
        if rule is Rule.PASS:
            target = _with_query(place.raw, mark, query.unselected())
            return Plan(account, rule, place.path, target, Credential.NONE, outcome)
        last, credential, dropped = _credential(rule, account)
        prefix = f"{place.raw}?{query.before(last, dropped=dropped)}"
        return Plan(account, rule, place.path, prefix, credential, outcome, has_foreign_token)

    def _named(self, name: str) -> tuple[Account, ...]:
        accounts = self._book.named(name)
        if not accounts:
            raise UnknownAccount(
                "no account of the name or appid that the request gives is configured; check "
                "X-Wxproxy-Account, the /@name/ prefix or from_appid"
            )
        return accounts

    def _keep_token_holders(self, candidates: _Candidates, query: _Query) -> bool:
        """Narrow by the tokens sent; whether one of them looks real and is none of ours."""
        has_foreign = False
        for token in query.values(_Param.TOKEN):
            holder = self._book.holder(token)
            if holder is not None:
                candidates.keep((holder,))
            elif len(token) > DUMMY_TOKEN_MAX_LENGTH:
                has_foreign = True
        return has_foreign

    def _keep_appid_owners(self, candidates: _Candidates, query: _Query, rule: Rule) -> bool:
        """Narrow by the appids sent, where the rule looks at them; whether one is nobody's."""
        has_foreign = False
        for appid in query.values(*_APPID_PARAMS.get(rule, ())):
            owners = self._book.named(appid)
            if owners:
                candidates.keep(owners)
            else:
                has_foreign = True
        return has_foreign

    def _final_rule(
        self,
        rule: Rule,
        query: _Query,
        *,
        is_explicit: bool,
        has_foreign_token: bool,
        has_foreign_appid: bool,
    ) -> tuple[Rule, str]:
        """The path's rule, or PASS where the request brings a credential of its own; outcome.

        A placeholder on a PASS path is sent on like anything else: it is no credential, and
        WeChat's answer to it is the truth about the call.
        """
        if rule is Rule.PASS or has_foreign_appid or query.has(_Param.THIRD_PARTY_TOKEN):
            return Rule.PASS, "skipped"
        if rule is Rule.LOGIN:
            return rule, "overwritten" if query.has(_Param.SECRET) else "injected"
        if rule is Rule.LOGIN_REFRESH:
            return rule, "skipped"
        if has_foreign_token and not is_explicit:
            if self._foreign_token == "refuse":  # noqa: S105 - a setting, not a token
                raise ForeignToken(
                    "the access_token sent is none that this sidecar gave out; send none, fetch "
                    "it through the sidecar, or name the account in X-Wxproxy-Account"
                )
            if self._foreign_token == "pass":  # noqa: S105 - a setting, not a token
                return Rule.PASS, "client_supplied"
        return rule, "overwritten" if query.has(_Param.TOKEN) else "injected"


def _credential(rule: Rule, account: Account) -> tuple[str, Credential, Container[_Param]]:
    """What goes last into the query, what the caller adds to it, and what is taken out."""
    if rule is Rule.LOGIN:
        last = f"appid={quote(account.appid, safe='')}&secret="
        return last, Credential.SECRET, _LOGIN_DROPPED
    if rule is Rule.LOGIN_REFRESH:
        return f"appid={quote(account.appid, safe='')}", Credential.NONE, _LOGIN_DROPPED
    return "access_token=", Credential.TOKEN, _INJECT_DROPPED


def _kinds(place: Place, host: str | None, head: RequestHead) -> Iterator[Kind]:
    """The platforms that the path and the host belong to."""
    if place.rule is Rule.TOKEN_ENDPOINT:
        yield token_endpoint_kind(place.path)
    elif place.rule in (Rule.LOGIN, Rule.LOGIN_REFRESH):
        yield Kind.OFFICIAL
    # RFC 9112, 3.2.2: the host of an absolute target counts, not the Host header beside it.
    kind = _kind_of_host(head.host) if host is None else _WECHAT_HOSTS.get(host)
    if kind is not None:
        yield kind


def _common(accounts: tuple[Account, ...], among: tuple[Account, ...]) -> tuple[Account, ...]:
    """Those that are among the others. By identity: comparing dataclasses is slow."""
    return tuple(account for account in accounts if any(account is other for other in among))


def _with_query(path: str, mark: str, query: str) -> str:
    """Join a target again; ``mark`` is ``?`` where the client sent one."""
    return f"{path}{mark}{query}"


def _split_absolute(raw_path: str) -> tuple[str | None, str]:
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


def _split_prefix(raw_path: str) -> tuple[str | None, str]:
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
def _kind_of_host(host: bytes) -> Kind | None:
    """The platform whose host a Host header names; None for any other, such as our own."""
    return _WECHAT_HOSTS.get(_hostname(host.decode("latin-1")))


def _check_host(host: str | None, accounts: tuple[Account, ...]) -> None:
    """Refuse an absolute target's host that is neither WeChat's nor these accounts' upstream."""
    if host is None or host in _WECHAT_HOSTS:
        return
    if not any(host == origin.host for account in accounts for origin in account.upstreams):
        raise RequestRefused(
            "the target's host is neither WeChat's nor the account's upstream; send the path only"
        )
