"""``wxproxy status`` and ``wxproxy wait``: what a running sidecar says of itself.

The standard library's client alone, so that both start quickly: probes and scripts call them.
"""

import argparse
import http.client
import json
import math
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from wxproxy.errors import ConfigError
from wxproxy.values import Address, address

_DEFAULT_OPS = "127.0.0.1:5781"
_TIMEOUT_SECONDS = 5.0
_POLL_SECONDS = 0.1
_HEADINGS = (
    "ACCOUNT",
    "KIND",
    "TOKEN API",
    "STATE",
    "TOKEN ID",
    "LEFT",
    "REFRESH IN",
    "LAST RESULT",
)


class _Unreachable(Exception):
    """No sidecar answered; the text says why."""


def add_status_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wxproxy status``."""
    _add_ops(parser)
    parser.add_argument("--json", action="store_true", help="print the sidecar's own document")


def add_wait_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wxproxy wait``."""
    _add_ops(parser)
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=60.0,
        help="how long to wait (default: 60)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:  # also no NaN, which never runs out
        raise ValueError
    return seconds


def _add_ops(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ops",
        metavar="ADDRESS",
        help="ops listener of the sidecar, such as http://127.0.0.1:5781 or unix:/path "
        f"(default: WXPROXY_OPS_LISTEN, or {_DEFAULT_OPS})",
    )


def status(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the table; 0 if every account has a valid token.

    Raises:
        ConfigError: the address is none.
    """
    ops = _ops(arguments.ops, environ)
    try:
        code, body = _get(ops, "/status", _TIMEOUT_SECONDS)
        document = _document(ops, code, body)
    except _Unreachable as exc:
        return _fail(str(exc))
    if arguments.json:
        print(body.decode("utf-8", "replace").rstrip("\n"))
    else:
        print(_report(document))
    return 0 if all(map(_is_served, document["accounts"])) else 1


def wait(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Block until the sidecar has started; 1 when the time is over.

    Raises:
        ConfigError: the address is none.
    """
    ops = _ops(arguments.ops, environ)
    deadline = time.monotonic() + arguments.timeout
    while True:
        left = deadline - time.monotonic()
        reason = _why_not_started(ops, min(_TIMEOUT_SECONDS, max(_POLL_SECONDS, left)))
        if not reason:
            return 0
        if deadline - time.monotonic() < _POLL_SECONDS:
            return _fail(f"not started after {arguments.timeout:g} s: {reason}")
        time.sleep(_POLL_SECONDS)


def _fail(message: str) -> int:
    print(f"wxproxy: {message}", file=sys.stderr)
    return 1


# -- asking ------------------------------------------------------------------------------------


def _ops(flag: str | None, environ: Mapping[str, str]) -> Address:
    """Where to ask; a listener on every interface is asked on the loopback one."""
    variable = environ.get("WXPROXY_OPS_LISTEN", "").strip()
    label = "WXPROXY_OPS_LISTEN (environment)" if flag is None else "--ops"
    given = (variable or _DEFAULT_OPS) if flag is None else flag
    try:
        at = address(given.removeprefix("http://").rstrip("/"))
    except ValueError as exc:
        raise ConfigError(f"{label}: expected {exc}") from None
    loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared
    return Address(loopback.get(at.host, at.host), at.port, at.path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _get(ops: Address, path: str, timeout: float) -> tuple[int, bytes]:
    if ops.path:
        connection: http.client.HTTPConnection = _UnixConnection(ops.path, timeout)
    else:
        connection = http.client.HTTPConnection(ops.host, ops.port, timeout=timeout)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except TimeoutError:
        raise _Unreachable(f"nothing answers on {ops} within {timeout:g} s") from None
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise _Unreachable(f"no sidecar can be reached on {ops}: {reason}") from None
    except http.client.HTTPException:
        raise _Unreachable(_not_ours(ops)) from None
    finally:
        connection.close()


def _not_ours(ops: Address) -> str:
    return f"what answers on {ops} is not the ops listener of a sidecar"


def _document(ops: Address, code: int, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body) if code == 200 else None
    except ValueError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("accounts"), list):
        raise _Unreachable(_not_ours(ops))
    return document


def _why_not_started(ops: Address, timeout: float) -> str:
    """What holds the sidecar's start up, or "" once it has started."""
    try:
        code, body = _get(ops, "/startupz", timeout)
    except _Unreachable as exc:
        return str(exc)
    if code == 200:
        return ""
    return _clean(body.decode("utf-8", "replace").strip()) if code == 503 else _not_ours(ops)


# -- telling -----------------------------------------------------------------------------------


def _is_served(account: Mapping[str, Any]) -> bool:
    return account["state"] in ("fresh", "due")


def _report(document: Mapping[str, Any]) -> str:
    accounts = document["accounts"]
    served = sum(map(_is_served, accounts))
    head = (
        f"wxproxy {document.get('version', '')}: {document['state']} for "
        f"{_duration(document['uptime_s'])}; {served} of {len(accounts)} accounts have a valid "
        "token"
    )
    notes = [note for account in accounts if (note := _note(account))]
    parts = [head, columns([_HEADINGS, *map(_row, accounts)])]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def _row(account: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        account["name"],
        account["kind"],
        account["token_api"],
        account["state"],
        account["token_id"] or "-",
        _duration(account["seconds_left"]),
        _duration(account["next_refresh_in_s"]),
        _last_result(account["last_result"]),
    )


def _last_result(last: Mapping[str, Any] | None) -> str:
    if last is None:
        return "-"
    if last["ok"]:
        return "ok"
    return f"errcode {last['errcode']}" if last["errcode"] else str(last["reason"])


def _note(account: Mapping[str, Any]) -> str:
    """What is wrong with the account and how to cure it, or ""."""
    last = account["last_result"]
    facts = []
    if last is not None and not last["ok"]:
        facts.append(_last_result(last))
        facts += [f"refused IP {last['refused_ip']}"] if last["refused_ip"] else []
        facts += [f"rid {last['rid']}"] if last["rid"] else []
    told = [", ".join(facts), account["attention"]]
    note = ". ".join(filter(None, told))
    return _clean(f"{account['name']}: {note}") if note else ""


def columns(rows: Sequence[Sequence[str]]) -> str:
    """The rows as a table for a terminal."""
    cells = [[_clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _clean(text: str) -> str:
    """The text without what a terminal may take for a command."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _duration(seconds: float | None) -> str:
    """``45s``, ``3m20s``, ``1h52m``; "-" for none."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes = whole // 60
    return f"{minutes}m{whole % 60}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60}m"
