"""Calls to WeChat's token endpoints, over aiohttp's documented client.

Knows how WeChat is asked and how its answers read; not when to ask (keeper.py). A library's
exception never gets out: its text holds the URL, and the URL the secret or the token.
"""

import asyncio
import errno
import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from wxproxy import refusals
from wxproxy.accounts import Account, Origin, TokenApi
from wxproxy.egress import EgressProxy
from wxproxy.errcodes import TOKEN_BAD, find_errcode
from wxproxy.errors import FetchFailed
from wxproxy.redact import Secret
from wxproxy.schedule import Fetched
from wxproxy.unreachable import explain

_BODY_LIMIT = 64 * 1024
_BUSY_ERRCODE = -1
_PROOF_PATH = "/cgi-bin/openapi/quota/get"
_DECODER = json.JSONDecoder(strict=False)
# WeChat puts a BOM, blanks or control characters before the object now and then.
_BEFORE_JSON = "\ufeff" + "".join(map(chr, range(0x21)))

# These fail before a byte of the request was sent.
_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)


def _nothing() -> None:
    return None


class TokenConnector(aiohttp.TCPConnector):
    """Whatever ends an attempt to connect is one of ``_NOT_CONNECTED``.

    aiohttp's own raises the same exception for a proxy that breaks off before there is a tunnel
    as for a WeChat that breaks off after the request, which may have cost a classic token.
    """

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        try:
            return await super().connect(req, traces, timeout)
        except _NOT_CONNECTED:
            raise
        except aiohttp.ClientError:
            reset = ConnectionResetError(errno.ECONNRESET, "the proxy broke off")
            raise aiohttp.ClientConnectorError(req.connection_key, reset) from None


_BROKE_OFF = "the connection to WeChat broke before its answer was read"


