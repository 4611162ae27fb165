"""Names of upstreams, resolved; the last good answer outlives a DNS that fails."""

import socket
import time

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_STALE_SECONDS = 3600.0


class StaleResolver(AbstractResolver):
    """The system's resolver, whose last good answer serves for an hour when DNS fails."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver or ThreadedResolver()
        self._last_good: dict[tuple[str, int, int], tuple[float, list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of the host.

        Raises:
            OSError: it cannot be resolved, and no good answer of the last hour is known.
        """
        key = (host, port, family)
        try:
            found = await self._resolver.resolve(host, port, family)
        except OSError:
            since, kept = self._last_good.get(key, (0.0, []))
            if kept and time.monotonic() - since < _STALE_SECONDS:
                return kept
            raise
        self._last_good[key] = (time.monotonic(), found)
        return found

    async def close(self) -> None:
        """Release the system's resolver."""
        await self._resolver.close()
