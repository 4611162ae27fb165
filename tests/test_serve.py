"""``wxproxy serve`` as a process: what it says at the start, and how it ends."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.commands import Command, run, running
from tests.harness import eventually
from wxproxy.accounts import Kind, placeholder
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID, SECRET

USERS = "/cgi-bin/user/get"
STABLE = "/cgi-bin/stable_token"
SIGNALS = [signal.SIGTERM, signal.SIGINT]


@dataclass(frozen=True, slots=True)
class Serving:
    """A running sidecar.

    Attributes:
        started: the fields of its line at the start.
    """

    command: Command
    started: dict[str, Any]

    @property
    def proxy(self) -> str:
        return str(self.started["listen"][0])

    @property
    def ops(self) -> str:
        return str(self.started["ops_listen"])


def settings(sandbox: Sandbox, **more: str) -> dict[str, str]:
    """The environment of a sidecar for the sandbox's first account, on free ports."""
    given = {
        "appid": APPID,
        "secret": SECRET,
        "upstream": sandbox.url,
        "listen": "127.0.0.1:0",
        "ops_listen": "127.0.0.1:0",
        **more,
    }
    return {f"WXPROXY_{key.upper()}": value for key, value in given.items()}


@asynccontextmanager
async def serving(sandbox: Sandbox, **more: str) -> AsyncIterator[Serving]:
    """Run a sidecar that has said that it listens."""
    async with running("serve", env=settings(sandbox, **more)) as command:
        line = await command.says(r'\{[^\n]*"event":"started"[^\n]*\}')
        yield Serving(command, json.loads(line[0]))


def events(command: Command) -> list[dict[str, Any]]:
    """What it has logged."""
    return [json.loads(line) for line in command.err.splitlines()]


async def probe(client: aiohttp.ClientSession, url: str) -> int:
    """The status of a GET; 0 where nothing listens."""
    try:
        async with client.get(url) as reply:
            await reply.read()
            return reply.status
    except aiohttp.ClientConnectorError:
        return 0


async def until(client: aiohttp.ClientSession, url: str, status: int) -> None:
    """Ask until the status comes; fails when it does not in ten seconds."""
    async with asyncio.timeout(10):
        while await probe(client, url) != status:
            await asyncio.sleep(0.01)


async def test_calls_need_no_token(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    """The application drops every line of token code."""
    async with serving(sandbox) as sidecar, client.get(sidecar.proxy + USERS) as reply:
        assert json.loads(await reply.read())["total"] == 3


async def test_wait_and_status_find_the_sidecar(sandbox: Sandbox) -> None:
    """Both are 0 once the token is there."""
    async with serving(sandbox) as sidecar:
        waited = await run("wait", "--ops", sidecar.ops)
        status = await run("status", "--ops", sidecar.ops)

    assert (waited.status, status.status) == (0, 0)
    assert "1 of 1 accounts have a valid token" in status.out


async def test_the_first_line_says_what_is_served_where(sandbox: Sandbox) -> None:
    """Names, kinds and token APIs, the listeners and the version: never a secret."""
    async with serving(sandbox) as sidecar:
        started = sidecar.started

    assert started["accounts"] == [f"{APPID} (official, stable)"]
    assert started["listen"][0].startswith("http://127.0.0.1:")
    assert started["version"]
    assert SECRET not in json.dumps(started)


@pytest.mark.parametrize("token_api", ["stable", "classic"])
async def test_a_classic_account_is_told_that_one_process_only_may_run(
    sandbox: Sandbox, token_api: str
) -> None:
    """Two of them kill each other's token, a rolling update being enough; stable has no such."""
    async with serving(sandbox, token_api=token_api) as sidecar:
        sidecar.command.send(signal.SIGTERM)
        await sidecar.command.ended()
        warned = [one for one in events(sidecar.command) if one["event"] == "one_process_only"]

    assert len(warned) == (token_api == "classic")
    for line in warned:
        assert "rolling updates included" in line["cause"]
        assert "token_api = stable" in line["cure"]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda one: one.name)
async def test_a_signal_lets_a_request_end_and_takes_no_new_one(
    sandbox: Sandbox, client: aiohttp.ClientSession, number: signal.Signals
) -> None:
    """A rolling update costs no request."""
    sandbox.fault(USERS, delay_s=3.0)
    async with serving(sandbox) as sidecar:
        request = asyncio.create_task(client.get(sidecar.proxy + USERS))
        await eventually(lambda: sandbox.seen(USERS))
        sidecar.command.send(number)
        await until(client, sidecar.proxy + USERS, 0)
        ready = await probe(client, f"{sidecar.ops}/readyz")
        was_done = request.done()
        reply = await request
        body = json.loads(await reply.read())
        ended = await sidecar.command.ended(seconds=5)

    assert (ready, was_done) == (503, False)
    assert (reply.status, reply.headers["Connection"], body["total"]) == (200, "close", 3)
    assert ended.status == 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda one: one.name)
