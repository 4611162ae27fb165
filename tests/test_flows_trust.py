"""Trust and address families on the way out: real TLS, an authority of our own, IPv6."""

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.conftest import SidecarFactory
from tests.connect_proxy import ConnectProxy
from tests.harness import Sidecar, eventually
from tests.tls import Authority
from wxproxy.accounts import Origin
from wxproxy.app import trust
from wxproxy.sandbox import Sandbox
from wxproxy.upstream_connection import Connector

USERS = "/cgi-bin/user/get"
LOGIN = "/sns/jscode2session?js_code=c"  # needs no token, so that it tells of the pool alone


async def ask(
    client: aiohttp.ClientSession, sidecar: Sidecar, path: str = USERS
) -> tuple[int, str, str]:
    """Status, error code and text of a call."""
    async with client.get(f"{sidecar.url}{path}") as reply:
        return reply.status, reply.headers.get("X-Wxproxy-Error", ""), await reply.text()


async def test_an_authority_of_ones_own_is_trusted_when_named(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox
) -> None:
    """Tokens and calls both go over TLS that upstream_ca_file makes good."""
    sidecar = await trusting(tls_sandbox.url)

    assert (await ask(client, sidecar))[0] == 200
    assert (await ask(client, sidecar))[0] == 200
    assert sidecar.app.pool.idle == 1


async def test_no_other_authority_is_trusted_by_default(
    start: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox
) -> None:
    """Whoever stands between gets neither secret nor token, and the cure is named."""
    sidecar = await start(tls_sandbox.url, token_wait_seconds=0.05)
    status, code, text = await ask(client, sidecar, LOGIN)
    _, _, no_token = await ask(client, sidecar)

    assert (status, code) == (502, "upstream_unreachable")
    assert "upstream_ca_file" in text
    assert "upstream_ca_file" in no_token
    assert tls_sandbox.seen("/") == []


async def test_a_certificate_for_another_name_is_refused_in_a_tunnel(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox, way: ConnectProxy
) -> None:
    """The name checked is WeChat's, not the proxy's, which may lead anywhere."""
    way.leads_to = ("127.0.0.1", int(tls_sandbox.url.rpartition(":")[2]))
    good = await trusting("https://wx.test", egress_proxy=way.url)
    bad = await trusting("https://other.test", egress_proxy=way.url, token_wait_seconds=0.05)

    assert (await ask(client, good))[0] == 200
    assert "TLS certificate of https://other.test" in (await ask(client, bad, LOGIN))[2]
    assert set(way.asked) == {"wx.test:443", "other.test:443"}


@pytest.fixture
async def on_ipv6(authority: Authority) -> AsyncIterator[Sandbox]:
    """A simulated WeChat on the IPv6 loopback address."""
    box = Sandbox()
    try:
        await box.start("::1", ssl_context=authority.server_context)
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")
    yield box
    await box.stop()


@pytest.mark.parametrize("family", ["auto", "6"])
async def test_an_upstream_on_ipv6_is_reached(
    trusting: SidecarFactory, client: aiohttp.ClientSession, on_ipv6: Sandbox, family: str
) -> None:
    """Tokens and calls both go to an IPv6 address."""
    sidecar = await trusting(on_ipv6.url, ip_family=family)

    assert (await ask(client, sidecar))[0] == 200


async def test_the_other_family_is_never_tried(
    trusting: SidecarFactory, client: aiohttp.ClientSession, tls_sandbox: Sandbox
) -> None:
    """A whitelist that holds IPv6 addresses only is of no use to a call over IPv4."""
    upstream = tls_sandbox.url.replace("127.0.0.1", "localhost")
    sidecar = await trusting(upstream, ip_family="6", token_wait_seconds=0.05)
    status, code, _ = await ask(client, sidecar, LOGIN)
    await eventually(lambda: sidecar.app.statuses()[0].last is not None)

    assert (status, code) == (502, "upstream_unreachable")
    assert tls_sandbox.seen("/") == []


class _BothFamilies(AbstractResolver):
    """Every name has both loopback addresses."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=at, port=port, family=of, proto=0, flags=0)
            for at, of in (("::1", socket.AF_INET6), ("127.0.0.1", socket.AF_INET))
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("family", "peer"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")],
    ids=["IPv4", "IPv6"],
)
async def test_a_name_with_both_families_is_reached_by_the_chosen_one(
    on_ipv6: Sandbox, authority: Authority, family: socket.AddressFamily, peer: str
) -> None:
    """Whatever a resolver gives, the connection is of the one family."""
    port = int(on_ipv6.url.rpartition(":")[2])
    twin = Sandbox()
    await twin.start("127.0.0.1", port, ssl_context=authority.server_context)
    connector = Connector(family=family, tls=trust(authority.ca_file), resolver=_BothFamilies())
    connection = await connector.connect(connector.route(Origin("https", "wx.test", port)))
    assert connection.transport is not None
    reached = connection.transport.get_extra_info("peername")[0]
    connection.end()
    await connector.close()
    await twin.stop()

    assert reached == peer
