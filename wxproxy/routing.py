"""Which account a request means and how its target is rewritten; pure.

Everything that can choose an account is a set of candidates; what is left of all of them is
the choice. The common request (one account, an ordinary path, no token sent) takes a short way
through ``Router.plan`` that gives the same plan as the long one.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal
from urllib.parse import quote

from wxproxy.accounts import DUMMY_TOKEN_MAX_LENGTH, Account, AccountBook, Kind
from wxproxy.errors import ForeignToken, RequestRefused, UnknownAccount
from wxproxy.headers import RequestHead
from wxproxy.paths import Place, Rule, check_target, locate, token_endpoint_kind
from wxproxy.targets import (
    WECHAT_HOSTS,
    Param,
    Query,
    cut_token,
    kind_of_host,
    split_absolute,
    split_prefix,
)

ForeignTokenPolicy = Literal["replace", "refuse", "pass"]


class Credential(StrEnum):
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
            An appid of nobody in a token endpoint's query leaves them as they are.
    """

    rule: Rule
    path: str
    query: str = field(repr=False)
    target: str = field(repr=False)
    candidates: tuple[Account, ...]


_APPID_PARAMS = {
    Rule.LOGIN: (Param.APPID,),
    Rule.LOGIN_REFRESH: (Param.APPID,),
    Rule.TOKEN_ENDPOINT: (Param.APPID, Param.CORPID),
}
_INJECT_DROPPED = frozenset({Param.SELECTOR, Param.TOKEN})
_LOGIN_DROPPED = _INJECT_DROPPED | {Param.APPID, Param.SECRET}
_LOCAL_RULES = frozenset({Rule.TOKEN_ENDPOINT, Rule.CONTROL})
# Bound here for the short way of plan: looking a member up in its enum costs 0.1 us each time.
_INJECT = Rule.INJECT
_TOKEN = Credential.TOKEN
# Second characters of a path that make the quick way through plan leave it to the long one.
_MAY_START_PREFIX = "@%/\\"


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
                "what the request says about its account disagrees (listener, header, path "
                "prefix, from_appid, token, appid, host or path); leave one of them out",
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
        if (
            head.account is None
            and "%" not in query
            and "from_appid" not in query
            and raw_path[:1] == "/"
            and raw_path[1:2] not in _MAY_START_PREFIX
        ):
            place = locate(raw_path)
            if place.rule is _INJECT:
                plan = self._plan_quickly(place, query, head, listener)
                if plan is not None:
                    return plan
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

    def _plan_quickly(
        self, place: Place, query: str, head: RequestHead, listener: Account | None
    ) -> Plan | None:
        """The short way of ``plan``; None where the request needs the long one."""
        account = self._sole if listener is None else listener
        before = f"{query}&" if query else ""
        outcome = "injected"
        if "_token" in query:
            before, token = cut_token(query)
            if token is None:
                return None
            outcome = "overwritten"
            holder = self._book.holder(token)
            if holder is None:
                if len(token) > DUMMY_TOKEN_MAX_LENGTH:
                    return None
            elif account is None:
                account = holder
            elif holder is not account:
                return None
        if account is None or kind_of_host(head.host) not in (None, account.kind):
            return None
        prefix = f"{place.raw}?{before}access_token="
        return Plan(account, _INJECT, place.path, prefix, _TOKEN, outcome)

    def _plan_fully(
        self, raw_path: str, mark: str, raw_query: str, head: RequestHead, listener: Account | None
    ) -> Plan | LocalPlan:
        """The long way of ``plan``: any target, any selector."""
        host, raw_path = split_absolute(raw_path)
        prefix_name, raw_path = split_prefix(raw_path)
        place = locate(raw_path)
        if place.path.startswith("/@"):
            raise RequestRefused("the path has a second /@account prefix; send one")
        query = Query(raw_query, mark)

        names = query.values(Param.SELECTOR)
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
            tail = query.tail()
            return LocalPlan(
                rule=place.rule,
                path=place.path,
                query=tail[1:],
                target=place.raw + tail,
                candidates=candidates.left,
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
            target = place.raw + query.tail()
            return Plan(account, rule, place.path, target, Credential.NONE, outcome)
        last, credential, dropped = _credential(rule, account)
        prefix = f"{place.raw}?{query.before(last, dropped=dropped)}"
        is_replaced = has_foreign_token and credential is Credential.TOKEN
        return Plan(account, rule, place.path, prefix, credential, outcome, is_replaced)

    def _named(self, name: str) -> tuple[Account, ...]:
        accounts = self._book.named(name)
        if not accounts:
            raise UnknownAccount(
                "no account of the name or appid that the request gives is configured; check "
                "X-Wxproxy-Account, the /@name/ prefix or from_appid"
            )
        return accounts

    def _keep_token_holders(self, candidates: _Candidates, query: Query) -> bool:
        """Narrow by the tokens sent; whether one of them looks real and is none of ours."""
        has_foreign = False
        for token in query.values(Param.TOKEN):
            holder = self._book.holder(token)
            if holder is not None:
                candidates.keep((holder,))
            elif len(token) > DUMMY_TOKEN_MAX_LENGTH:
                has_foreign = True
        return has_foreign

    def _keep_appid_owners(self, candidates: _Candidates, query: Query, rule: Rule) -> bool:
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
        query: Query,
        *,
        is_explicit: bool,
        has_foreign_token: bool,
        has_foreign_appid: bool,
    ) -> tuple[Rule, str]:
        """The path's rule, or PASS where the request brings a credential of its own; outcome.

        A placeholder on a PASS path is sent on like anything else: it is no credential, and
        WeChat's answer to it is the truth about the call.
        """
        if rule is Rule.PASS or has_foreign_appid or query.has(Param.THIRD_PARTY_TOKEN):
            return Rule.PASS, "skipped"
        if rule is Rule.LOGIN:
            return rule, "overwritten" if query.has(Param.SECRET) else "injected"
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
        return rule, "overwritten" if query.has(Param.TOKEN) else "injected"


def _credential(rule: Rule, account: Account) -> tuple[str, Credential, Container[Param]]:
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
    kind = kind_of_host(head.host) if host is None else WECHAT_HOSTS.get(host)
    if kind is not None:
        yield kind


def _common(accounts: tuple[Account, ...], among: tuple[Account, ...]) -> tuple[Account, ...]:
    """Those that are among the others. By identity: comparing dataclasses is slow."""
    return tuple(account for account in accounts if any(account is other for other in among))


def _check_host(host: str | None, accounts: tuple[Account, ...]) -> None:
    """Refuse an absolute target's host that is neither WeChat's nor these accounts' upstream."""
    if host is None or host in WECHAT_HOSTS:
        return
    if not any(host == origin.host for account in accounts for origin in account.upstreams):
        raise RequestRefused(
            "the target's host is neither WeChat's nor the account's upstream; send the path only"
        )
