"""The sidecar as a process with the environment that a manifest gives it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.commands import Command, running
from tests.deploy.files import only, rendered, sidecar


@dataclass(frozen=True, slots=True)
class PodSidecar:
    """A sidecar whose listeners are bound.

    Attributes:
        proxy: base URL of the proxy listener.
        ops: base URL of the ops listener.
    """

    command: Command
    proxy: str
    ops: str


def configuration(
    directory: Path, *, upstream: str, accounts: Sequence[tuple[str, str, str]]
) -> Path:
    """A file as the ConfigMap holds it: accounts of a name, an appid and a secret.

    The first is the default one.
    """
    lines = []
    for name, appid, secret in accounts:
        file = directory / name
        file.write_text(secret, "utf-8")
        lines += ["[[accounts]]", f'name = "{name}"', f'appid = "{appid}"']
        lines += [f'secret_file = "{file}"', f'upstream = "{upstream}"']
        lines += [] if len(lines) > 5 else ["default = true"]
    path = directory / "wxproxy.toml"
    path.write_text("\n".join(lines), "utf-8")
    return path


@asynccontextmanager
async def started(config: Path, *, overlay: str, **settings: object) -> AsyncIterator[PodSidecar]:
    """Run an overlay's container, on free ports of 127.0.0.1 and with another configuration."""
    container = sidecar(only(rendered(overlay), "Deployment"))
    env = {
        **{variable["name"]: variable["value"] for variable in container["env"]},
        "WXPROXY_CONFIG": str(config),
        "WXPROXY_LISTEN": "127.0.0.1:0",
        "WXPROXY_OPS_LISTEN": "127.0.0.1:0",
        **{f"WXPROXY_{key.upper()}": str(value) for key, value in settings.items()},
    }
    async with running("serve", env=env) as command:
        line = await command.says(r'\{[^\n]*"event":"started"[^\n]*\}')
        fields = json.loads(line[0])
        yield PodSidecar(command, fields["listen"][0], fields["ops_listen"])


async def probed(url: str, *, timeout_s: float) -> int:
    """The status that kubelet would see; 0 where there is none within the timeout."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with aiohttp.ClientSession(timeout=timeout) as client:
        try:
            async with client.get(url) as reply:
                return reply.status
        except (aiohttp.ClientError, TimeoutError):
            return 0
