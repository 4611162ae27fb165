"""``requests``: for wechatpy, WeRoBot and every other SDK built on it."""

from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from wxproxy.clients import WECHAT_HOSTS, checked_base

_PREFIXES = tuple(f"{scheme}://{host}/" for scheme in ("https", "http") for host in WECHAT_HOSTS)


class SidecarAdapter(HTTPAdapter):
    """A transport adapter that sends WeChat's requests to the sidecar.

    Args:
        base_url: as ``http://127.0.0.1:5780``.

    Raises:
        ValueError: it is no such URL.
    """

    # What the base class keeps when an adapter is pickled, as sessions may be.
    __attrs__ = [*HTTPAdapter.__attrs__, "_base"]  # noqa: RUF012 - the base class's form

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base = checked_base(base_url)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send the request to the sidecar; see HTTPAdapter.send.

        ``proxies`` is not used: a session takes it from the environment, for WeChat's host.
        """
        sent = request.copy()
        sent.headers.setdefault("Host", (request.url or "").split("/")[2])
        sent.url = self._base + request.path_url
        response = super().send(sent, stream, timeout, verify, cert)
        response.url, response.request = request.url or "", request
        return response


def install(client: object, base_url: str) -> None:
    """Let a session send WeChat's requests to the sidecar.

    Args:
        client: a requests.Session, or an SDK's client with one in ``_http``, as wechatpy's.
        base_url: as ``http://127.0.0.1:5780``.

    Raises:
        TypeError: no session is there.
        ValueError: ``base_url`` is no such URL.
    """
    session = getattr(client, "_http", client)
    if not isinstance(session, requests.Session):
        raise TypeError(
            f"a requests.Session, or a client with one in _http, is needed, not a "
            f"{type(client).__name__}; install_globally serves sessions that cannot be got at"
        )
    adapter = SidecarAdapter(base_url)
    for prefix in _PREFIXES:
        session.mount(prefix, adapter)


def install_globally(base_url: str) -> Callable[[], None]:
    """Let every session of the process, also those still to come, send WeChat's to the sidecar.

    For SDKs that call ``requests.get`` and keep no session, as WeRoBot. All of them share one
    pool of connections, which lives as long as the process.

    Returns:
        A function that takes it back.

    Raises:
        ValueError: ``base_url`` is no URL of a sidecar.
    """
    adapter = SidecarAdapter(base_url)
    before = requests.Session.get_adapter

    def get_adapter(self: requests.Session, url: str) -> Any:
        is_wechats = url.lower().startswith(_PREFIXES)
        return adapter if is_wechats else before(self, url)

    def undo() -> None:
        requests.Session.get_adapter = before  # type: ignore[method-assign] # put back
        adapter.close()

    requests.Session.get_adapter = get_adapter  # type: ignore[method-assign] # the only place
    return undo
