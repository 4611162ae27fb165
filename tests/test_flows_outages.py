"""A token endpoint that refuses, fails or babbles: what clients see, and that all of it heals."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import SidecarFactory
from tests.fakes import FakeClock
from tests.harness import RawReply, Sidecar, eventually
from tests.wire import ask_once, metric, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID

USERS = request("/cgi-bin/user/get")
TOKEN_PATHS = {"stable": "/cgi-bin/stable_token", "classic": "/cgi-bin/token"}
LIFE_S = 7200
NO_ANSWER = -60503


@dataclass(frozen=True)
class Trouble:
    """What the token endpoint does, and what a client without a token is told.

    Attributes:
        fault: members of the sandbox's Fault.
        errcode: what the client sees.
        says: part of the errmsg: the cure.
        retry_after: the least and the most Retry-After in seconds.
        reason: of wxproxy_token_refresh_errors_total, with ``errcode_label``.
    """

    fault: dict[str, Any]
    reason: str
    errcode: int = NO_ANSWER
    says: str = "upstream setting"
    retry_after: tuple[int, int] = (1, 2)
    errcode_label: str = ""
    settings: dict[str, object] = field(default_factory=dict)


def refused(errcode: int, says: str, wait_s: int, *, shown: int = 0) -> Trouble:
    """A refusal by an errcode that backs off for a fixed time."""
    return Trouble(
        {"errcode": errcode},
        "errcode",
        shown or errcode,
        says,
        (wait_s, wait_s),
        errcode_label=str(errcode),
    )


def babble(**fault: Any) -> Trouble:
    """An answer that holds no valid token."""
    return Trouble(fault, "bad_body", says="held no valid token")


QUICK = {"token_call_seconds": 0.2}
BUSY = Trouble({"errcode": -1}, "errcode", says="busy", errcode_label="-1")
TROUBLES = {
    "40164": refused(40164, "add the address 203.0.113.8 to the IP whitelist", 60),
    "40125": refused(40125, "AppSecret is wrong", 300),
    "40001": refused(40001, "AppSecret is wrong", 300, shown=40125),
    "45009": refused(45009, "quota", 1800),
    "89507": refused(89507, "1 hour", 3600),
    "busy": BUSY,
    "hold": Trouble(
        {"hold": True}, "timeout", says="did not answer a token call", settings={**QUICK}
    ),
    "drop_before_head": Trouble({"drop": "before_head"}, "network", says="the connection"),
    "drop_mid_body": Trouble({"drop": "mid_body"}, "network", says="the connection"),
    "502": Trouble({"status": 502, "body": "<html>"}, "http_status", says="HTTP 502"),
    "html": babble(body="<html><body>login to the network</body></html>"),
    "empty": babble(body=""),
    "list": babble(json=[1]),
    "null": babble(json=None),
    "no_token": babble(json={"expires_in": 7200}),
    "no_life": babble(json={"access_token": "84_" + "x" * 130}),
    "token_number": babble(merge={"access_token": 84}),
    "token_empty": babble(merge={"access_token": ""}),
    "token_long": babble(merge={"access_token": "x" * 5000}),
    "token_odd": babble(merge={"access_token": "84 x&y=z\r\n"}),
    "life_0": babble(merge={"expires_in": 0}),
    "life_negative": babble(merge={"expires_in": -5}),
    "life_huge": babble(merge={"expires_in": 10**12}),
    "life_text": babble(merge={"expires_in": "7200"}),
    "life_fraction": babble(merge={"expires_in": 7200.5}),
    "life_true": babble(merge={"expires_in": True}),
    "long": babble(json={"pad": "x" * 70_000, "access_token": "84_x", "expires_in": 7200}),
}


async def start_with(
    start: SidecarFactory, sandbox: Sandbox, clock: FakeClock, **settings: object
) -> Sidecar:
    """A sidecar whose requests do not wait for a token, as time stands still."""
    return await start(sandbox.url, clock=clock, token_wait_seconds=0, **settings)


def status(sidecar: Sidecar) -> Any:
    """What the only keeper holds and does."""
    return sidecar.app.statuses()[0]


def failures(sidecar: Sidecar) -> int:
    """How many fetches have failed."""
    count: int = status(sidecar).counts["failures"]
    return count


async def settled(sidecar: Sidecar) -> None:
    """Let the keeper look at the clock, and wait until no fetch is in flight or due."""
    for keeper in sidecar.app.keepers.values():
        keeper.tick()
    await eventually(lambda: status(sidecar).next_refresh_in_s > 0)


async def heals(sidecar: Sidecar, clock: FakeClock) -> None:
    """At its own time the keeper asks again, unbidden, gets a token, and calls go on."""
    clock.advance(status(sidecar).next_refresh_in_s)
    await settled(sidecar)
    assert status(sidecar).state == "fresh"
    assert b'"total":3' in (await ask_once(sidecar.url, USERS)).body


def assert_unavailable(reply: RawReply, trouble: Trouble) -> None:
    """The reply says that there is no token, why, what ends it, and when to come back."""
    assert (reply.status, reply.header("X-Wxproxy-Error")) == (503, "no_token")
    answer = json.loads(reply.body)
    assert answer["errcode"] == trouble.errcode
    assert answer["errmsg"].startswith("wxproxy: no valid access_token: ")
    assert trouble.says in answer["errmsg"]
    least, most = trouble.retry_after
    assert least <= int(reply.header("Retry-After") or 0) <= most


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_without_a_token_clients_are_told_why_and_the_sidecar_heals(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock, trouble: Trouble
) -> None:
    """From the start on: 503 with cause and cure, nothing forwarded; healed without a restart."""
    timed_sandbox.fault(TOKEN_PATHS["stable"], times=None, **trouble.fault)
    sidecar = await start_with(start, timed_sandbox, clock, **trouble.settings)
    await settled(sidecar)
    assert_unavailable(await ask_once(sidecar.url, USERS), trouble)
    assert timed_sandbox.seen("/cgi-bin/user") == []
    errors = {"reason": trouble.reason, "errcode": trouble.errcode_label}
    name = "wxproxy_token_refresh_errors_total"
    assert await metric(sidecar, name, account=sidecar.account, **errors) == 1

    timed_sandbox.clear_faults()
    await heals(sidecar, clock)


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_an_old_token_is_served_to_its_last_second(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock, trouble: Trouble
) -> None:
    """A failed refresh costs nothing while the token lives, and nothing bad replaces it."""
    sidecar = await start_with(start, timed_sandbox, clock, **trouble.settings)
    await settled(sidecar)
    held = timed_sandbox.token(APPID)
    timed_sandbox.fault(TOKEN_PATHS["stable"], times=None, **trouble.fault)

    for seconds, served in ((LIFE_S - 119, True), (118, True), (1, False)):
        clock.advance(seconds)
        await settled(sidecar)
        reply = await ask_once(sidecar.url, USERS)
        assert (b'"total":3' in reply.body) is served
    assert failures(sidecar) >= 1
    assert (reply.status, reply.header("X-Wxproxy-Error")) == (503, "no_token")
    answer = json.loads(reply.body)
    assert answer["errcode"] == trouble.errcode
    assert trouble.says in answer["errmsg"]
    assert [call.token for call in timed_sandbox.seen("/cgi-bin/user")] == [held, held]

    timed_sandbox.clear_faults()
    await heals(sidecar, clock)


# Fetches in the 10 minutes from the start, while clients call all the time.
FREQUENCIES = {
    "40164": ({"errcode": 40164}, 4),  # after 60, 120 and 240 s
    "89503": ({"errcode": 89503}, 4),
    "40125": ({"errcode": 40125}, 2),  # after 5 minutes, then 30
    "unknown": ({"errcode": 47777}, 2),  # every 5 minutes
    "45009": ({"errcode": 45009}, 1),  # 30 minutes
    "45011": ({"errcode": 45011}, 10),  # every minute
    "50004": ({"errcode": 50004}, 1),  # 30 minutes
    "89506": ({"errcode": 89506}, 1),  # a day
}


@pytest.mark.parametrize("token_api", TOKEN_PATHS)
@pytest.mark.parametrize(("fault", "fetches"), FREQUENCIES.values(), ids=FREQUENCIES)
async def test_calls_never_make_a_refused_endpoint_be_asked_more_often(
    start: SidecarFactory,
    timed_sandbox: Sandbox,
    clock: FakeClock,
    token_api: str,
    fault: dict[str, Any],
    fetches: int,
) -> None:
    """Each refusal has its own pace, which clients' calls and refresh requests do not change."""
    timed_sandbox.fault(TOKEN_PATHS[token_api], times=None, **fault)
    sidecar = await start_with(start, timed_sandbox, clock, token_api=token_api)
    calls = (USERS, request("/_wxproxy/refresh", method="POST", body=b"{}"))
    for second in range(599):
        await settled(sidecar)
        if second % 20 == 0:
            for call in calls:
                assert (await ask_once(sidecar.url, call)).status == 503
        clock.advance(1)

    assert timed_sandbox.token_calls(APPID).fetches == fetches