class TokenClient:
    """Fetches tokens and proves them.

    Args:
        session: how calls go out: TLS and addresses are the affair of its TokenConnector.
        semaphore: bounds how many calls run at once, or None.
        timeout_s: longest time of a call, waiting for the semaphore not counted.
        proxy: what upstreams that it serves are reached through.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        semaphore: asyncio.Semaphore | None,
        timeout_s: float,
        proxy: EgressProxy | None = None,
    ) -> None:
        self._session = session
        self._proxy = proxy
        self._turn = nullcontext() if semaphore is None else semaphore
        self._timeout_s = timeout_s

    async def fetch(
        self,
        account: Account,
        secret: Secret,
        *,
        force: bool = False,
        sending: Callable[[], None] = _nothing,
    ) -> Fetched:
        """Ask WeChat for the account's token.

        Args:
            force: have a stable token replaced at once; of no meaning for other kinds.
            sending: called right before the request goes out, for each upstream tried.

        Raises:
            FetchFailed: no valid token came; its message says why in one line.
        """
        method, target, body = _token_call(account, secret, force=force)
        content = await self._call(account, method, target, body, sending=sending)
        return _read_token(content)

    async def prove(self, account: Account, token: str) -> bool | None:
        """Whether WeChat takes the token as good; None when it gave no answer to judge by.

        Any answer but a token error proves the token: WeChat looks at it before all else.
        Source: wechat-facts.md 3a and 10 (POST /cgi-bin/openapi/quota/get)
        """
        target = f"{_PROOF_PATH}?access_token={token}"
        try:
            content = await self._call(account, "POST", target, {"cgi_path": _PROOF_PATH})
        except FetchFailed:
            return None
        errcode = find_errcode(content)
        if errcode == _BUSY_ERRCODE or (errcode is None and _read_object(content) is None):
            return None
        return errcode not in TOKEN_BAD[account.kind]

    async def _call(
        self,
        account: Account,
        method: str,
        target: str,
        body: dict[str, Any] | None,
        *,
        sending: Callable[[], None] = _nothing,
    ) -> bytes:
        """The body of a 200, from the first upstream that can be connected to.

        Raises:
            FetchFailed: reasons network, timeout, http_status and bad_body.
        """
        # Bytes, so that the request has a length: WeChat answers 412 to a chunked one.
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        origins = account.upstreams
        # Connecting to all of them leaves one such share of the time for the answer.
        connect_s = self._timeout_s / (len(origins) + 1)
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout_s):
                    failure = None
                    for origin in origins:
                        sending()
                        try:
                            return await self._exchange(method, origin, target, data, connect_s)
                        except _NOT_CONNECTED as exc:
                            why = explain(origin, exc, self._proxy_for(origin))
                            failure = FetchFailed(why, reason="network", sent=False)
            except TimeoutError:
                raise FetchFailed(
                    f"WeChat did not answer a token call within {self._timeout_s:g} s;"
                    " check the network on the way, it is tried again soon",
                    reason="timeout",
                ) from None
            except aiohttp.ClientError:
                raise FetchFailed(_BROKE_OFF, reason="network") from None
        assert failure is not None, "an account has an upstream"
        raise failure

    async def _exchange(
        self, method: str, origin: Origin, target: str, data: bytes | None, connect_s: float
    ) -> bytes:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        proxy = self._proxy_for(origin)
        async with self._session.request(
            method,
            URL(f"{origin}{target}", encoded=True),
            data=data,
            headers=headers,
            allow_redirects=False,
            middlewares=(_only_once(),),
            proxy=URL(str(proxy)) if proxy else None,
            proxy_headers=proxy.headers(origin) if proxy else None,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_s),
        ) as response:
            if response.status != 200:
                raise FetchFailed(
                    f"{origin} answered a token call with HTTP {response.status}: if that lasts,"
                    " look at what stands between, and at the upstream setting",
                    reason="http_status",
                )
            return await _read_bounded(response.content)

    def _proxy_for(self, origin: Origin) -> EgressProxy | None:
        return self._proxy if self._proxy and self._proxy.serves(origin) else None


def _only_once() -> aiohttp.ClientMiddlewareType:
    """Keeps aiohttp from sending a GET again by itself when its connection breaks.

    A classic fetch that reached WeChat has killed the token before it; a second one would kill
    the first one's.
    """
    sent = False

    async def once(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        nonlocal sent
        if sent:
            raise FetchFailed(_BROKE_OFF, reason="network")
        sent = True
        return await send(request)

    return once


def _token_call(
    account: Account, secret: Secret, *, force: bool
) -> tuple[str, str, dict[str, Any] | None]:
    """Method, target and JSON body. Source: wechat-facts.md 1, 2 and 8 (S1, S2, S64)."""
    if account.token_api is TokenApi.STABLE:
        body = {
            "grant_type": "client_credential",
            "appid": account.appid,
            "secret": secret.reveal(),
            "force_refresh": force,
        }
        return "POST", "/cgi-bin/stable_token", body
    appid, value = quote(account.appid, safe=""), quote(secret.reveal(), safe="")
    if account.token_api is TokenApi.GETTOKEN:
        return "GET", f"/cgi-bin/gettoken?corpid={appid}&corpsecret={value}", None
    query = f"grant_type=client_credential&appid={appid}&secret={value}"
    return "GET", f"/cgi-bin/token?{query}", None


async def _read_bounded(content: aiohttp.StreamReader) -> bytes:
    """Raises FetchFailed when the body is longer than any answer of a token endpoint."""
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        if len(body) > _BODY_LIMIT:
            raise _bad_body()
    return bytes(body)


def _read_token(content: bytes) -> Fetched:
    answer = _read_object(content) or {}
    if errcode := find_errcode(content):
        raise _refused(errcode, str(answer.get("errmsg", "")))
    fetched = Fetched.checked(answer.get("access_token"), answer.get("expires_in"))
    if fetched is None:
        raise _bad_body()
    return fetched


def _read_object(content: bytes) -> dict[str, Any] | None:
    """The JSON object that the body starts with, read leniently; None when there is none."""
    try:
        answer, _ = _DECODER.raw_decode(content.decode("utf-8", "replace").lstrip(_BEFORE_JSON))
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _refused(errcode: int, errmsg: str) -> FetchFailed:
    refused_ip = refusals.parse_refused_ip(errmsg)
    return FetchFailed(
        refusals.cure(errcode, refused_ip),
        reason="errcode",
        errcode=errcode,
        rid=refusals.parse_rid(errmsg),
        refused_ip=refused_ip,
    )


def _bad_body() -> FetchFailed:
    return FetchFailed(
        "the answer to a token call held no valid token: if that lasts, look at what stands"
        " between, and at the upstream setting",
        reason="bad_body",
    )
