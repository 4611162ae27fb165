"""Why an upstream could not be connected to: aiohttp's exceptions in words of ours.

Their own text may hold the URL, their attributes the proxy's credentials; neither gets in here.
"""

import ssl

from aiohttp import (
    ClientConnectorDNSError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
)

from wxproxy.accounts import Origin
from wxproxy.egress import EgressProxy

_PROXY_WANTS_CREDENTIALS = 407


def explain(origin: Origin, exc: Exception, proxy: EgressProxy | None) -> str:
    """Cause and cure in one line, for what ended an attempt to connect."""
    if isinstance(exc, ssl.SSLError):
        return (
            f"the TLS certificate of {origin} is not trusted;"
            " set upstream_ca_file (or SSL_CERT_FILE) to the CA that signed it"
        )
    if proxy is not None:
        return _explain_proxy(origin, exc, proxy)
    if isinstance(exc, TimeoutError):
        return f"no connection to {origin} in time: check egress rules, and the proxies on the way"
    if isinstance(exc, ClientConnectorDNSError):
        return f"the name {origin.host} cannot be resolved: check that DNS is reachable from here"
    return f"cannot connect to {origin}: check egress rules, and whether a proxy is needed"


def _explain_proxy(origin: Origin, exc: Exception, proxy: EgressProxy) -> str:
    if isinstance(exc, ClientHttpProxyError):
        if exc.status == _PROXY_WANTS_CREDENTIALS:
            return (
                f"the proxy {proxy} does not accept the user and password (HTTP 407):"
                f" check those in {proxy.setting}"
            )
        return (
            f"the proxy {proxy} opened no tunnel to {origin} (HTTP {exc.status}): check that it"
            " allows CONNECT there and can reach it"
        )
    if isinstance(exc, TimeoutError):
        return f"no connection to {origin} through the proxy {proxy} in time: check the proxy"
    if isinstance(exc, ClientConnectorDNSError):
        return f"the name of the proxy {proxy} cannot be resolved: check {proxy.setting}, and DNS"
    if isinstance(exc, ClientProxyConnectionError):
        return f"cannot connect to the proxy {proxy}: check {proxy.setting}, and that it runs"
    return (
        f"the proxy {proxy} broke off before {origin} was connected to: check that it allows"
        " CONNECT there, and its logs"
    )
