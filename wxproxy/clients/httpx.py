"""``httpx``: for clients of either kind, one's own or an SDK's."""

from typing import TypeVar

import httpx
from httpx._utils import URLPattern

from wxproxy.clients import WECHAT_HOSTS, checked_base

_T = TypeVar("_T", httpx.BaseTransport, httpx.AsyncBaseTransport)


class _Rerouting:
    """What both kinds of transport do to a request."""

    def __init__(self, base_url: str) -> None:
        self._base = httpx.URL(checked_base(base_url))
        self._prefix = self._base.raw_path.rstrip(b"/")

    def _rerouted(self, request: httpx.Request) -> httpx.Request:
        # The Host header is among the headers since the request was built: WeChat's.
        return httpx.Request(
            request.method,
            self._base.copy_with(raw_path=self._prefix + request.url.raw_path),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )


class SidecarTransport(_Rerouting, httpx.BaseTransport):
    """A transport that sends the requests of an httpx.Client to the sidecar.

    Args:
        base_url: as ``http://127.0.0.1:5780``.

    Raises:
        ValueError: it is no such URL.
    """

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self._transport = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the sidecar; see httpx.BaseTransport."""
        return self._transport.handle_request(self._rerouted(request))

    def close(self) -> None:
        """Close the connections to the sidecar."""
        self._transport.close()


class AsyncSidecarTransport(_Rerouting, httpx.AsyncBaseTransport):
    """The same for an httpx.AsyncClient."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self._transport = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the sidecar; see httpx.AsyncBaseTransport."""
        return await self._transport.handle_async_request(self._rerouted(request))

    async def aclose(self) -> None:
        """Close the connections to the sidecar."""
        await self._transport.aclose()


def install(client: httpx.Client | httpx.AsyncClient, base_url: str) -> None:
    """Let a client send WeChat's requests to the sidecar.

    The connections to the sidecar are closed with the client.

    Args:
        client: of either kind.
        base_url: as ``http://127.0.0.1:5780``.

    Raises:
        TypeError: it is no client of httpx.
        ValueError: ``base_url`` is no such URL.
    """
    # httpx mounts in public only while a client is built; this is the mapping that it then keeps.
    if isinstance(client, httpx.Client):
        client._mounts = _with(client._mounts, SidecarTransport(base_url))
    elif isinstance(client, httpx.AsyncClient):
        client._mounts = _with(client._mounts, AsyncSidecarTransport(base_url))
    else:
        raise TypeError(
            f"an httpx.Client or httpx.AsyncClient is needed, not a {type(client).__name__}"
        )


def _with(mounts: dict[URLPattern, _T | None], transport: _T) -> dict[URLPattern, _T | None]:
    """The mounts and, before those that are less exact, one for each of WeChat's hosts."""
    ours = {URLPattern(f"all://{host}"): transport for host in WECHAT_HOSTS}
    return dict(sorted({**mounts, **ours}.items()))
