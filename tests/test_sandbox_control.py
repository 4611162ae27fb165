"""The simulator's control route, and the simulator as a program."""

import argparse
import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.sandbox_client import Client
from wxproxy.sandbox import Sandbox, add_arguments, serve
from wxproxy.sandbox.knobs import APPID, CORPID


@pytest.fixture
async def wechat() -> AsyncIterator[Client]:
    """A sandbox and a client of it."""
    sandbox = Sandbox()
    await sandbox.start()
    async with aiohttp.ClientSession() as session:
        yield Client(sandbox, session)
    await sandbox.stop()


async def test_every_command_works_without_a_token(wechat: Client) -> None:
    """Each knob can be turned by HTTP."""
    old = await wechat.token()
    run = wechat.json

    assert await run("/_sandbox/revoke", {"appid": APPID}) == {"ok": True, "count": 1}
    assert await wechat.verdict(old) == 40001
    await run("/_sandbox/life", {"appid": APPID, "seconds": 600})
    assert (await wechat.stable())["expires_in"] == 600
    await run("/_sandbox/expire", {"appid": APPID, "seconds": 300.5, "family": "stable"})
    assert (await wechat.stable())["expires_in"] == 300
    await run("/_sandbox/advance", {"seconds": 299})
    assert (await wechat.stable())["expires_in"] == 600
    await run("/_sandbox/quota", {"appid": APPID, "per_day": 0})
    assert (await wechat.classic())["errcode"] == 45009
    await run("/_sandbox/new_each_time", {"appid": CORPID, "on": True})
    assert await wechat.gettoken() != await wechat.gettoken()
    await run("/_sandbox/apps", {"appid": "wxmine", "secret": "s"})
    assert "access_token" in await wechat.classic(appid="wxmine", secret="s")
    await run("/_sandbox/reset", b"")
    assert (await wechat.stable())["expires_in"] == 7200


async def test_faults_by_http(wechat: Client) -> None:
    """Faults are added, listed and dropped, odd bytes included."""
    fault = {"path": "/cgi-bin", "errcode": 45009, "times": None, "prefix": "\udcff"}
    await wechat.json("/_sandbox/faults", fault)
    listed = await wechat.json("/_sandbox/faults")

    assert fault == {name: listed[0][name] for name in fault}
    assert (await wechat.call("/cgi-bin/user/get"))[2].startswith(b'\xff{"errcode":45009')
    await wechat.json("/_sandbox/faults", method="DELETE")
    assert await wechat.json("/_sandbox/faults") == []


async def test_calls_and_stats_by_http(wechat: Client) -> None:
    """What the sandbox saw can be read; its own control calls are not in it."""
    await wechat.classic()
    await wechat.call("/cgi-bin/menu/create?access_token=2", b"\xff")
    calls = await wechat.json("/_sandbox/calls")
    stats = await wechat.json("/_sandbox/stats")

    assert [call["method"] for call in calls] == ["GET", "POST"]
    assert (calls[1]["tokens"], calls[1]["body_length"], calls[1]["errcode"]) == (["2"], 1, 40001)
    expected = {"/cgi-bin/token": {"fetches": 1, "forced": 0}}
    assert expected == stats["token_calls"][APPID]
    assert stats["path_calls"]["/cgi-bin/menu/create"] == 1


@pytest.mark.parametrize(
    ("method", "name", "body", "status", "text"),
    [
        ("POST", "revoke", {"appid": "wxnobody"}, 400, "no app wxnobody"),
        ("POST", "revoke", {}, 400, "missing required field `appid`"),
        ("POST", "revoke", {"appid": APPID, "famly": "x"}, 400, "unknown field `famly`"),
        ("POST", "revoke", {"appid": APPID, "family": "x"}, 400, "Invalid enum value 'x'"),
        ("POST", "revoke", b"{", 400, "Expecting"),
        ("POST", "apps", {"appid": APPID, "secret": "s", "kind": "wecom"}, 400, "of kind official"),
        ("POST", "faults", {"times": 0}, 400, "times is at least 1"),
        ("POST", "faults", [], 400, "Expected `object`"),
        ("POST", "nothing", {}, 404, "there are: GET stats"),
        ("GET", "revoke", None, 404, "there are: GET stats"),
        ("DELETE", "calls", None, 404, "there are: GET stats"),
    ],
)
async def test_wrong_control_calls_are_explained(
    wechat: Client, method: str, name: str, body: Any, status: int, text: str
) -> None:
    """A wrong control call says what is wrong with it."""
    got, _, reply = await wechat.call(f"/_sandbox/{name}", body, method=method)

    assert status == got
    assert text in json.loads(reply)["error"]


