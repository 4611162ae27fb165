"""Errcodes that are no token trouble, and paths that always cry 40001: neither costs a token."""

import asyncio
import json
from collections import Counter

import pytest

from tests.conftest import SidecarFactory
from tests.fakes import FakeClock
from tests.harness import Sidecar, connection
from tests.upstreams import ScriptedUpstream, ok
from tests.wire import ask_once, metric, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import AGENT_SECRET, APPID, CORPID

WXACODE = "/wxa/getwxacodeunlimit"
WXACODE_CALL = request(WXACODE, method="POST", body=b'{"scene":"a=1"}')
PROOF = "/cgi-bin/openapi/quota/get"

INNOCENT = {
    "item": ok(b'{"user_info_list":[{"openid":"o1","errcode":40001,"errmsg":"x"},{"a":1}]}'),
    "item_before_ok": ok(b'{"results":[{"errcode":40014}],"errcode":0,"errmsg":"ok"}'),
    "member_of_a_member": ok(b'{"data":{"errcode":42001},"errmsg":"ok"}'),
    "base_resp_below_the_top": ok(b'{"data":{"base_resp":{"errcode":40001}}}'),
    "below_base_resp": ok(b'{"base_resp":{"detail":{"errcode":40001},"errcode":0}}'),
    "quoted": ok(b'{"content":"{\\"errcode\\":40001}","n":1}'),
    "quoted_as_a_text": ok(b'{"content":"say \\"errcode\\":40001, then \\\\","errcode":0}'),
    "key_as_value": ok(b'{"key":"errcode","value":40001}'),
    "fraction": ok(b'{"errcode":40001.5}'),
    "list": ok(b'[{"errcode":40001}]'),
    "text": ok(b'"errcode":40001'),
    "own_error": ok(b'{"errcode":40003,"errmsg":"invalid openid, not 40001"}'),
    "no_permission": ok(b'{"errcode":48001,"errmsg":"api unauthorized rid: 66e5c46f"}'),
    "too_long": ok(b'{"errcode":40001,"list":"' + b"x" * 8192 + b'"}'),
    "another_status": ok(b'{"errcode":40001}').replace(b"200 OK", b"403 Forbidden"),
    "broken_gzip": ok(b'{"errcode":40001}', b"Content-Encoding: gzip\r\n"),
}


@pytest.mark.parametrize("answer", INNOCENT.values(), ids=INNOCENT)
async def test_an_errcode_that_speaks_of_something_else_passes(
    proxy: Sidecar, scripted: ScriptedUpstream, answer: bytes
) -> None:
    """Errcodes of items, in texts, deeper down or of another kind: no retry, no fetch."""
    scripted.answer = answer
    reply = await ask_once(
        proxy.url, request("/cgi-bin/user/info/batchget", method="POST", body=b"{}")
    )

    assert reply.body == answer.partition(b"\r\n\r\n")[2]
    assert reply.header("X-Wxproxy-Attempts") == "1"
    assert len(scripted.requests) == 1
    assert scripted.token_calls == 1
    assert proxy.app.statuses()[0].counts["rejections"] == 0


async def test_wecoms_wrong_secret_is_no_dead_token(
    start: SidecarFactory, sandbox: Sandbox
) -> None:
    """WeCom's 40001 speaks of a secret: it passes, once, and fetches nothing."""
    sidecar = await start(sandbox.url, kind="wecom", appid=CORPID, secret=AGENT_SECRET)
    sandbox.fault("/cgi-bin/user/get", errcode=40001)
    reply = await ask_once(sidecar.url, request("/cgi-bin/user/get?userid=zhangsan"))

    assert json.loads(reply.body)["errcode"] == 40001
    assert len(sandbox.seen("/cgi-bin/user/get")) == 1
    assert sandbox.token_calls(CORPID).fetches == 1


