"""``wxproxy demo`` and ``wxproxy sandbox``: each printed call works when it is pasted."""

import asyncio
import json
import re
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tests.commands import Command, Ended, run, running

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="THE PRINTED CALLS WERE NOT TRIED: curl is not installed"
)
FREE = ("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
_CALL = re.compile(r"^  ((?:printf|curl) .*)$", re.M)


async def calls(command: Command) -> list[str]:
    """The lines that the demo tells people to paste."""
    await command.says("/metrics'\n")
    return _CALL.findall(command.out)


async def paste(line: str, directory: Path) -> Ended:
    """Run a line in a shell."""
    async with running("-c", line, program=("sh",), directory=directory) as shell:
        return await shell.ended()


@needs_curl
@pytest.mark.parametrize("listeners", ["ports", "unix sockets"])
async def test_each_printed_call_works(listeners: str, tmp_path: Path) -> None:
    """A newcomer pastes them one after the other and sees what is promised."""
    flags = FREE
    if listeners == "unix sockets":
        flags = ("--listen", f"unix:{tmp_path}/proxy", "--ops-listen", f"unix:{tmp_path}/ops")
    async with running("demo", *flags) as demo:
        lines = await calls(demo)
        replies = {line: await paste(line, tmp_path) for line in lines}

    assert [line for line, reply in replies.items() if reply.status != 0] == []
    users, menu, message, media, code, revoke, again, status, metrics = replies.values()
    assert json.loads(users.out)["total"] == 3
    assert json.loads(menu.out)["errcode"] == 0
    assert json.loads(message.out)["errcode"] == 0
    assert json.loads(media.out)["type"] == "image"
    assert code.out == ""
    assert (tmp_path / "wxacode.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert json.loads(revoke.out)["count"] == 1
    assert "\nX-Wxproxy-Attempts: 2" in again.out.replace("\r", "")
    assert json.loads(status.out)["accounts"][0]["state"] == "fresh"
    assert "\nwxproxy_retries_total{" in metrics.out


async def test_the_demo_needs_no_credentials_and_takes_none() -> None:
    """An account of the environment is never called by accident."""
    account = {"WXPROXY_APPID": "wx0123456789abcdef", "WXPROXY_SECRET": "a-real-secret"}
    async with running("demo", *FREE, env=account) as demo:
        await calls(demo)
        demo.send(signal.SIGINT)
        ended = await demo.ended(seconds=5)

    assert ended.status == 0
    assert "wx0123456789abcdef" not in ended.out + ended.err


async def test_the_demo_takes_other_settings_of_the_environment() -> None:
    """A container sets its listeners that way."""
    env = {"WXPROXY_LISTEN": "127.0.0.1:0", "WXPROXY_OPS_LISTEN": "127.0.0.1:0"}
    async with running("demo", env={**env, "WXPROXY_LOG_LEVEL": "error"}) as demo:
        assert len(await calls(demo)) == 9
        assert demo.err == ""


@pytest.mark.parametrize("flag", ["--listen", "--ops-listen"])
async def test_a_taken_port_is_told_with_the_flag_that_chooses_another(flag: str) -> None:
    """Whoever has a sidecar running already learns what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = await run("demo", *FREE, flag, address)

    assert ended.status == 2
    assert f"cannot listen on {address}" in ended.err
    assert flag in ended.err


async def test_a_wrong_flag_of_the_demo_is_a_usage_error() -> None:
    """The simulated WeChat that has begun by then ends with it."""
    ended = await run("demo", "--listen", "nowhere")

    assert ended.status == 2
    assert ended.err.startswith("wxproxy: --listen (flag): expected host:port")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
async def test_the_sandbox_runs_alone_until_a_signal(number: signal.Signals) -> None:
    """An application's own integration tests start and stop it."""
    async with running("sandbox", "--listen", "127.0.0.1:0") as sandbox:
        url = await sandbox.says(r"listens on http://127\.0\.0\.1:(\d+)")
        _, writer = await asyncio.open_connection("127.0.0.1", int(url[1]))
        writer.close()
        sandbox.send(number)
        ended = await sandbox.ended(seconds=5)

    assert (ended.status, ended.err) == (0, "")


async def test_the_sandbox_says_that_its_port_is_taken() -> None:
    """One line, and the status of a wrong configuration."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = await run("sandbox", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")

    assert ended.status == 2
    assert ended.err.startswith("wxproxy: --listen: cannot listen there: ")
    assert ended.err.count("\n") == 1
