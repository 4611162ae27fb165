"""The status page: one self-contained HTML document; pure.

Everything that comes from outside this file is escaped, and the page runs no script and loads
nothing: its Content-Security-Policy allows its own style only.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from wxproxy.metrics import KeeperStatus, has_valid_token

_STYLE = """
:root { color-scheme: light dark; --line: #d5d9de; --soft: #5b6570; --good: #1a7f37;
  --bad: #b42318; --tint: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a414a; --soft: #9aa5b1; --good: #57c26f; --bad: #ff8a7a; --tint: #1d2126; }
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; }
.soft { color: var(--soft); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 1.5rem 0 .5rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; }
tr { border-top: 1px solid var(--line); }
thead tr { border: 0; color: var(--soft); }
td.cure { background: var(--tint); padding: .5rem .75rem; border-left: 3px solid var(--bad); }
code { font: .9em ui-monospace, monospace; }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)

_HEADINGS = ("Account", "Token API", "State", "Token", "Age", "Left", "Next refresh", "Last result")
_REFRESH_SECONDS = 10


def render_page(process: Mapping[str, Any], statuses: Sequence[KeeperStatus]) -> str:
    """The page for what ``/status`` gives: the process's fields, and the accounts."""
    served = sum(map(has_valid_token, statuses))
    headings = "".join(f'<th scope="col">{heading}</th>' for heading in _HEADINGS)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">'
        f"<title>wxproxy: {served} of {len(statuses)} accounts served</title>"
        f"<style>{_STYLE}</style></head><body><h1>wxproxy</h1>"
        f"<p>{_mark(f'{served} of {len(statuses)} accounts', good=served == len(statuses))}"
        " have a valid token."
        ' <span class="soft">The same for programs: <a href="status">/status</a>,'
        ' <a href="metrics">/metrics</a>.</span></p>'
        f'<div class="scroll"><table><caption>Accounts</caption><thead><tr>{headings}</tr></thead>'
        f"<tbody>{''.join(map(_account_rows, statuses))}</tbody></table></div>"
        f"<table><caption>Process</caption><tbody>{_process_rows(process)}</tbody></table>"
        "</body></html>\n"
    )


def _account_rows(status: KeeperStatus) -> str:
    cells = (
        f'<td>{escape(status.kind)} <span class="soft">{escape(status.token_api)}</span></td>',
        f"<td>{_mark(status.state, good=has_valid_token(status))}</td>",
        f"<td><code>{escape(status.token_id) or '–'}</code></td>",
        f"<td>{_duration(status.age_s)}</td>",
        f"<td>{_duration(status.seconds_left)}</td>",
        f"<td>{_duration(status.next_refresh_in_s)}</td>",
        f"<td>{_last_result(status)}</td>",
    )
    name = (
        f'<th scope="row">{escape(status.name)}<br>'
        f'<code class="soft">{escape(status.appid)}</code></th>'
    )
    return f"<tr>{name}{''.join(cells)}</tr>{_cure_row(status)}"


def _last_result(status: KeeperStatus) -> str:
    last = status.last
    if last is None:
        return "–"
    if last.ok:
        return f'{_mark("ok", good=True)}<br><span class="soft">{_moment(last.at_wall)}</span>'
    facts = [f"errcode {last.errcode}" if last.errcode else last.reason]
    if status.consecutive_failures > 1:
        facts.append(f"{status.consecutive_failures} in a row")
    return (
        f"{_mark(', '.join(facts), good=False)}<br>"
        f'<span class="soft">{_moment(last.at_wall)}</span>'
    )


def _cure_row(status: KeeperStatus) -> str:
    facts = [escape(status.attention)] if status.attention else []
    last = status.last
    if last is not None and not last.ok:
        if last.refused_ip:
            facts.append(f"Refused address: <code>{escape(last.refused_ip)}</code>.")
        if last.rid:
            facts.append(f"For WeChat's support: rid <code>{escape(last.rid)}</code>.")
    if not facts:
        return ""
    return f'<tr><td class="cure" colspan="{len(_HEADINGS)}">{" ".join(facts)}</td></tr>'


def _process_rows(process: Mapping[str, Any]) -> str:
    return "".join(
        f'<tr><th scope="row">{escape(key)}</th><td>{_shown(value)}</td></tr>'
        for key, value in process.items()
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "<br>".join(f"{escape(str(key))}: {_shown(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return "<br>".join(map(_shown, value))
    return "–" if value is None else escape(str(value))


def _mark(text: str, *, good: bool) -> str:
    return f'<span class="{"good" if good else "bad"}">{escape(text)}</span>'


def _duration(seconds: float | None) -> str:
    """``45 s``, ``3 min 20 s``, ``1 h 52 min``."""
    if seconds is None:
        return "–"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _moment(wall: float) -> str:
    return f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%d %H:%M:%S} UTC"
