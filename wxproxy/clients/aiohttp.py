"""``aiohttp``: a middleware for client sessions; they know such since version 3.12."""

import aiohttp
from yarl import URL

from wxproxy.clients import WECHAT_HOSTS, checked_base


class Sidecar:
    """A client middleware that sends WeChat's requests to the sidecar.

    ``aiohttp.ClientSession(middlewares=[Sidecar("http://127.0.0.1:5780")])``; of several it is
    to be the last, so that the others see WeChat's URLs.

    Args:
        base_url: as ``http://127.0.0.1:5780``.

    Raises:
        ValueError: it is no such URL.
    """

    def __init__(self, base_url: str) -> None:
        self._base = checked_base(base_url)

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send the request on, to the sidecar if it is WeChat's."""
        # The Host header was set when the request was built: WeChat's. So was the URL that its
        # response and its exceptions will name.
        if request.url.host in WECHAT_HOSTS:
            request.url = URL(self._base + request.url.raw_path_qs, encoded=True)
            request.proxy = None
        return await handler(request)


def install(session: aiohttp.ClientSession, base_url: str) -> None:
    """Let a session that exists, as an SDK's, send WeChat's requests to the sidecar.

    Args:
        session: any session.
        base_url: as ``http://127.0.0.1:5780``.

    Raises:
        TypeError: it is no session.
        ValueError: ``base_url`` is no such URL.
    """
    if not isinstance(session, aiohttp.ClientSession):
        raise TypeError(f"an aiohttp.ClientSession is needed, not a {type(session).__name__}")
    # In public, middlewares are given only while a session is built.
    session._middlewares = (*session._middlewares, Sidecar(base_url))
