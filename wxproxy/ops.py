"""The ops listener: probes, metrics and status, for kubelet, Prometheus and people.

It only reads, and what it reads holds no secret and no token: statuses carry a token's id.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from wxproxy.metrics import KeeperStatus, Metrics
from wxproxy.status_page import CONTENT_SECURITY_POLICY, render_page

_NAMED_IN_A_PROBE = 10


@dataclass(slots=True)
class OpsState:
    """Where the process is in its life; the app sets it, the probes read it.

    Attributes:
        started: the listeners are bound.
        startup_settled: every account has a token or a refusal with an errcode, or
            ``startup_wait_seconds`` have passed.
        draining: the process was told to stop.
    """

    started: bool = False
    startup_settled: bool = False
    draining: bool = False

    @property
    def phase(self) -> str:
        """``starting``, ``running`` or ``draining``."""
        if self.draining:
            return "draining"
        return "running" if self.started else "starting"


def build_ops_app(
    *,
    state: OpsState,
    metrics: Metrics,
    statuses: Callable[[], Sequence[KeeperStatus]],
    about: Mapping[str, Any],
) -> web.Application:
    """The application of the ops listener.

    Args:
        about: what ``/status`` shows of the process besides its accounts: version, listeners,
            settings; read at each request, JSON's own types only, no secrets.
    """
    ops = _Ops(state=state, metrics=metrics, statuses=statuses, about=about)
    app = web.Application()
    app.router.add_get("/startupz", ops.startupz)
    app.router.add_get("/livez", ops.livez)
    app.router.add_get("/readyz", ops.readyz)
    app.router.add_get("/metrics", ops.metrics)
    app.router.add_get("/status", ops.status)
    app.router.add_get("/", ops.page)
    app.on_response_prepare.append(_set_headers)
    return app


async def _set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    headers.pop("Server", None)
    headers["Cache-Control"] = "no-store"
    headers["X-Content-Type-Options"] = "nosniff"


class _Ops:
    """The handlers."""

    def __init__(
        self,
        *,
        state: OpsState,
        metrics: Metrics,
        statuses: Callable[[], Sequence[KeeperStatus]],
        about: Mapping[str, Any],
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._statuses = statuses
        self._about = about
        self._started_at = time.monotonic()

    async def startupz(self, _request: web.Request) -> web.Response:
        """Whether the application may start."""
        if self._state.startup_settled:
            return _probe("started")
        return _probe(_waiting_for(self._statuses()), status=503)

    async def livez(self, _request: web.Request) -> web.Response:
        """Whether the event loop runs, which an answer proves."""
        return _probe("alive")

    async def readyz(self, _request: web.Request) -> web.Response:
        """Whether requests are taken; WeChat's state does not matter."""
        phase = self._state.phase
        return _probe("ready") if phase == "running" else _probe(phase, status=503)

    async def metrics(self, request: web.Request) -> web.Response:
        """The scrape, rendered in slices between which other requests are served."""
        accept = ",".join(request.headers.getall("Accept", ()))
        rendered, content_type = self._metrics.render(accept)
        body = bytearray()
        for piece in rendered:
            body += piece
            await asyncio.sleep(0)
        return web.Response(body=bytes(body), headers={"Content-Type": content_type})

    async def status(self, _request: web.Request) -> web.Response:
        """Everything that is known, for programs."""
        accounts = [account_status(status) for status in self._statuses()]
        text = json.dumps({**self._process(), "accounts": accounts}, ensure_ascii=False)
        return web.Response(text=text + "\n", content_type="application/json")

    async def page(self, _request: web.Request) -> web.Response:
        """The same for a person."""
        return web.Response(
            text=render_page(self._process(), self._statuses()),
            content_type="text/html",
            headers={
                "Content-Security-Policy": CONTENT_SECURITY_POLICY,
                "Referrer-Policy": "no-referrer",
            },
        )

    def _process(self) -> dict[str, Any]:
        return {
            **self._about,
            "state": self._state.phase,
            "startup_settled": self._state.startup_settled,
            "uptime_s": round(time.monotonic() - self._started_at, 1),
        }


def account_status(status: KeeperStatus) -> dict[str, Any]:
    """One account as ``/status`` shows it; named field by field, so that nothing else gets out."""
    return {
        "name": status.name,
        "appid": status.appid,
        "kind": status.kind,
        "token_api": status.token_api,
        "state": status.state,
        "token_id": status.token_id,
        "age_s": _rounded(status.age_s),
        "seconds_left": _rounded(status.seconds_left),
        "next_refresh_in_s": _rounded(status.next_refresh_in_s),
        "expires_at": _rounded(status.expires_at_wall),
        "consecutive_failures": status.consecutive_failures,
        "last_attempt_at": _rounded(status.last_attempt_wall),
        "last_success_at": _rounded(status.last_success_wall),
        "last_result": _last_result(status),
        "counts": dict(status.counts),
        "attention": status.attention,
    }


def _last_result(status: KeeperStatus) -> dict[str, Any] | None:
    last = status.last
    if last is None:
        return None
    return {
        "ok": last.ok,
        "reason": last.reason,
        "errcode": last.errcode,
        "rid": last.rid,
        "refused_ip": last.refused_ip,
        "cure": last.cure,
        "at": _rounded(last.at_wall),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _probe(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text + "\n", status=status)


def _waiting_for(statuses: Sequence[KeeperStatus]) -> str:
    """Why the application may not start yet: the accounts that have no answer from WeChat."""
    waiting = [_why(status) for status in statuses if not _is_settled(status)]
    if not waiting:
        return "starting"
    more = len(waiting) - _NAMED_IN_A_PROBE
    text = "waiting for a token: " + ", ".join(waiting[:_NAMED_IN_A_PROBE])
    return f"{text} and {more} more" if more > 0 else text


def _is_settled(status: KeeperStatus) -> bool:
    last = status.last
    return bool(status.token_id) or (last is not None and not last.ok and last.errcode != 0)


def _why(status: KeeperStatus) -> str:
    last = status.last
    reason = "no answer yet" if last is None or last.ok else last.reason
    return f"{status.name} ({reason})"
