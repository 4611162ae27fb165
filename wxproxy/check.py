"""``wxproxy check``: whether each account of the configuration can have a token, and if not, why.

A stable fetch and WeCom's give the token in use; a classic one makes a new token and kills the
one in use within five minutes, so that it is made on demand only.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wxproxy.accounts import Account, TokenApi
from wxproxy.app import token_session, trust
from wxproxy.config import build_accounts, build_secrets
from wxproxy.credentials import SecretSource
from wxproxy.egress import way
from wxproxy.errors import FetchFailed
from wxproxy.logs import Redactor, configure
from wxproxy.redact import token_id
from wxproxy.settings import Settings
from wxproxy.status import columns
from wxproxy.wechat import TokenClient

_HEADINGS = ("ACCOUNT", "APPID", "KIND", "TOKEN API", "UPSTREAM", "VIA", "TOKEN")
_CLASSIC_NOT_FETCHED = (
    "a classic fetch would kill the token that is in use now, within five minutes; where nothing "
    "uses it, --fetch-classic fetches one"
)


@dataclass(frozen=True, slots=True)
class _Finding:
    """What was found out about an account.

    Attributes:
        outcome: for its row in the table.
        note: what is to be said below the table, or "".
    """

    account: Account
    outcome: str
    note: str = ""
    is_fine: bool = True


def run(settings: Settings, *, fetch_classic: bool) -> int:
    """Print a table of the accounts and a line for each trouble; 1 if there is any.

    Raises:
        ConfigError: a secret file or the file of authorities cannot be used.
    """
    redactor = Redactor()
    configure(
        level=settings.log_level,
        log_format=settings.log_format,
        stream=sys.stderr,
        redactor=redactor,
    )
    secrets = build_secrets(settings)
    for secret in secrets.values():
        redactor.add(secret.current().reveal(), lasting=True)
    for hidden in settings.hidden:
        redactor.add(hidden, lasting=True)
    findings = asyncio.run(_check(settings, secrets, fetch_classic=fetch_classic))
    print(_report(findings, settings))
    return 0 if all(finding.is_fine for finding in findings) else 1


async def _check(
    settings: Settings, secrets: Mapping[str, SecretSource], *, fetch_classic: bool
) -> list[_Finding]:
    async with token_session(settings, trust(settings.upstream_ca_file)) as session:
        limits = settings.limits
        client = TokenClient(
            session,
            semaphore=asyncio.Semaphore(limits.token_fetches),
            timeout_s=limits.token_call_seconds,
            proxy=settings.token_proxy,
        )
        return await asyncio.gather(
            *(
                _check_account(client, account, secrets[account.name], fetch_classic=fetch_classic)
                for account in build_accounts(settings)
            )
        )


async def _check_account(
    client: TokenClient, account: Account, secret: SecretSource, *, fetch_classic: bool
) -> _Finding:
    if account.token_api is TokenApi.CLASSIC and not fetch_classic:
        return _Finding(account, "not fetched", _CLASSIC_NOT_FETCHED)
    try:
        fetched = await client.fetch(account, secret.current())
    except FetchFailed as exc:
        outcome = f"errcode {exc.errcode}" if exc.errcode else exc.reason
        return _Finding(account, outcome, _explain(exc), is_fine=False)
    return _Finding(account, f"ok, {fetched.expires_in_s} s left, id {token_id(fetched.value)}")


def _explain(failure: FetchFailed) -> str:
    facts = [f"WeChat refused with {failure.errcode}"] if failure.errcode else []
    facts += [f"IP {failure.refused_ip}"] if failure.refused_ip else []
    facts += [f"rid {failure.rid}"] if failure.rid else []
    return ": ".join([", ".join(facts), failure.message] if facts else [failure.message])


def _report(findings: Sequence[_Finding], settings: Settings) -> str:
    table = columns([_HEADINGS, *(_row(finding, settings) for finding in findings)])
    notes = [f"{one.account.name}: {one.note}" for one in findings if one.note]
    return "\n".join([table, "", *notes] if notes else [table])


def _row(finding: _Finding, settings: Settings) -> tuple[str, ...]:
    account = finding.account
    upstreams = ", ".join(map(str, account.upstreams))
    return (
        account.name,
        account.appid,
        account.kind,
        account.token_api,
        upstreams,
        _via(account, settings),
        finding.outcome,
    )


def _via(account: Account, settings: Settings) -> str:
    """The way of token calls, and where it differs, that of all others."""
    tokens, calls = (
        ", ".join(dict.fromkeys(way(origin, proxy) for origin in account.upstreams))
        for proxy in (settings.token_proxy, settings.egress_proxy)
    )
    return tokens if tokens == calls else f"{tokens} (other calls: {calls})"
