"""The running program behaves as the manifests count on: start gate, termination."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import run
from tests.deploy.files import only, rendered, sidecar
from tests.deploy.pod import configuration, probed, started
from tests.harness import APPID, SECRET
from wxproxy.sandbox import Sandbox
from wxproxy.settings import Settings

# make deploy-check waits as long as a pod would; make test a tenth of it.
STARTUP_WAIT_S = Settings().startup_wait_seconds / (1 if "DEPLOY_CHECK" in os.environ else 10)
GATE_S = 25.0


@pytest.fixture
def silent() -> Iterator[str]:
    """A WeChat that swallows packets: SYNs to a full backlog are dropped."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
            fillers.append(filler)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for filler in fillers:
            filler.close()


async def test_the_start_gate_opens_though_the_token_endpoint_is_silent(
    silent: str, tmp_path: Path
) -> None:
    """Probed as the manifest says, /startupz opens no later than 25 s less what was cut short."""
    probe = sidecar(only(rendered("native-sidecar"), "Deployment"))["startupProbe"]
    config = configuration(tmp_path, upstream=silent, accounts=[("shop", APPID, SECRET)])
    statuses = []
    began = time.monotonic()

    async with started(
        config, overlay="native-sidecar", startup_wait_seconds=STARTUP_WAIT_S
    ) as pod:
        url = pod.ops + probe["httpGet"]["path"]
        while (status := await probed(url, timeout_s=probe["timeoutSeconds"])) != 200:
            statuses.append(status)
            assert len(statuses) < probe["failureThreshold"]
            await asyncio.sleep(probe["periodSeconds"])
        took = time.monotonic() - began

        assert statuses, "it did not wait at all"
        assert set(statuses) == {503}
        assert STARTUP_WAIT_S <= took <= GATE_S - Settings().startup_wait_seconds + STARTUP_WAIT_S
        assert await probed(pod.ops + "/readyz", timeout_s=5) == 200


async def test_the_classic_containers_hook_ends_with_the_start(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """postStart returns 0 once the sidecar has its token, which lets the application start."""
    hook = sidecar(only(rendered("classic-sidecar"), "Deployment"))["lifecycle"]["postStart"]
    program, *arguments = hook["exec"]["command"]
    config = configuration(tmp_path, upstream=sandbox.url, accounts=[("shop", APPID, SECRET)])

    async with started(config, overlay="classic-sidecar") as pod:
        ops = pod.ops.removeprefix("http://")
        ended = await run(*arguments, env={"WXPROXY_OPS_LISTEN": ops})

    assert program == "wxproxy"
    assert (ended.status, ended.err) == (0, "")


async def test_an_idle_sidecar_lets_its_job_end_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    """When the main container has ended kubelet sends SIGTERM: exit 0 within a second."""
    config = configuration(tmp_path, upstream=sandbox.url, accounts=[("shop", APPID, SECRET)])

    async with started(config, overlay="native-sidecar") as pod:
        assert await probed(pod.proxy + "/cgi-bin/user/get", timeout_s=5) == 200
        pod.command.send(signal.SIGTERM)
        ended = await pod.command.ended(seconds=1.0)

    assert ended.status == 0


async def test_a_start_that_cannot_succeed_can_be_stopped(silent: str, tmp_path: Path) -> None:
    """SIGTERM ends a sidecar within a second though its first fetch is in flight."""
    config = configuration(tmp_path, upstream=silent, accounts=[("shop", APPID, SECRET)])

    async with started(config, overlay="native-sidecar") as pod:
        pod.command.send(signal.SIGTERM)
        ended = await pod.command.ended(seconds=1.0)

    assert ended.status == 0


async def test_a_classic_sidecar_serves_on_while_the_application_stops(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Told to stop together with the application, it takes calls till its delay is over."""
    config = configuration(tmp_path, upstream=sandbox.url, accounts=[("shop", APPID, SECRET)])

    async with started(config, overlay="classic-sidecar", shutdown_delay_seconds=2) as pod:
        pod.command.send(signal.SIGTERM)
        await pod.command.says('"event":"draining"')
        assert await probed(pod.ops + "/readyz", timeout_s=5) == 503
        assert await probed(pod.proxy + "/cgi-bin/user/get", timeout_s=5) == 200
        ended = await pod.command.ended(seconds=5)

    assert ended.status == 0
