"""The control route ``/_sandbox/…``: Knobs by HTTP, as JSON; pure."""

import json
from collections.abc import Callable
from typing import Any

import msgspec

from wxproxy.sandbox.calls import Seen
from wxproxy.sandbox.faults import Fault
from wxproxy.sandbox.knobs import AGENT, FamilyName, Kind, Knobs
from wxproxy.sandbox.replies import Reply

PREFIX = "/_sandbox"


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _App(_Arguments):
    appid: str
    secret: str
    kind: Kind = "official"
    agent: str = AGENT


class _Revoke(_Arguments):
    appid: str
    family: FamilyName | None = None
    token: str = ""
    insist: bool = False


class _Life(_Arguments):
    appid: str
    seconds: int


class _Expire(_Arguments):
    appid: str
    seconds: float
    family: FamilyName | None = None


class _Advance(_Arguments):
    seconds: float


class _Quota(_Arguments):
    appid: str
    per_day: int


class _NewEachTime(_Arguments):
    appid: str
    on: bool


_COMMANDS: dict[str, tuple[type[_Arguments], Callable[..., Any]]] = {
    "apps": (_App, Knobs.add_app),
    "revoke": (_Revoke, Knobs.revoke),
    "life": (_Life, Knobs.set_life),
    "expire": (_Expire, Knobs.expire_in),
    "advance": (_Advance, Knobs.advance),
    "quota": (_Quota, Knobs.set_quota),
    "new_each_time": (_NewEachTime, Knobs.set_new_each_time),
    "reset": (_Arguments, Knobs.reset),
}

_HELP = (
    "GET stats, calls, faults; POST faults, "
    + ", ".join(_COMMANDS)
    + "; DELETE faults (all under /_sandbox/)"
)


def control(knobs: Knobs, *, method: str, path: str, body: bytes) -> Reply:
    """Carry out a control call; HTTP 400 or 404 with ``{"error": …}`` for one that is wrong."""
    name = path.removeprefix(PREFIX).strip("/")
    try:
        result = _run(knobs, method=method, name=name, body=body)
    except ValueError as exc:
        return _reply({"error": str(exc)}, status=400)
    if result is None:
        return _reply({"error": f"no such control call; there are: {_HELP}"}, status=404)
    return _reply(result)


def _run(knobs: Knobs, *, method: str, name: str, body: bytes) -> Any:
    if method == "GET":
        return _look(knobs, name)
    if (method, name) == ("DELETE", "faults"):
        knobs.clear_faults()
        return {"ok": True}
    if method != "POST":
        return None
    arguments = json.loads(body or b"{}")
    if name == "faults":
        knobs.add_fault(msgspec.convert(arguments, Fault))
        return {"ok": True}
    if name not in _COMMANDS:
        return None
    kind, command = _COMMANDS[name]
    done = command(knobs, **msgspec.structs.asdict(msgspec.convert(arguments, kind)))
    return {"ok": True} if done is None else {"ok": True, "count": done}


def _look(knobs: Knobs, name: str) -> Any:
    if name == "stats":
        return knobs.stats()
    if name == "calls":
        return [_shown(seen) for seen in knobs.calls]
    if name == "faults":
        return msgspec.to_builtins(knobs.faults)
    return None


def _shown(seen: Seen) -> dict[str, Any]:
    return {
        "method": seen.method,
        "target": seen.target,
        "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in seen.headers],
        "tokens": seen.tokens,
        "body_sha256": seen.body_sha256,
        "body_length": seen.body_length,
        "body": seen.body.decode("utf-8", "replace"),
        "status": seen.status,
        "errcode": seen.errcode,
        "fault": seen.fault,
        "at": round(seen.at, 3),
    }


def _reply(data: Any, status: int = 200) -> Reply:
    # ASCII only: a fault's texts may hold lone surrogates.
    return Reply(json.dumps(data, indent=1).encode() + b"\n", "application/json", status)
