"""Programs that mean WeChat reach the sidecar by one line, whatever their HTTP library."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
from yarl import URL

from tests.conftest import SidecarFactory
from tests.upstreams import ScriptedUpstream
from wxproxy import clients
from wxproxy.clients import aiohttp as for_aiohttp
from wxproxy.clients import httpx as for_httpx
from wxproxy.clients import requests as for_requests
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import AGENT, AGENT_SECRET, APPID, CORPID, SECRET
from wxproxy.targets import WECHAT_HOSTS

Get = Callable[[str, str], Awaitable[tuple[str, bytes]]]
"""Installs for a base URL, gets a URL, and gives the URL that the response says it is from."""


async def by_requests(base: str, url: str) -> tuple[str, bytes]:
    with requests.Session() as session:
        for_requests.install(session, base)
        response = await asyncio.to_thread(session.get, url)
        assert response.request.url == response.url
        return response.url, response.content


async def by_requests_globally(base: str, url: str) -> tuple[str, bytes]:
    undo = for_requests.install_globally(base)
    try:
        response = await asyncio.to_thread(requests.get, url)
    finally:
        undo()
    return response.url, response.content


async def by_httpx(base: str, url: str) -> tuple[str, bytes]:
    with httpx.Client() as client:
        for_httpx.install(client, base)
        response = await asyncio.to_thread(client.get, url)
        assert response.request.url == response.url
        return str(response.url), response.content


async def by_async_httpx(base: str, url: str) -> tuple[str, bytes]:
    async with httpx.AsyncClient() as client:
        for_httpx.install(client, base)
        response = await client.get(url)
        return str(response.url), response.content


async def by_aiohttp(base: str, url: str) -> tuple[str, bytes]:
    async with aiohttp.ClientSession(trust_env=True) as session:
        for_aiohttp.install(session, base)
        async with session.get(URL(url, encoded=True)) as response:
            return str(response.url), await response.read()


every_library = pytest.mark.parametrize(
    "get",
    [by_requests, by_requests_globally, by_httpx, by_async_httpx, by_aiohttp],
    ids=lambda get: get.__name__.removeprefix("by_"),
)


@every_library
@pytest.mark.parametrize("prefix", ["", "/@shop"], ids=["plain", "prefix"])
@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_call_to_wechat_goes_to_the_sidecar(
    scripted: ScriptedUpstream, get: Get, scheme: str, prefix: str
) -> None:
    """Its path and query arrive byte for byte behind the address's own path, its host as Host."""
    url = f"{scheme}://api.weixin.qq.com/wxa/x?a=%2F%3D&b=1+2&access_token=x"
    told, body = await get(scripted.url + prefix, url)

    (received,) = scripted.requests
    assert received.target == f"{prefix}/wxa/x?a=%2F%3D&b=1+2&access_token=x"
    assert received.header(b"Host") == b"api.weixin.qq.com"
    assert told == url
    assert body == b'{"errcode":0,"errmsg":"ok"}'


@every_library
async def test_a_proxy_of_the_environment_is_not_used(
    scripted: ScriptedUpstream, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sidecar is next door; a proxy would look for its address on its own machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    await get(scripted.url, "https://qyapi.weixin.qq.com/cgi-bin/user/get")

    assert [one.target for one in scripted.requests] == ["/cgi-bin/user/get"]


@every_library
@pytest.mark.parametrize("path", ["/", "/api.weixin.qq.com/x"])
async def test_other_calls_are_left_alone(scripted: ScriptedUpstream, get: Get, path: str) -> None:
    """Payments, pictures and everything else go where they went."""
    told, _ = await get("http://127.0.0.1:9/@shop", scripted.url + path)

    (received,) = scripted.requests
    assert received.target == path
    assert received.header(b"Host") == scripted.url.removeprefix("http://").encode()
    assert told == scripted.url + path


@every_library
async def test_each_platforms_host_gets_its_own_account(
    start: SidecarFactory, sandbox: Sandbox, tmp_path: Path, get: Get
) -> None:
    """Without any token sent, official and WeCom calls are told apart by their host."""
    config = tmp_path / "wx.toml"
    config.write_text(
        f'[[accounts]]\nname = "shop"\nappid = "{APPID}"\nsecret = "{SECRET}"\ndefault = true\n'
        f'upstream = "{sandbox.url}"\n[[accounts]]\nname = "desk"\nkind = "wecom"\n'
        f'appid = "{CORPID}"\nsecret = "{AGENT_SECRET}"\nupstream = "{sandbox.url}"\n'
    )
    sidecar = await start("", config=config)
    for host in ("api.weixin.qq.com", "qyapi.weixin.qq.com"):
        await get(sidecar.url, f"https://{host}/cgi-bin/getcallbackip")

    assert [seen.token for seen in sandbox.seen("/cgi-bin/getcallbackip")] == [
        sandbox.token(APPID),
        sandbox.token(CORPID, family="gettoken", agent=AGENT),
    ]


def test_every_host_of_wechats_is_known_on_both_sides() -> None:
    """A call to any access point that the sidecar takes goes to it."""
    assert set(clients.WECHAT_HOSTS) == set(WECHAT_HOSTS)


def test_what_installs_globally_can_be_taken_back() -> None:
    """Tests of an application leave nothing behind."""
    before = requests.Session.get_adapter
    for_requests.install_globally("http://127.0.0.1:5780")()

    assert requests.Session.get_adapter is before


def test_a_session_can_still_be_pickled() -> None:
    """requests promises it of its sessions, and task queues rely on it."""
    session = requests.Session()
    for_requests.install(session, "http://127.0.0.1:5780/@shop/")
    again = pickle.loads(pickle.dumps(session))

    adapter = again.get_adapter("https://api.weixin.qq.com/")
    assert isinstance(adapter, for_requests.SidecarAdapter)
    assert adapter._base == "http://127.0.0.1:5780/@shop"


@pytest.mark.parametrize(
    "base",
    [
        "127.0.0.1:5780",
        "unix:/run/wxproxy.sock",
        "http://",
        "http://127.0.0.1:5780/?a=1",
        "http://user@127.0.0.1:5780",
        "",
    ],
)
def test_a_base_url_that_is_none_is_refused_at_once(base: str) -> None:
    """A misspelt address is told at the start, with an example, not at the first call."""
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:5780"):
        clients.checked_base(base)


@pytest.mark.parametrize("module", [for_requests, for_httpx, for_aiohttp])
def test_what_is_no_client_is_refused(module: object) -> None:
    """The error names what was given and what is needed."""
    install = vars(module)["install"]

    with pytest.raises(TypeError, match="is needed, not a dict"):
        install({}, "http://127.0.0.1:5780")


@pytest.mark.parametrize("library", ["requests", "httpx", "aiohttp"])
def test_it_needs_only_its_own_library(library: str) -> None:
    """The package installs into an application without the server's dependencies."""
    unwanted = {"aiohttp", "cachetools", "httpx", "msgspec", "prometheus_client", "requests"}
    unwanted -= {library}
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(unwanted)!r}));"
        f"import wxproxy.clients.{library};"
        "print(*sorted(m for m in sys.modules if m.startswith('wxproxy')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    expected = ["wxproxy", "wxproxy.clients", f"wxproxy.clients.{library}"]
    assert done.stdout.split() == expected
