"""Accounts and routers for the tests of routing."""

from typing import Any

from wxproxy.accounts import DEFAULT_UPSTREAMS, Account, AccountBook, Kind, Origin, TokenApi
from wxproxy.headers import RequestHead
from wxproxy.routing import ForeignTokenPolicy, LocalPlan, Plan, Router

FOREIGN = "84_" + "f" * 133
HELD = "84_" + "h" * 133


def account(
    name: str, appid: str, kind: Kind = Kind.OFFICIAL, *, default: bool = False, upstream: str = ""
) -> Account:
    """An account with the usual upstream of its kind."""
    token_api = TokenApi.STABLE if kind is Kind.OFFICIAL else TokenApi.GETTOKEN
    origin = Origin.parse(upstream or DEFAULT_UPSTREAMS[kind])
    return Account(name, appid, kind, token_api, (origin,), default)


SHOP = account("shop", "wx1")
NEWS = account("news", "wx2", upstream="http://mirror.example:8080")
SALES = account("sales", "ww1", Kind.WECOM)
CHAT = account("chat", "ww1", Kind.WECOM)
HOME = account("home", "wx3", default=True)
ALL = (SHOP, NEWS, SALES, CHAT)


def router(
    *accounts: Account,
    foreign_token: ForeignTokenPolicy = "refuse",
    allow_origins: frozenset[str] = frozenset(),
) -> Router:
    """A router over these accounts; the first holds the token HELD."""
    book = AccountBook(accounts)
    book.remember(accounts[0], HELD)
    return Router(book, foreign_token=foreign_token, allow_origins=allow_origins)


def plan(
    where: Router, target: str, *, listener: Account | None = None, method: str = "GET", **head: Any
) -> Plan:
    """The plan of a request that is to be forwarded."""
    result = where.plan(method, target, RequestHead((1, 1), **head), listener)
    assert isinstance(result, Plan)
    return result


def local_plan(where: Router, target: str, listener: Account | None = None) -> LocalPlan:
    """The plan of a request that is to be answered here."""
    result = where.plan("POST", target, RequestHead((1, 1)), listener)
    assert isinstance(result, LocalPlan)
    return result