async def test_stop_and_start_keep_what_was_issued(wechat: Client) -> None:
    """A sandbox that comes back on its old port remembers its tokens, as after an outage."""
    token, url = await wechat.token(), wechat.sandbox.url
    await wechat.sandbox.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await wechat.token()
    await wechat.sandbox.start(port=int(url.rpartition(":")[2]))

    assert url == wechat.sandbox.url
    assert token == await wechat.token()


async def test_a_taken_port_is_an_error_that_leaves_nothing_open(wechat: Client) -> None:
    """Starting on a port in use raises OSError, and the sandbox can start elsewhere."""
    other = Sandbox()
    with pytest.raises(OSError, match="in use"):
        await other.start(port=int(wechat.sandbox.url.rpartition(":")[2]))
    await other.stop()
    await other.start()

    assert wechat.sandbox.url != other.url
    await other.stop()


async def test_ipv6_urls_have_brackets() -> None:
    """The base URL of an IPv6 address can be used as it is."""
    sandbox = Sandbox()
    try:
        url = await sandbox.start("::1")
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")

    assert url.startswith("http://[::1]:")
    await sandbox.stop()


async def test_tls_makes_the_url_https() -> None:
    """With a TLS context the base URL says https."""
    sandbox = Sandbox()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert (await sandbox.start(ssl_context=context)).startswith("https://127.0.0.1:")
    await sandbox.stop()


def _arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


async def test_the_program_prints_how_to_use_it_and_stops(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """serve prints address, credentials and calls, and ends when its event is set."""
    stop = asyncio.Event()
    stop.set()
    await serve(_arguments("--listen", "127.0.0.1:0"), stop)
    printed = capsys.readouterr().out

    assert "simulated WeChat listens on http://127.0.0.1:" in printed
    assert all(word in printed for word in (APPID, CORPID, "/_sandbox/stats", "curl"))


async def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """With --quiet nothing is printed."""
    stop = asyncio.Event()
    stop.set()
    await serve(_arguments("--listen", "127.0.0.1:0", "--quiet"), stop)

    assert capsys.readouterr().out == ""


async def test_cancelling_the_program_closes_its_port() -> None:
    """A cancelled serve lets go of its address before it ends."""
    probe = Sandbox()
    port = (await probe.start()).rpartition(":")[2]
    await probe.stop()
    arguments = _arguments("--listen", f"127.0.0.1:{port}", "--quiet")
    task = asyncio.create_task(serve(arguments, asyncio.Event()))
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", int(port))
            except ConnectionError:
                await asyncio.sleep(0.005)
            else:
                break
    writer.close()
    await writer.wait_closed()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", int(port))


@pytest.mark.parametrize("listen", ["5790", ":5790", "h:x", "h:70000"])
def test_bad_addresses_are_usage_errors(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A --listen that is no address exits with status 2 and says what was expected."""
    with pytest.raises(SystemExit) as ended:
        _arguments("--listen", listen)

    assert ended.value.code == 2
    assert "expected host:port" in capsys.readouterr().err


def test_the_default_address() -> None:
    """Without flags the program listens on 127.0.0.1:5790; brackets of IPv6 are taken off."""
    assert _arguments().listen == ("127.0.0.1", 5790)
    assert _arguments("--listen", "[::1]:1").listen == ("::1", 1)
