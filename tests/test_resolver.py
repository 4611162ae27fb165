"""wxproxy.resolver: what DNS said last counts while DNS is silent."""

import socket

import pytest
from aiohttp.abc import ResolveResult

from tests.upstreams import ScriptedResolver
from wxproxy.resolver import StaleResolver


def _found(address: str) -> list[ResolveResult]:
    return [
        ResolveResult(
            hostname="wx", host=address, port=443, family=socket.AF_INET, proto=0, flags=0
        )
    ]


async def test_the_last_good_addresses_serve_while_dns_fails() -> None:
    """An outage of DNS is no outage of WeChat; a later good answer counts again."""
    failure = OSError("no DNS")
    resolver = StaleResolver(ScriptedResolver([_found("192.0.2.1"), failure, _found("192.0.2.2")]))

    hosts = [(await resolver.resolve("wx", 443))[0]["host"] for _ in range(3)]
    assert hosts == ["192.0.2.1", "192.0.2.1", "192.0.2.2"]


async def test_a_name_that_was_never_resolved_fails() -> None:
    """Nothing is made up."""
    resolver = StaleResolver(ScriptedResolver([OSError("no DNS")]))

    with pytest.raises(OSError, match="no DNS"):
        await resolver.resolve("wx", 443)
