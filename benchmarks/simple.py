"""The proxy that anybody writes first: aiohttp's server on one side, its client on the other.

Run as ``python -m benchmarks.simple PORT UPSTREAM CA_FILE TOKEN``.
"""

import ssl
import sys
from collections.abc import AsyncIterator

from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


def build_app(upstream: str, ca_file: str, token: str) -> web.Application:
    """An application that forwards everything with the token appended."""
    sessions: list[ClientSession] = []

    async def session(_app: web.Application) -> AsyncIterator[None]:
        connector = TCPConnector(ssl=ssl.create_default_context(cafile=ca_file))
        async with ClientSession(connector=connector, auto_decompress=False) as opened:
            sessions.append(opened)
            yield

    async def forward(request: web.Request) -> web.Response:
        url = URL(upstream + request.raw_path, encoded=True)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        async with sessions[0].request(
            request.method,
            url.update_query(access_token=token),
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
        ) as reply:
            passed = {k: v for k, v in reply.headers.items() if k.lower() not in _HOP_BY_HOP}
            return web.Response(status=reply.status, headers=passed, body=await reply.read())

    app = web.Application(client_max_size=1 << 30)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


if __name__ == "__main__":
    _, port, *settings = sys.argv
    web.run_app(build_app(*settings), host="127.0.0.1", port=int(port), access_log=None, print=None)