async def test_a_signal_ends_it_at_once_while_the_first_token_is_fetched(
    sandbox: Sandbox, client: aiohttp.ClientSession, number: signal.Signals
) -> None:
    """A pod whose start never succeeds can be stopped; who waits for a token is told."""
    sandbox.fault(STABLE, hold=True, times=None)
    async with serving(sandbox, token_wait_seconds="60") as sidecar:
        await eventually(lambda: sandbox.seen(STABLE))
        request = asyncio.create_task(client.get(sidecar.proxy + USERS))
        await until_in_flight(client, sidecar)
        sidecar.command.send(number)
        ended = await sidecar.command.ended(seconds=5)
        reply = await request

    assert (reply.status, reply.headers["X-Wxproxy-Error"]) == (503, "draining")
    assert ended.status == 0


async def until_in_flight(client: aiohttp.ClientSession, sidecar: Serving) -> None:
    """Wait until the sidecar counts a request in flight."""
    async with asyncio.timeout(10):
        while True:
            async with client.get(f"{sidecar.ops}/metrics") as reply:
                if re.search(r"(?m)^wxproxy_requests_in_flight 1", await reply.text()):
                    return
            await asyncio.sleep(0.01)


async def test_what_is_in_flight_is_aborted_when_the_drain_time_is_over(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    """The whole stop is bounded, so that kubelet need not kill."""
    sandbox.fault(USERS, hold=True)
    async with serving(sandbox, drain_seconds="0.5") as sidecar:
        request = asyncio.create_task(client.get(sidecar.proxy + USERS))
        await eventually(lambda: sandbox.seen(USERS))
        sidecar.command.send(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientError):
            await request
        ended = await sidecar.command.ended(seconds=5)

    assert ended.status == 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda one: one.name)
async def test_a_second_signal_exits_at_once(
    sandbox: Sandbox, client: aiohttp.ClientSession, number: signal.Signals
) -> None:
    """Who is in a hurry need not wait for the drain."""
    sandbox.fault(USERS, hold=True)
    async with serving(sandbox, drain_seconds="60") as sidecar:
        request = asyncio.create_task(client.get(sidecar.proxy + USERS))
        await eventually(lambda: sandbox.seen(USERS))
        sidecar.command.send(number)
        await sidecar.command.says('"event":"draining"')
        sidecar.command.send(number)
        ended = await sidecar.command.ended(seconds=5)
        with pytest.raises(aiohttp.ClientError):
            await request

    assert ended.status == 128 + number


@pytest.mark.parametrize("listener", ["listen", "ops_listen"])
async def test_a_taken_address_is_a_wrong_configuration(sandbox: Sandbox, listener: str) -> None:
    """One line names the setting and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = await run("serve", env=settings(sandbox, **{listener: address}))

    assert ended.status == 2
    assert ended.err.startswith(f"wxproxy: {listener}: cannot listen on {address}")
    assert ended.err.count("\n") == 1


async def test_no_secret_or_token_is_shown_at_the_most_talkative_level(
    sandbox: Sandbox, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Logs go to people who may see neither, whatever goes wrong."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    more = {"secret": "", "secret_file": str(secret), "log_level": "debug"}
    stand_in = placeholder(Kind.OFFICIAL, APPID, APPID)
    tokens = set()
    async with serving(sandbox, **more, reply_head_seconds="0.5") as sidecar:
        for upset in (
            lambda: None,
            lambda: sandbox.fault(USERS, errcode=-1),
            lambda: sandbox.revoke(APPID),
            lambda: sandbox.fault(USERS, drop="mid_body"),
            lambda: sandbox.fault(USERS, hold=True),
            lambda: sandbox.fault(STABLE, errcode=40164),
            lambda: sandbox.revoke(APPID),
        ):
            tokens.add(sandbox.token(APPID))
            upset()
            await probe_through(client, sidecar, stand_in)
        sidecar.command.send(signal.SIGTERM)
        ended = await sidecar.command.ended(seconds=5)

    shown = ended.out + ended.err
    tokens.discard("")
    assert len(tokens) >= 2
    assert {one for one in (SECRET, stand_in, *tokens) if one in shown} == set()


async def probe_through(client: aiohttp.ClientSession, sidecar: Serving, token: str) -> None:
    """Make a call whose outcome does not matter."""
    try:
        async with client.get(f"{sidecar.proxy}{USERS}?access_token={token}") as reply:
            await reply.read()
    except aiohttp.ClientError:
        pass
