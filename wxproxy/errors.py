"""The error tree, by who must act; pure.

Texts are written for the person who reads them: the cause, then the cure. They never quote a
query value, a token, a secret or a library's exception.
"""

import json

NO_TOKEN_REFUSAL_ERRCODE = -60503


class WxProxyError(Exception):
    """Anything that wxproxy itself refuses or fails at.

    Attributes:
        code: stable word for programs (``X-Wxproxy-Error``, metric label).
        status: HTTP status of the answer.
        errcode: WeChat-shaped error code of the answer; WeChat's own where WeChat refused,
            else ``-60000 - status``. Never 0, -1, 40001 or 42001, on which SDKs start loops.
        retry_after_s: seconds for a ``Retry-After`` header, or None.
    """

    code = "internal"
    status = 500

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        errcode: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        self.errcode = -60000 - self.status if errcode is None else errcode
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        """The answer's body as WeChat would shape it: ``{"errcode":…,"errmsg":"wxproxy: …"}``."""
        return json.dumps(
            {"errcode": self.errcode, "errmsg": f"wxproxy: {self.message}"},
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()


class ConfigError(WxProxyError):
    """The operator must change the configuration. The command exits with status 2."""

    code = "config"


class RequestRefused(WxProxyError):
    """The caller must change the request; nothing was forwarded."""

    code = "bad_request"
    status = 400


class UnknownAccount(RequestRefused):
    """No account was chosen, or one that is not configured. Shaped like WeChat's 40013."""

    code = "unknown_account"
    status = 404

    def __init__(self, message: str) -> None:
        super().__init__(message, errcode=40013)


class ForeignToken(RequestRefused):
    """A real-looking access_token that is none of ours. HTTP 200, shaped like WeChat's 40014."""

    code = "foreign_token"
    status = 200

    def __init__(self, message: str) -> None:
        super().__init__(message, errcode=40014)


class Unavailable(WxProxyError):
    """Try again later: code ``overloaded`` or ``draining``."""

    code = "overloaded"
    status = 503


class TokenUnavailable(Unavailable):
    """No valid token can be had now; ``errcode`` is WeChat's own where WeChat refused."""

    code = "no_token"


class UpstreamError(WxProxyError):
    """WeChat could not be reached (``upstream_unreachable``) or broke off (``upstream_broken``)."""

    code = "upstream_broken"
    status = 502


class UpstreamTimeout(UpstreamError):
    """WeChat did not answer in time."""

    code = "upstream_timeout"
    status = 504


class ClientTimeout(WxProxyError):
    """The client did not send its request in time."""

    code = "client_timeout"
    status = 504


class ClientGone(WxProxyError):
    """The client left; there is nobody to answer."""

    code = "client_gone"
    status = 499


class FetchFailed(WxProxyError):
    """A call to the token endpoint gave no valid token.

    Attributes:
        reason: ``network``, ``timeout``, ``http_status``, ``bad_body`` or ``errcode``.
        errcode: WeChat's code where ``reason`` is ``errcode``; else 0.
        rid: WeChat's request id, the handle for its support, or "".
        refused_ip: the address that WeChat says it refused, or "".
        sent: whether the request may have reached WeChat (a classic fetch that did may have
            killed the older token).
    """

    code = "fetch_failed"
    status = 503

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        errcode: int = 0,
        rid: str = "",
        refused_ip: str = "",
        sent: bool = True,
    ) -> None:
        super().__init__(message, errcode=errcode)
        self.reason = reason
        self.rid = rid
        self.refused_ip = refused_ip
        self.sent = sent
