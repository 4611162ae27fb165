"""The sandbox on a socket."""

import ssl
import time
from collections.abc import Callable

from aiohttp import web

from wxproxy.sandbox.control import PREFIX, control
from wxproxy.sandbox.delivery import arrival, deliver, needs_length, read_body
from wxproxy.sandbox.knobs import Knobs

_SHUTDOWN_S = 0.05
_MAX_LINE_BYTES = 64 * 1024


class Sandbox(Knobs):
    """A WeChat to test against: see the package's page.

    A stopped sandbox can be started again and remembers everything, as WeChat after an outage.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(now=now)
        self._runner: web.AppRunner | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end; "" before the first start."""
        return self._url

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> str:
        """Listen and give the base URL; port 0 takes a free one.

        Raises:
            OSError: the address cannot be bound.
        """
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.on_response_prepare.append(_without_server_header)
        runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            shutdown_timeout=_SHUTDOWN_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=ssl_context).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self._url = f"{'https' if ssl_context else 'http'}://{shown}:{bound[1]}"
        return self._url

    async def stop(self) -> None:
        """Close every connection, held ones too, and the listener."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = arrival(request, self.now)
        if call.path == PREFIX or call.path.startswith(f"{PREFIX}/"):
            body = await request.content.read()
            reply = control(self, method=request.method, path=call.path, body=body)
            return await deliver(request, reply)
        seen = call.seen
        self.calls.append(seen)
        fault = self.take_fault(call.path)
        seen.fault = fault is not None
        if fault is None or not fault.early:
            await read_body(request, call)
        reply = needs_length(request) or self.answer(call, fault)
        seen.status, seen.errcode = reply.status, reply.errcode
        return await deliver(request, reply, fault)


async def _without_server_header(_request: web.Request, response: web.StreamResponse) -> None:
    # WeChat sends none.
    del response.headers["Server"]
