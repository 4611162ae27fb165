"""The steps of docs/migrating.md, there and back: applications that never retry fail no call.

Time is the test's own, so that every state of a move is held for longer than a token lives, and
caches run out in each.
"""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import SidecarFactory
from tests.fakes import FakeClock, fetches_ended
from tests.harness import Sidecar
from tests.wire import ask_once, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID, APPID_2, SECRET, SECRET_2

PROCESSES = 3
CALLS_AT_ONCE = 2
STEP_S = 150
LIFE_S = 7200
HELD_S = LIFE_S * 1.2
SDK_LEAD_S = 60


@dataclass
class Cache:
    """Where an SDK's processes share a token: a file, as a Redis key would be."""

    path: Path
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def read(self) -> tuple[str, float]:
        """The token, and when it is to be fetched anew."""
        if not self.path.exists():
            return "", 0.0
        token, expires_at = json.loads(self.path.read_text())
        return token, expires_at - SDK_LEAD_S

    def write(self, token: str, expires_at: float) -> None:
        self.path.write_text(json.dumps([token, expires_at]))

    def forget(self) -> None:
        self.path.unlink()


@dataclass
class Process:
    """A process with an SDK that believes its cache and retries nothing.

    Attributes:
        base: WeChat's address, or the sidecar's.
        fetches: whether the SDK fetches tokens; if not, somebody else fills the cache.
    """

    cache: Cache
    clock: FakeClock
    base: str
    fetches: bool = True

    async def call(self) -> int:
        """The errcode of one API call, 0 for none, by the token of the cache."""
        token = await self._token()
        reply = await self._ask(f"/cgi-bin/user/get?access_token={token}")
        return int(reply.get("errcode", 0))

    async def _token(self) -> str:
        async with self.cache.lock:
            token, until = self.cache.read()
            if self.fetches and self.clock.now() >= until:
                # The sidecar needs no secret; while it can be left again, the old one stays set.
                query = f"grant_type=client_credential&appid={APPID}&secret={SECRET}"
                granted = await self._ask(f"/cgi-bin/token?{query}")
                token = granted["access_token"]
                self.cache.write(token, self.clock.now() + granted["expires_in"])
            return token

    async def _ask(self, target: str) -> Any:
        host = urlsplit(self.base).netloc
        reply = await ask_once(self.base, request(target, f"Host: {host}"))
        return json.loads(reply.body)


class System:
    """An application of several processes, while it is moved about.

    Attributes:
        failed: errcodes of calls that failed, which nobody retries.
    """

    def __init__(self, sandbox: Sandbox, clock: FakeClock, folder: Path) -> None:
        self.sandbox = sandbox
        self.clock = clock
        self.cache = Cache(folder / "token.json")
        self.processes = [Process(self.cache, clock, sandbox.url) for _ in range(PROCESSES)]
        self.failed: Counter[int] = Counter()
        self.each_step: list[Any] = []

    async def run(self, seconds: float = HELD_S) -> None:
        """Let time pass under load."""
        for _ in range(int(seconds / STEP_S)):
            for act in self.each_step:
                await act()
            calls = [one.call() for one in self.processes for _ in range(CALLS_AT_ONCE)]
            self.failed.update(code for code in await asyncio.gather(*calls) if code)
            await fetches_ended()
            self.clock.advance(STEP_S)

    async def move(self, base: str) -> None:
        """Point one process after the other there, and run for a while after each."""
        for process in self.processes:
            process.base = base
            await self.run()

    def fetched(self, path: str) -> int:
        """How often WeChat was asked for a token there."""
        endpoints = self.sandbox.stats()["token_calls"].get(APPID, {})
        return int(endpoints.get(path, {"fetches": 0})["fetches"])


@pytest.fixture
async def system(timed_sandbox: Sandbox, clock: FakeClock, tmp_path: Path) -> System:
    """An application that has been running without a sidecar for a while."""
    system = System(timed_sandbox, clock, tmp_path)
    await system.run()
    return system


ACCOUNT = """
[[accounts]]
name = "{name}"
appid = "{appid}"
secret = "{secret}"
upstream = "{url}"
listen = "127.0.0.1:0"
"""


async def address(start: SidecarFactory, system: System, **settings: str) -> str:
    """Start a sidecar for the application's only account; its address."""
    sidecar: Sidecar = await start(system.sandbox.url, clock=system.clock, **settings)
    return sidecar.url


async def address_of_one(
    start: SidecarFactory, system: System, *, folder: Path, **settings: str
) -> str:
    """Start a sidecar for this account and another; the address of its own listener."""
    config = folder / "wx.toml"
    accounts = (("shop", APPID, SECRET), ("news", APPID_2, SECRET_2))
    config.write_text(
        "".join(
            ACCOUNT.format(name=name, appid=appid, secret=secret, url=system.sandbox.url)
            for name, appid, secret in accounts
        )
    )
    sidecar = await start("", clock=system.clock, config=config, **settings)
    return sidecar.app.proxy_addresses[0]


CLASSIC, STABLE = "/cgi-bin/token", "/cgi-bin/stable_token"