@pytest.mark.parametrize("token_api", ["stable", "classic"])
async def test_a_path_that_always_cries_40001_gets_no_token_killed(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock, token_api: str
) -> None:
    """1,000 calls over 10 minutes see 40001, each sent once; a proof a minute, nothing forced."""
    sidecar = await start(timed_sandbox.url, clock=clock, token_api=token_api)
    timed_sandbox.fault(WXACODE, errcode=40001, times=None)
    seen: Counter[int] = Counter()
    async with connection(sidecar.url) as client:
        for _ in range(1000):
            reply = await client.ask(WXACODE_CALL)
            seen[json.loads(reply.body)["errcode"]] += 1
            clock.advance(0.6)

    assert seen == {40001: 1000}
    assert len(timed_sandbox.seen(WXACODE)) == 1000
    calls = timed_sandbox.token_calls(APPID)
    # The first fetch, and for stable one plain ask before the path was found at fault.
    assert (calls.fetches, calls.forced) == (2 if token_api == "stable" else 1, 0)
    # The look that found it at fault, then one each minute.
    assert len(timed_sandbox.seen(PROOF)) == 11


async def test_a_path_that_always_cries_40001_at_once_is_looked_into_once(
    sidecar: Sidecar, sandbox: Sandbox
) -> None:
    """Concurrent calls share a look, and one at fault does not spoil its neighbours."""
    sandbox.fault(WXACODE, errcode=40001, times=None)
    bad = [ask_once(sidecar.url, WXACODE_CALL) for _ in range(100)]
    good = [ask_once(sidecar.url, request("/cgi-bin/user/get")) for _ in range(100)]
    replies = await asyncio.gather(*bad, *good)

    codes = Counter(json.loads(reply.body).get("errcode", 0) for reply in replies)
    assert codes == {40001: 100, 0: 100}
    assert len(sandbox.seen(WXACODE)) == 100
    assert len(sandbox.seen("/cgi-bin/user/get")) == 100
    calls = sandbox.token_calls(APPID)
    assert calls.fetches <= 2
    assert calls.forced == 0
    assert len(sandbox.seen(PROOF)) <= 2  # the look, and the minute's check of a path at fault
    labels = {"reason": "40001", "outcome": "no_other_token"}
    assert await metric(sidecar, "wxproxy_retries_total", **labels) == 100


@pytest.mark.parametrize("token_api", ["stable", "classic"])
async def test_a_token_revoked_behind_a_path_at_fault_is_found_within_a_minute(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock, token_api: str
) -> None:
    """The same path alone in use: its minute's proof finds the dead token, twice in 10 minutes."""
    sidecar = await start(timed_sandbox.url, clock=clock, token_api=token_api)
    async with connection(sidecar.url) as client:
        for _ in range(2):
            timed_sandbox.fault(WXACODE, errcode=40001, times=None)
            for _ in range(90):
                await client.ask(WXACODE_CALL)
                clock.advance(1)
            timed_sandbox.clear_faults()
            assert timed_sandbox.revoke(APPID, insist=True) == 1
            waited_s = 0
            while (await client.ask(WXACODE_CALL)).header("Content-Type") != "image/jpeg":
                clock.advance(1)
                waited_s += 1
                assert waited_s <= 60


async def test_a_dead_token_is_replaced_even_if_the_path_stays_at_fault(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock
) -> None:
    """A path that cries 40001 with any token still gets a dead one replaced, once, by force."""
    sidecar = await start(timed_sandbox.url, clock=clock)
    timed_sandbox.fault(WXACODE, errcode=40001, times=None)
    async with connection(sidecar.url) as client:
        await client.ask(WXACODE_CALL)
        timed_sandbox.revoke(APPID, insist=True)
        for _ in range(600):
            await client.ask(WXACODE_CALL)
            clock.advance(1)
        reply = await client.ask(request("/cgi-bin/user/get"))

    assert b'"total":3' in reply.body
    assert reply.header("X-Wxproxy-Attempts") == "1"
    assert timed_sandbox.token_calls(APPID).forced == 1
