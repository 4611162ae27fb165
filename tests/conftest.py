"""Fixtures: the production event loop, a sandbox, and sidecars in front of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress

import aiohttp
import pytest

from tests.connect_proxy import ConnectProxy
from tests.fakes import FakeClock
from tests.harness import Sidecar, start_sidecar
from tests.tls import Authority
from tests.upstreams import ScriptedUpstream
from tests.watching import Watch
from wxproxy.sandbox import Sandbox

SidecarFactory = Callable[..., Awaitable[Sidecar]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that `serve` uses, so that flows meet its transports."""
    with suppress(ImportError):  # Windows has no uvloop
        from uvloop import new_event_loop

        return {"uvloop": new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A WeChat simulator on a free port."""
    box = Sandbox()
    await box.start()
    yield box
    await box.stop()


@pytest.fixture
def clock() -> FakeClock:
    """Time that passes when the test says so."""
    return FakeClock()


@pytest.fixture
async def timed_sandbox(clock: FakeClock) -> AsyncIterator[Sandbox]:
    """A WeChat simulator whose tokens age by ``clock``."""
    box = Sandbox(now=clock.now)
    await box.start()
    yield box
    await box.stop()


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    """An upstream whose every byte the test decides."""
    upstream = ScriptedUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def start() -> AsyncIterator[SidecarFactory]:
    """Starts sidecars: the first argument is the upstream's URL, the rest are settings.

    Each is asserted, at the end, to have left no connection, request or kept body behind.
    """
    async with AsyncExitStack() as stack:

        async def factory(upstream: str, **settings: object) -> Sidecar:
            sidecar = await start_sidecar(upstream, **settings)
            stack.push_async_callback(sidecar.stop)
            return sidecar

        yield factory


@pytest.fixture
async def sidecar(start: SidecarFactory, sandbox: Sandbox) -> Sidecar:
    """A sidecar with one stable account, in front of the sandbox."""
    return await start(sandbox.url)


@pytest.fixture
async def proxy(start: SidecarFactory, scripted: ScriptedUpstream) -> Sidecar:
    """A sidecar with one stable account, in front of the scripted upstream."""
    return await start(scripted.url)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Takes all logs, at debug level, until the end of the test."""
    watch = Watch()
    with watch.logs():
        yield watch


@pytest.fixture
async def watched(watch: Watch, start: SidecarFactory, scripted: ScriptedUpstream) -> Sidecar:
    """A sidecar that is watched, in front of the scripted upstream, with its token."""
    sidecar = await start(scripted.url, redactor=watch.redactor)
    await sidecar.app.keepers[sidecar.account].token()
    return sidecar


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that only upstream_ca_file makes trusted."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def tls_sandbox(authority: Authority) -> AsyncIterator[Sandbox]:
    """A WeChat simulator that speaks TLS."""
    box = Sandbox()
    await box.start(ssl_context=authority.server_context)
    yield box
    await box.stop()


@pytest.fixture
def trusting(start: SidecarFactory, authority: Authority) -> SidecarFactory:
    """Starts sidecars that trust the authority."""

    async def factory(upstream: str, **settings: object) -> Sidecar:
        return await start(upstream, upstream_ca_file=authority.ca_file, **settings)

    return factory


@pytest.fixture
async def way() -> AsyncIterator[ConnectProxy]:
    """An HTTP proxy on the way out, which wants credentials."""
    proxy = ConnectProxy()
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """An ordinary HTTP client that adds nothing of its own."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session
