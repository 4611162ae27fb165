"""``wxproxy status`` and ``wxproxy wait`` against an ops listener with fake keepers."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from tests.commands import run, running
from tests.harness import eventually
from tests.ops_fakes import Result, Status, empty, make_metrics
from wxproxy.ops import OpsState, build_ops_app

REFUSED = empty(
    "refused",
    Result(
        ok=False,
        reason="errcode",
        errcode=40164,
        rid="5fa26c60-1a0ebdd5-32fd1cd0",
        refused_ip="203.0.113.8",
        cure="add the address to the whitelist",
    ),
)


class Ops:
    """An ops listener whose state and keepers a test sets.

    Attributes:
        url: where it listens.
        looks: how often a probe or a command looked at the keepers.
    """

    def __init__(self) -> None:
        self.state = OpsState(started=True, startup_settled=True)
        self.statuses: Sequence[Status] = [Status()]
        self.url = ""
        self.looks = 0
        self._runner = web.AppRunner(
            build_ops_app(
                state=self.state,
                metrics=make_metrics(),
                statuses=self._look,
                about={"version": "9.9"},
            )
        )

    def _look(self) -> Sequence[Status]:
        self.looks += 1
        return self.statuses

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def listen_on(self, path: Path) -> None:
        await web.UnixSite(self._runner, str(path)).start()

    async def stop(self) -> None:
        await self._runner.cleanup()


@pytest.fixture
async def ops() -> AsyncIterator[Ops]:
    """A running ops listener, one account served."""
    listener = Ops()
    await listener.start()
    yield listener
    await listener.stop()


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_status_is_0_and_a_table_when_every_account_is_served(ops: Ops) -> None:
    """People see each account's token, life and next refresh."""
    ended = await run("status", "--ops", ops.url)

    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("wxproxy 9.9: running for ")
    assert lines[0].endswith("1 of 1 accounts have a valid token")
    assert lines[3].split() == [
        "shop",
        "official",
        "stable",
        "fresh",
        "0a1b2c3d",
        "1h59m",
        "1h56m",
        "ok",
    ]


async def test_status_is_1_and_tells_the_cure_when_an_account_has_no_token(ops: Ops) -> None:
    """A refusal comes with errcode, refused IP, rid and what to do."""
    ops.statuses = [Status(), REFUSED]

    ended = await run("status", "--ops", ops.url)

    assert ended.status == 1
    assert ended.out.splitlines()[-1] == (
        "refused: errcode 40164, refused IP 203.0.113.8, rid 5fa26c60-1a0ebdd5-32fd1cd0. "
        "add the address to the whitelist"
    )


async def test_status_tells_what_to_look_at_while_every_account_is_served(ops: Ops) -> None:
    """Another program that keeps killing a token is told of before it does harm."""
    ops.statuses = [Status(contested="stop the other program")]

    ended = await run("status", "--ops", ops.url)

    assert ended.status == 0
    assert ended.out.splitlines()[-2:] == ["", "shop: stop the other program"]


@pytest.mark.parametrize("state", ["empty", "expired"])
async def test_status_is_1_for_a_token_that_cannot_be_used(ops: Ops, state: str) -> None:
    """A token past its expiry counts as none."""
    ops.statuses = [Status(state=state)]

    assert (await run("status", "--ops", ops.url)).status == 1


async def test_status_keeps_the_terminal_safe_from_what_wechat_sent(ops: Ops) -> None:
    """Control characters of a reply reach no terminal."""
    ops.statuses = [empty("a", Result(ok=False, errcode=1, rid="\x1b[2J", cure="wait\x07"))]

    ended = await run("status", "--ops", ops.url)

    assert not {"\x1b", "\x07"} & set(ended.out)


async def test_status_json_prints_the_document(ops: Ops) -> None:
    """Scripts get the sidecar's own JSON."""
    ended = await run("status", "--json", "--ops", ops.url)

    document = json.loads(ended.out)
    assert [account["name"] for account in document["accounts"]] == ["shop"]


async def test_status_asks_where_the_environment_says_the_sidecar_listens(ops: Ops) -> None:
    """A listener on every interface is asked on loopback, so a container needs no flag."""
    port = ops.url.rpartition(":")[2]

    ended = await run("status", env={"WXPROXY_OPS_LISTEN": f":{port}"})

    assert ended.status == 0


async def test_status_asks_a_unix_socket(ops: Ops, tmp_path: Path) -> None:
    """An ops listener on a unix socket can be asked too."""
    await ops.listen_on(tmp_path / "ops")

    ended = await run("status", "--ops", f"unix:{tmp_path / 'ops'}")

    assert ended.status == 0


async def test_status_says_in_one_line_that_nobody_listens(free_port: int) -> None:
    """An absent sidecar is a failure, not a traceback."""
    ended = await run("status", "--ops", f"127.0.0.1:{free_port}")

    assert (ended.status, ended.out) == (1, "")
    assert ended.err == (
        f"wxproxy: no sidecar can be reached on 127.0.0.1:{free_port}: Connection refused\n"
    )


async def test_status_says_in_one_line_that_another_program_listens() -> None:
    """Somebody else's JSON is not taken for a status."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    at = f"127.0.0.1:{runner.addresses[0][1]}"

    ended = await run("status", "--ops", at)

    await runner.cleanup()
    assert ended.err == f"wxproxy: what answers on {at} is not the ops listener of a sidecar\n"
    assert ended.status == 1


@pytest.mark.parametrize("command", ["status", "wait"])
async def test_an_address_that_is_none_is_a_usage_error(command: str) -> None:
    """The message names the flag, or the variable, and what was expected."""
    by_flag = await run(command, "--ops", "nowhere")
    by_variable = await run(command, env={"WXPROXY_OPS_LISTEN": "nowhere"})

    assert [by_flag.status, by_variable.status] == [2, 2]
    assert by_flag.err.startswith("wxproxy: --ops: expected host:port")
    assert by_variable.err.startswith("wxproxy: WXPROXY_OPS_LISTEN (environment): expected")


async def test_wait_ends_when_the_sidecar_has_started(ops: Ops) -> None:
    """A start script goes on once the tokens are there, and not before."""
    ops.state.startup_settled = False

    async with running("wait", "--ops", ops.url) as command:
        await eventually(lambda: ops.looks >= 2, seconds=20)
        ops.state.startup_settled = True
        ended = await command.ended()

    assert (ended.status, ended.out, ended.err) == (0, "", "")


async def test_wait_gives_up_after_its_timeout_and_says_what_was_missing(ops: Ops) -> None:
    """The reason is the sidecar's own."""
    ops.state.startup_settled = False
    ops.statuses = [empty("shop")]

    ended = await run("wait", "--timeout", "0.3", "--ops", ops.url)

    assert ended.status == 1
    assert ended.err == (
        "wxproxy: not started after 0.3 s: waiting for a token: shop (no answer yet)\n"
    )


async def test_wait_goes_on_when_nobody_answers_yet(free_port: int) -> None:
    """Nobody listening is something to wait for, too."""
    ended = await run("wait", "--timeout", "0.3", "--ops", f"127.0.0.1:{free_port}")

    assert ended.status == 1
    assert "not started after 0.3 s: no sidecar can be reached" in ended.err


async def test_wait_survives_a_listener_that_breaks_off() -> None:
    """A sidecar that is just restarting is asked again."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        if asked > 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        ended = await run("wait", "--ops", f"127.0.0.1:{port}")

    assert (ended.status, asked) == (0, 2)
