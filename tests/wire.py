"""Requests as bytes, and the metrics of a running sidecar, for the flow tests."""

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import RawClient, RawReply, Sidecar

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def request(target: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request of HTTP/1.1, with a length where it has a body."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/1.1", *headers, *length, "", ""]
    if not any(header.lower().startswith("host:") for header in headers):
        lines.insert(1, "Host: wx")
    return "\r\n".join(lines).encode() + body


async def ask_once(url: str, data: bytes) -> RawReply:
    """Send bytes on a connection of their own and read one reply."""
    client = await RawClient.connect(url)
    try:
        return await client.ask(data)
    finally:
        await client.close()


async def scrape(sidecar: Sidecar) -> Series:
    """Every sample of ``/metrics``, as Prometheus's own parser reads it."""
    async with aiohttp.ClientSession() as session, session.get(sidecar.ops + "/metrics") as reply:
        text = await reply.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def metric(sidecar: Sidecar, name: str, **labels: str) -> float:
    """One sample's value.

    Raises:
        KeyError: there is no such series.
    """
    return (await scrape(sidecar))[name, tuple(sorted(labels.items()))]
