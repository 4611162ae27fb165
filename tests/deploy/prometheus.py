"""A real Prometheus for a test, and its HTTP API."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.commands import running
from tests.deploy.files import program

_DEADLINE_SECONDS = 30.0


class Prometheus:
    """What the API of a running server tells."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def _get(self, path: str, **params: str) -> Any:
        async with self._session.get(f"/api/v1/{path}", params=params) as reply:
            document = await reply.json()
        assert document["status"] == "success", document
        return document["data"]

    async def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            async with self._session.get("/-/ready") as reply:
                return reply.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and value of each series that an instant query gives."""
        result = (await self._get("query", query=expression))["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    async def value(self, expression: str) -> float | None:
        """The value of a query that gives one series; None while it gives none."""
        found = await self.query(expression)
        assert len(found) < 2, f"{expression} gives several series"
        return found[0][1] if found else None

    async def until(self, expression: str, holds: Callable[[float], bool]) -> float:
        """Wait until a query's one value is as wanted, and give it."""
        value = None
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                while (value := await self.value(expression)) is None or not holds(value):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{expression} stayed {value}") from None
        return value

    async def rules(self) -> list[dict[str, Any]]:
        """The alert rules, with their health and what fires."""
        (group,) = (await self._get("rules"))["groups"]
        found: list[dict[str, Any]] = group["rules"]
        return found


@asynccontextmanager
async def prometheus(
    directory: Path, *, job: dict[str, Any], rules: Path
) -> AsyncIterator[Prometheus]:
    """A server that runs a scrape job, and evaluates the rules, each half second."""
    config = {
        "global": {"evaluation_interval": "500ms"},
        "rule_files": [str(rules)],
        "scrape_configs": [{**job, "scrape_interval": "500ms"}],
    }
    file = directory / "prometheus.yml"
    # JSON is YAML.
    file.write_text(json.dumps(config), "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = (
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    )
    async with (
        running(*arguments, program=(program("prometheus"),)) as server,
        aiohttp.ClientSession(f"http://{address}") as session,
    ):
        found = Prometheus(session)
        async with asyncio.timeout(_DEADLINE_SECONDS):
            while not await found.is_ready():
                assert server.status is None, server.err
                await asyncio.sleep(0.1)
        yield found