async def test_a_token_endpoint_that_is_slow_is_waited_for(
    start: SidecarFactory, sandbox: Sandbox
) -> None:
    """A request that finds no token joins the fetch in flight, and is served by it."""
    sandbox.fault(TOKEN_PATHS["stable"], delay_s=0.3)
    sidecar = await start(sandbox.url)
    replies = [await ask_once(sidecar.url, USERS) for _ in range(2)]

    assert all(b'"total":3' in reply.body for reply in replies)
    assert sandbox.token_calls(APPID).fetches == 1


async def test_a_classic_fetch_without_an_answer_may_have_killed_the_token(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock
) -> None:
    """WeChat may have issued another one: the old is served 300 s on, the next ask within 60 s."""
    sidecar = await start_with(start, timed_sandbox, clock, token_api="classic")
    await settled(sidecar)
    held = timed_sandbox.token(APPID, family="classic")
    timed_sandbox.fault(TOKEN_PATHS["classic"], drop="mid_body")
    clock.advance(LIFE_S - 119)
    await settled(sidecar)
    assert failures(sidecar) == 1
    assert timed_sandbox.token(APPID, family="classic") != held
    assert status(sidecar).next_refresh_in_s <= 60

    await ask_once(sidecar.url, USERS)
    await heals(sidecar, clock)
    assert [call.errcode for call in timed_sandbox.seen("/cgi-bin/user")] == [None, None]
    assert timed_sandbox.seen("/cgi-bin/user")[0].token == held


async def test_a_wechat_that_cannot_be_connected_to_heals_by_itself(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock
) -> None:
    """The sidecar starts without WeChat, says that it cannot connect, and needs no restart."""
    port = int(timed_sandbox.url.rpartition(":")[2])
    await timed_sandbox.stop()
    sidecar = await start_with(start, timed_sandbox, clock)
    await settled(sidecar)
    reply = await ask_once(sidecar.url, USERS)
    assert_unavailable(reply, Trouble({}, "network", says="cannot connect to http://127.0.0.1"))

    await timed_sandbox.start(port=port)
    await heals(sidecar, clock)
