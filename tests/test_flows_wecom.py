"""WeCom beside an official account: agents of one corp, refetches, pass paths, strangers."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SidecarFactory
from tests.fakes import FakeClock, fetches_ended
from tests.harness import Sidecar, eventually
from tests.wire import ask_once, metric, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import (
    AGENT,
    AGENT_2,
    AGENT_SECRET,
    AGENT_SECRET_2,
    APPID,
    APPID_2,
    CORPID,
    SECRET,
)
from wxproxy.sandbox.wecom import WEBHOOK_KEY

MEMBER = "/cgi-bin/user/get?userid=zhang"
STRANGER = "84_" + "token-of-another-system" * 4

CORP = f"""
[[accounts]]
name = "shop"
appid = "{APPID}"
secret = "{SECRET}"
upstream = "URL"
default = true

[[accounts]]
name = "sales"
appid = "{CORPID}"
secret = "{AGENT_SECRET}"
kind = "wecom"
upstream = "URL"

[[accounts]]
name = "chat"
appid = "{CORPID}"
secret = "{AGENT_SECRET_2}"
kind = "wecom"
upstream = "URL"
"""


@pytest.fixture
async def corp(start: SidecarFactory, sandbox: Sandbox, tmp_path: Path) -> Sidecar:
    """An official account and two agents of one corp behind one listener."""
    config = tmp_path / "wx.toml"
    config.write_text(CORP.replace("URL", sandbox.url))
    sidecar = await start("", config=config)
    await eventually(lambda: sandbox.token_calls(CORPID).fetches == 2)
    sandbox.calls.clear()
    return sidecar


async def ask(sidecar: Sidecar, target: str, data: object = None, *headers: str) -> Any:
    """The reply's JSON; data is posted."""
    if data is None:
        return json.loads((await ask_once(sidecar.url, request(target, *headers))).body)
    body = json.dumps(data).encode()
    sent = request(target, *headers, method="POST", body=body)
    return json.loads((await ask_once(sidecar.url, sent)).body)


async def stand_in(sidecar: Sidecar, secret: str) -> str:
    """What an SDK gets for an agent's secret."""
    answer = await ask(sidecar, f"/cgi-bin/gettoken?corpid={CORPID}&corpsecret={secret}")
    return str(answer["access_token"])


async def test_each_agent_acts_as_itself(corp: Sidecar, sandbox: Sandbox) -> None:
    """A message goes out with its own agent's token; with another's WeCom would say 301002."""
    agents = {AGENT: AGENT_SECRET, AGENT_2: AGENT_SECRET_2}
    tokens = {agent: await stand_in(corp, secret) for agent, secret in agents.items()}
    sends = [
        ask(corp, f"/cgi-bin/message/send?access_token={token}", {"agentid": agent})
        for agent, token in tokens.items()
        for _ in range(10)
    ]

    assert {reply["errcode"] for reply in await asyncio.gather(*sends)} == {0}
    assert len(sandbox.seen("/cgi-bin/message/send")) == 20


async def test_one_agents_dead_token_is_no_concern_of_the_other(
    corp: Sidecar, sandbox: Sandbox
) -> None:
    """Agents share a corpid and nothing else: one is fetched for, the other goes on."""
    living = sandbox.token(CORPID, family="gettoken", agent=AGENT_2)
    dead = sandbox.token(CORPID, family="gettoken", agent=AGENT)
    sandbox.revoke(CORPID, token=dead)
    before = sandbox.token_calls(CORPID).fetches
    for name in ("sales", "chat"):
        assert (await ask(corp, MEMBER, None, f"X-Wxproxy-Account: {name}"))["errcode"] == 0

    tokens = [seen.token for seen in sandbox.seen("/cgi-bin/user/get")]
    assert tokens[0] == dead
    assert tokens[1] not in (dead, living)
    assert tokens[2:] == [living]
    assert sandbox.token_calls(CORPID).fetches == before + 1


async def test_a_corpid_alone_does_not_say_which_agent(corp: Sidecar, sandbox: Sandbox) -> None:
    """Nobody's agent is guessed."""
    reply = await ask_once(corp.url, request(MEMBER, f"X-Wxproxy-Account: {CORPID}"))

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (404, "unknown_account")
    assert sandbox.seen("/") == []


async def test_a_refetch_that_gives_the_dead_token_again_lets_the_error_pass(
    corp: Sidecar, sandbox: Sandbox
) -> None:
    """WeCom repeats a token until its expiry: there is no other, and nothing can be forced."""
    sandbox.revoke(CORPID, insist=True)
    before = sandbox.token_calls(CORPID).fetches
    reply = await ask(corp, MEMBER, None, "X-Wxproxy-Account: sales")

    assert reply["errcode"] == 40014
    assert len(sandbox.seen("/cgi-bin/user/get")) == 1
    assert sandbox.token_calls(CORPID).fetches == before + 1
    assert sandbox.seen("/cgi-bin/openapi/quota/get") == []
    assert await metric(corp, "wxproxy_retries_total", reason="40014", outcome="no_other_token")


