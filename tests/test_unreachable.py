"""Why an upstream could not be connected to: each kind of failure has its cause and cure."""

import ssl

import pytest
from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
    RequestInfo,
    ServerDisconnectedError,
)
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from wxproxy.accounts import Origin
from wxproxy.egress import proxy_url
from wxproxy.unreachable import explain

WECHAT = Origin.parse("https://api.weixin.qq.com")
PROXY = proxy_url("egress_proxy")("http://user:a-password@proxy:3128")
KEY = ConnectionKey("api.weixin.qq.com", 443, True, True, None, None, None)
REFUSED = ConnectionRefusedError(111, "Connection refused")
UNTRUSTED = ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("self-signed"))
UNRESOLVED = ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known"))
DISCONNECTED = ServerDisconnectedError("user:a-password")


def answered(status: int) -> ClientHttpProxyError:
    """The proxy's refusal, with all that aiohttp puts into it."""
    headers = CIMultiDictProxy(CIMultiDict({"Proxy-Authorization": "Basic a-password"}))
    url = URL("https://api.weixin.qq.com/?secret=a-password")
    return ClientHttpProxyError(RequestInfo(url, "CONNECT", headers, url), (), status=status)


DIRECT = {
    "refused": (ClientConnectorError(KEY, REFUSED), "cannot connect to https://api", "egress"),
    "DNS": (UNRESOLVED, "the name api.weixin.qq.com cannot be resolved", "DNS"),
    "certificate": (UNTRUSTED, "the TLS certificate of https://api", "upstream_ca_file"),
    "time": (ConnectionTimeoutError("a-password"), "no connection to https://api", "egress"),
}
THROUGH = {
    "refused": (ClientProxyConnectionError(KEY, REFUSED), "cannot connect to the proxy", "runs"),
    "DNS": (UNRESOLVED, "the name of the proxy http://proxy:3128", "check egress_proxy"),
    "credentials": (answered(407), "does not accept the user and password", "egress_proxy"),
    "not allowed": (answered(403), "opened no tunnel to https://api", "allows CONNECT"),
    "broke off": (DISCONNECTED, "broke off before https://api", "its logs"),
    "reset in TLS": (ClientConnectorError(KEY, REFUSED), "broke off before https://api", "logs"),
    "certificate": (UNTRUSTED, "the TLS certificate of https://api", "upstream_ca_file"),
    "time": (ConnectionTimeoutError("a-password"), "through the proxy http://proxy", "check"),
}


@pytest.mark.parametrize(("exc", "cause", "cure"), DIRECT.values(), ids=DIRECT)
def test_a_direct_failure_names_the_upstream(exc: Exception, cause: str, cure: str) -> None:
    """One line: what failed, then where to look; nothing of the exception's own text."""
    said = explain(WECHAT, exc, None)

    assert cure in said.partition(cause)[2]
    assert "a-password" not in said


@pytest.mark.parametrize(("exc", "cause", "cure"), THROUGH.values(), ids=THROUGH)
def test_a_failure_on_the_way_names_the_proxy(exc: Exception, cause: str, cure: str) -> None:
    """The proxy is shown without its credentials, and told from the upstream behind it."""
    said = explain(WECHAT, exc, PROXY)

    assert cure in said.partition(cause)[2]
    assert "a-password" not in said