@pytest.mark.parametrize("several", [False, True], ids=["one_account", "own_listener"])
async def test_from_tokens_held_by_an_sdk_and_back(
    start: SidecarFactory, system: System, tmp_path: Path, several: bool
) -> None:
    """Direct, `real`, `placeholder`; `real` again, the cache emptied of stand-ins, direct."""

    async def begin(**settings: str) -> str:
        if several:
            return await address_of_one(start, system, folder=tmp_path, **settings)
        return await address(start, system, **settings)

    real = await begin(token_endpoint="real")
    placeholder = await begin(token_endpoint="placeholder")
    await system.move(real)
    await system.move(placeholder)

    assert system.failed == {}
    before = system.fetched(CLASSIC)
    stable_before, seconds = system.fetched(STABLE), 5 * LIFE_S
    await system.run(seconds)
    assert system.fetched(CLASSIC) == before, "nobody but the sidecar fetches any more"
    # Two sidecars; each life takes a fetch, and another where the first was a little early.
    assert system.fetched(STABLE) - stable_before <= 2 * 2 * (seconds / LIFE_S + 1)

    await system.move(real)
    system.cache.forget()
    await system.move(system.sandbox.url)

    assert system.failed == {}
    assert system.sandbox.token_calls(APPID).forced == 0


async def test_a_placeholder_before_all_have_moved_is_too_early(
    start: SidecarFactory, system: System
) -> None:
    """Why `real` comes first: WeChat does not know what a process outside finds in the cache."""
    system.processes[0].base = await address(start, system, token_endpoint="placeholder")
    await system.run()

    assert system.failed


async def test_a_process_back_outside_with_a_placeholder_in_the_cache_is_too_early(
    start: SidecarFactory, system: System
) -> None:
    """Why the cache is emptied on the way back: its placeholder is no token of WeChat's."""
    real = await address(start, system, token_endpoint="real")
    await system.move(await address(start, system, token_endpoint="placeholder"))
    system.failed.clear()
    for process in system.processes:
        process.base = real
    system.processes[0].base = system.sandbox.url
    await system.run(STEP_S)

    assert system.failed


class TokenServer:
    """A central server as WeChat advises: fetches every hour, and the processes only read."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._source = Process(system.cache, system.clock, system.sandbox.url)
        self._next = 0.0

    async def tick(self) -> None:
        """Fetch if an hour is over."""
        if self.system.clock.now() >= self._next:
            self._next = self.system.clock.now() + 3600
            if self.system.cache.path.exists():
                self.system.cache.forget()
            await self._source.call()


@pytest.fixture
async def served(timed_sandbox: Sandbox, clock: FakeClock, tmp_path: Path) -> System:
    """An application whose tokens come from a server of its own."""
    system = System(timed_sandbox, clock, tmp_path)
    for process in system.processes:
        process.fetches = False
    system.each_step.append(TokenServer(system).tick)
    await system.run()
    return system


async def test_from_an_own_token_server_and_back(start: SidecarFactory, served: System) -> None:
    """Processes move with the server's token in hand; last, the server stops. Back: it starts."""
    await served.move(await address(start, served))
    served.each_step.clear()
    before = served.fetched(CLASSIC)
    await served.run(3 * LIFE_S)

    assert served.failed == {}
    assert served.fetched(CLASSIC) == before

    served.each_step.append(TokenServer(served).tick)
    await served.run(STEP_S)
    await served.move(served.sandbox.url)

    assert served.failed == {}


async def test_a_token_server_can_hand_out_the_sidecars_token(
    start: SidecarFactory, served: System
) -> None:
    """For programs that cannot go through the sidecar: the server copies, and fetches no more."""
    base = await address(start, served, expose_token="true")

    async def copy() -> None:
        reply = await ask_once(base, request("/_wxproxy/token"))
        granted = json.loads(reply.body)
        served.cache.write(granted["access_token"], served.clock.now() + granted["expires_in"])

    served.each_step[:] = [copy]
    before = served.fetched(CLASSIC)
    await served.run(3 * LIFE_S)

    assert served.failed == {}
    assert served.fetched(CLASSIC) == before


@pytest.mark.parametrize("mode", ["placeholder", "real"])
async def test_from_a_classic_sidecar_to_a_stable_one_and_back(
    start: SidecarFactory, system: System, mode: str
) -> None:
    """The two live apart: neither's fetches end the other's tokens, whatever lies in the cache."""
    classic = await address(start, system, token_endpoint=mode, token_api="classic")
    for process in system.processes:
        process.base = classic
    await system.run()
    await system.move(await address(start, system, token_endpoint=mode))
    await system.move(classic)

    assert system.failed == {}


async def test_a_system_that_uses_stable_already_may_go_on_beside(
    start: SidecarFactory, system: System
) -> None:
    """WeChat gives both the same token, and neither fetch ends the other's."""
    base = await address(start, system, force_refresh="never")
    body = json.dumps(
        {"grant_type": "client_credential", "appid": APPID, "secret": SECRET}
    ).encode()

    async def fetch() -> None:
        asked = request(STABLE, method="POST", body=body)
        granted = json.loads((await ask_once(system.sandbox.url, asked)).body)
        system.cache.write(granted["access_token"], system.clock.now() + granted["expires_in"])

    for process in system.processes:
        process.fetches = False
    system.each_step.append(fetch)
    await system.run()
    await system.move(base)
    await system.move(system.sandbox.url)

    assert system.failed == {}