async def test_a_refetch_that_gives_a_new_token_heals_the_call(
    corp: Sidecar, sandbox: Sandbox
) -> None:
    """Where WeCom makes a token for each fetch, a dead one costs one fetch and no failed call."""
    sandbox.set_new_each_time(CORPID, True)
    sandbox.revoke(CORPID, insist=True)
    before = sandbox.token_calls(CORPID).fetches
    reply = await ask(corp, MEMBER, None, "X-Wxproxy-Account: sales")

    assert reply["errcode"] == 0
    assert [seen.errcode for seen in sandbox.seen("/cgi-bin/user/get")] == [40014, 0]
    assert sandbox.token_calls(CORPID).fetches == before + 1


@pytest.mark.parametrize("new_each_time", [False, True], ids=["repeats", "makes_new"])
async def test_calls_go_on_over_several_lives_of_a_token(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock, new_each_time: bool
) -> None:
    """However WeCom answers a refetch, no call fails at a change, and it is asked seldom."""
    timed_sandbox.set_new_each_time(CORPID, new_each_time)
    sidecar = await start(
        timed_sandbox.url, clock=clock, kind="wecom", appid=CORPID, secret=AGENT_SECRET
    )
    for _ in range(3 * 7200 // 20):
        assert (await ask(sidecar, MEMBER))["errcode"] == 0
        await fetches_ended()
        clock.advance(20)

    # Near its end a repeated token is asked for every 30 s until there is a new one.
    assert timed_sandbox.token_calls(CORPID).fetches <= (4 if new_each_time else 40)


PASSED = {
    "webhook": (f"/cgi-bin/webhook/send?key={WEBHOOK_KEY}", {"msgtype": "text"}, 0),
    "webhook of nobody": ("/cgi-bin/webhook/send?key=none", {"msgtype": "text"}, 93000),
    "suite token": ("/cgi-bin/service/get_suite_token", {"suite_id": "s"}, None),
}


@pytest.mark.parametrize(("target", "data", "errcode"), PASSED.values(), ids=PASSED)
async def test_what_brings_a_credential_of_its_own_passes_untouched(
    corp: Sidecar, sandbox: Sandbox, target: str, data: dict[str, str], errcode: int | None
) -> None:
    """Robots and service providers have no agent's token, and get none."""
    reply = await ask(corp, target, data, "X-Wxproxy-Account: sales")

    (seen,) = sandbox.seen("/")
    assert (seen.target, json.loads(seen.body)) == (target, data)
    assert errcode is None or reply["errcode"] == errcode


async def test_a_providers_dead_token_costs_the_agent_nothing(
    corp: Sidecar, sandbox: Sandbox
) -> None:
    """A token error on a pass path speaks of somebody else's token."""
    before = sandbox.token_calls(CORPID).fetches
    sandbox.fault("/cgi-bin/service", errcode=42001)
    target = "/cgi-bin/service/get_permanent_code?suite_access_token=x"
    reply = await ask(corp, target, {}, "X-Wxproxy-Account: sales")

    assert reply["errcode"] == 42001
    assert [seen.target for seen in sandbox.seen("/")] == [target]
    assert sandbox.token_calls(CORPID).fetches == before


BAD = {
    "a token of an unknown account": (f"{MEMBER}&access_token={STRANGER}", None, 40014),
    "an appid of nobody": (
        f"/cgi-bin/token?grant_type=client_credential&appid={APPID_2}&secret=x",
        None,
        40013,
    ),
    "an appid of nobody, stable": (
        "/cgi-bin/stable_token",
        {"grant_type": "client_credential", "appid": APPID_2, "secret": "x"},
        40013,
    ),
    "a corpid of nobody": ("/cgi-bin/gettoken?corpid=ww0&corpsecret=x", None, 40013),
    "a secret of nobody": (f"/cgi-bin/gettoken?corpid={CORPID}&corpsecret=x", None, 40001),
    "an official secret": (f"/cgi-bin/gettoken?corpid={CORPID}&corpsecret={SECRET}", None, 40001),
    "an account of nobody": (f"/@nobody{MEMBER}", None, 40013),
}


@pytest.mark.parametrize(("target", "data", "errcode"), BAD.values(), ids=BAD)
async def test_what_names_nobody_is_refused_in_wechats_words(
    corp: Sidecar, sandbox: Sandbox, target: str, data: object, errcode: int
) -> None:
    """An SDK understands the answer, and WeChat hears nothing of the call."""
    assert (await ask(corp, target, data))["errcode"] == errcode
    assert sandbox.seen("/") == []


async def test_a_replaced_foreign_token_is_warned_of_once(
    sidecar: Sidecar, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A second writer is told of without a flood: every call works, one line says it."""
    for _ in range(20):
        assert "errcode" not in await ask(sidecar, f"/cgi-bin/user/get?access_token={STRANGER}")

    assert {seen.token for seen in sandbox.seen("/cgi-bin/user/get")} == {sandbox.token(APPID)}
    assert await metric(sidecar, "wxproxy_foreign_tokens_total", action="replace") == 20
    (warning,) = [record for record in caplog.records if "foreign_token" in str(vars(record))]
    assert warning.levelno == logging.WARNING
    assert STRANGER not in str(vars(warning))
