"""One SDK at work: a sandbox, a sidecar in front of it, and the program that drives the SDK."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.commands import environment, running
from tests.sdks.rows import Row
from wxproxy.accounts import Kind, placeholder
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.api import OPENIDS
from wxproxy.sandbox.calls import Seen
from wxproxy.sandbox.knobs import (
    AGENT,
    AGENT_SECRET,
    AGENT_SECRET_2,
    APPID,
    CORPID,
    SECRET,
)

_ANSWER_SECONDS = 60.0
_TOKEN_PATHS = ("/cgi-bin/token", "/cgi-bin/stable_token", "/cgi-bin/gettoken")
_PROOF_PATH = "/cgi-bin/openapi/quota/get"

_CONFIG = f"""
listen = "127.0.0.1:0"
ops_listen = "127.0.0.1:0"

[[accounts]]
name = "shop"
appid = "{APPID}"
secret = "{SECRET}"
upstream = "{{url}}"
listen = "127.0.0.1:0"
default = true

[[accounts]]
name = "desk"
kind = "wecom"
appid = "{CORPID}"
secret = "{AGENT_SECRET}"
upstream = "{{url}}"

[[accounts]]
name = "other-desk"
kind = "wecom"
appid = "{CORPID}"
secret = "{AGENT_SECRET_2}"
upstream = "{{url}}"
"""
_PLACEHOLDERS = (
    placeholder(Kind.OFFICIAL, APPID, "shop"),
    placeholder(Kind.WECOM, CORPID, "desk"),
    placeholder(Kind.WECOM, CORPID, "other-desk"),
)


class Failed(Exception):
    """A scenario did not go as it must."""


class Ended(Failed):
    """The SDK's program has ended; what is written to standard error says why."""


class Stage:
    """What a scenario acts with and looks at."""

    def __init__(
        self, row: Row, sandbox: Sandbox, ops: str, runner: asyncio.subprocess.Process
    ) -> None:
        self.row = row
        self.sandbox = sandbox
        self._ops = ops
        self._runner = runner

    async def ask(self, action: str) -> str:
        """Let the SDK do something; "", or the error that it told its caller."""
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        self._runner.stdin.write(f"{action}\n".encode())
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                line = await self._runner.stdout.readline()
        except TimeoutError:
            raise Failed(f"no answer within {_ANSWER_SECONDS:g} s") from None
        if not line:
            raise Ended("the SDK's program has ended")
        answer = json.loads(line)
        return "" if answer["ok"] else answer["error"] or "an error without words"

    async def succeeds(self, action: str) -> None:
        """Let the SDK do something that must succeed."""
        if error := await self.ask(action):
            raise Failed(error)

    async def fails(self, action: str) -> None:
        """Let the SDK do something that cannot succeed; its caller must be told so."""
        if not await self.ask(action):
            raise Failed("the SDK hid the error")

    async def asked(self) -> int:
        """How many API calls the sidecar has had, token calls apart."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._ops}/metrics") as reply:
            text = await reply.text()
        totals = {
            family.name: sum(one.value for one in family.samples if one.name.endswith("_total"))
            for family in text_string_to_metric_families(text)
        }
        return int(totals["wxproxy_requests"] - totals["wxproxy_token_endpoint_stubbed"])

    def sent(self) -> list[Seen]:
        """The API calls that have reached WeChat, the sidecar's own apart."""
        own = (*_TOKEN_PATHS, _PROOF_PATH)
        return [call for call in self.sandbox.calls if call.path not in own]

    def fetches(self) -> int:
        """How often WeChat was asked for the account's token."""
        calls = self.sandbox.token_calls(self.row.appid)
        if calls.forced:
            raise Failed(f"{calls.forced} forced refreshes")
        return calls.fetches

    def check_tokens(self) -> None:
        """Fail unless every call carried one token, WeChat's own, and no stand-in anywhere."""
        for call in self.sent():
            sent = f"{call.target} {call.body.decode('latin-1')}"
            if len(call.tokens) != 1 or any(stand_in in sent for stand_in in _PLACEHOLDERS):
                raise Failed(f"{call.path} went out with {len(call.tokens)} tokens or a stand-in")


@asynccontextmanager
async def staged(row: Row, command: list[str], more: Mapping[str, str]) -> AsyncIterator[Stage]:
    """Set up everything for one row."""
    async with _sandbox() as sandbox, _sidecar(sandbox) as (listeners, ops):
        runner = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                **environment(more),
                "SIDECAR": listeners[-1],
                "SIDECAR_OF_ITS_OWN": listeners[0],
                "APPID": APPID,
                "CORPID": CORPID,
                "AGENT": AGENT,
                "AGENT_SECRET": AGENT_SECRET,
                "OPENID": OPENIDS[0],
            },
        )
        try:
            yield Stage(row, sandbox, ops, runner)
        finally:
            if runner.returncode is None:
                runner.kill()
            await runner.wait()


@asynccontextmanager
async def _sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.stop()


@asynccontextmanager
async def _sidecar(sandbox: Sandbox) -> AsyncIterator[tuple[list[str], str]]:
    with TemporaryDirectory() as folder:
        config = Path(folder) / "wxproxy.toml"
        config.write_text(_CONFIG.format(url=sandbox.url), "utf-8")
        async with running("serve", "--config", str(config)) as command:
            line = await command.says(r'\{[^\n]*"event":"started"[^\n]*\}')
            started = json.loads(line[0])
            yield started["listen"], started["ops_listen"]
