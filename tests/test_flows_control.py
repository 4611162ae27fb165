"""Control routes under /_wxproxy/: the passive refresh, and the token for who must have it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SidecarFactory
from tests.fakes import FakeClock
from tests.harness import Sidecar
from tests.wire import ask_once, request
from wxproxy.redact import token_id
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID, APPID_2, SECRET, SECRET_2

USERS = request("/cgi-bin/user/get")
PROOF = "/cgi-bin/openapi/quota/get"


def refresh(*headers: str, **arguments: object) -> bytes:
    """POST /_wxproxy/refresh; the body is empty where no argument is given."""
    body = json.dumps(arguments).encode() if arguments else b""
    return request("/_wxproxy/refresh", *headers, method="POST", body=body)


async def ask(sidecar: Sidecar, call: bytes) -> dict[str, Any]:
    """The fields of a successful answer."""
    reply = await ask_once(sidecar.url, call)
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


async def live_token(sidecar: Sidecar, sandbox: Sandbox) -> str:
    """The token that the sidecar has, once it has one."""
    await ask_once(sidecar.url, USERS)
    return sandbox.token(APPID)


def named_by(token: str) -> list[dict[str, str]]:
    """The two ways to say which token failed."""
    return [{"access_token": token}, {"token_id": token_id(token)}]


@pytest.mark.parametrize("by", [0, 1], ids=["token", "token_id"])
@pytest.mark.parametrize("token_api", ["stable", "classic"])
async def test_a_report_of_the_current_token_replaces_a_dead_one(
    start: SidecarFactory, sandbox: Sandbox, token_api: Any, by: int
) -> None:
    """50 programs that report the same dead token cause one fetch, and learn of the new one."""
    sidecar = await start(sandbox.url, token_api=token_api)
    await ask_once(sidecar.url, USERS)
    dead = sandbox.token(APPID, family=token_api)
    sandbox.revoke(APPID)
    report = refresh(**named_by(dead)[by])
    answers = await asyncio.gather(*(ask(sidecar, report) for _ in range(50)))

    live = sandbox.token(APPID, family=token_api)
    assert live != dead
    assert {answer["token_id"] for answer in answers} == {token_id(live)}
    assert {answer["errcode"] for answer in answers} == {0}
    assert all(7190 <= answer["expires_in"] <= 7200 for answer in answers)
    assert all(len(answer) == 4 for answer in answers)
    assert True in {answer["refreshed"] for answer in answers}
    calls = sandbox.token_calls(APPID)
    assert (calls.fetches, calls.forced) == (2, 0)
    assert live not in repr(answers)


@pytest.mark.parametrize("by", [0, 1], ids=["token", "token_id"])
async def test_a_report_of_a_token_that_is_no_longer_current_fetches_nothing(
    sidecar: Sidecar, sandbox: Sandbox, by: int
) -> None:
    """Compare and swap: late reports of an old token, or of a stranger's, are answered at once."""
    dead = await live_token(sidecar, sandbox)
    sandbox.revoke(APPID)
    live = await live_token(sidecar, sandbox)
    for token in (dead, "84_" + "stranger" * 20):
        answer = await ask(sidecar, refresh(**named_by(token)[by]))
        assert (answer["refreshed"], answer["token_id"]) == (False, token_id(live))

    assert sandbox.token_calls(APPID).fetches == 2
    assert sandbox.seen(PROOF) == []


async def test_a_report_of_a_good_token_is_looked_into_and_replaces_nothing(
    sidecar: Sidecar, sandbox: Sandbox
) -> None:
    """What one program says is not believed: WeChat is asked, and nothing is forced."""
    live = await live_token(sidecar, sandbox)
    for _ in range(30):
        answer = await ask(sidecar, refresh(access_token=live))
        assert (answer["refreshed"], answer["token_id"]) == (False, token_id(live))

    calls = sandbox.token_calls(APPID)
    assert calls.forced == 0
    assert calls.fetches <= 2
    assert len(sandbox.seen(PROOF)) <= 2
    assert sandbox.token(APPID) == live


@pytest.mark.parametrize("named", ["nothing", "empty", "placeholder"])
@pytest.mark.parametrize("token_api", ["stable", "classic"])
async def test_a_report_that_names_no_token_is_one_plain_ask_a_minute(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock, named: str, token_api: str
) -> None:
    """Programs behind placeholders do not know what failed; for classic nothing is fetched."""
    sidecar = await start(timed_sandbox.url, clock=clock, token_api=token_api)
    await ask_once(sidecar.url, USERS)
    token = {
        "nothing": {},
        "empty": {"access_token": ""},
        "placeholder": {"access_token": sidecar.app.accounts[0].placeholder},
    }[named]
    for _ in range(90):
        answer = await ask(sidecar, refresh(**token))
        assert answer["refreshed"] is False
        clock.advance(1)

    calls = timed_sandbox.token_calls(APPID)
    assert (calls.fetches, calls.forced) == (3 if token_api == "stable" else 1, 0)


async def test_a_plain_ask_that_brings_a_new_token_says_so(
    sidecar: Sidecar, sandbox: Sandbox
) -> None:
    """Where WeChat has another token, one ask is enough to have it."""
    dead = await live_token(sidecar, sandbox)
    sandbox.revoke(APPID)
    answer = await ask(sidecar, refresh())

    assert answer["refreshed"] is True
    assert answer["token_id"] == token_id(sandbox.token(APPID)) != token_id(dead)


@pytest.mark.parametrize(
    ("call", "status", "error"),
    [
        (request("/_wxproxy/refresh"), 405, "method_not_allowed"),
        (request("/_wxproxy/token", method="POST", body=b"{}"), 405, "method_not_allowed"),
        (request("/_wxproxy/refresh/"), 404, "unknown_route"),
        (request("/_wxproxy/secrets"), 404, "unknown_route"),
        (request("/_wxproxy/refresh", method="POST", body=b"[1]"), 400, "bad_request"),
        (request("/_wxproxy/refresh", method="POST", body=b"a=1"), 400, "bad_request"),
        (refresh(access_token=84), 400, "bad_request"),
        (refresh(token_id=["x"]), 400, "bad_request"),
        (refresh(account={}), 400, "bad_request"),
        (refresh(account="nobody"), 404, "unknown_account"),
        (request("/_wxproxy/token"), 403, "token_not_exposed"),
    ],
)
async def test_mistaken_control_calls_are_refused_by_name(
    sidecar: Sidecar, sandbox: Sandbox, call: bytes, status: int, error: str
) -> None:
    """Each refusal has its status and word; nothing is fetched or forwarded because of one."""
    await live_token(sidecar, sandbox)
    reply = await ask_once(sidecar.url, call)

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (status, error)
    errcode = json.loads(reply.body)["errcode"]
    assert errcode == (40013 if error == "unknown_account" else -60000 - status)
    assert sandbox.token_calls(APPID).fetches == 1
    assert len(sandbox.calls) == 2  # the first token and the first call


async def test_the_token_is_given_out_only_where_that_was_set(
    start: SidecarFactory, timed_sandbox: Sandbox, clock: FakeClock
) -> None:
    """With expose_token a program that cannot go through the proxy gets token and life."""
    sidecar = await start(timed_sandbox.url, clock=clock, expose_token="true")
    await ask_once(sidecar.url, USERS)
    clock.advance(200)
    answer = await ask(sidecar, request("/_wxproxy/token"))

    assert answer == {"access_token": timed_sandbox.token(APPID), "expires_in": 7000}
    assert timed_sandbox.token_calls(APPID).fetches == 1


@pytest.mark.parametrize("call", [request("/_wxproxy/token"), refresh()], ids=["token", "refresh"])
async def test_without_a_token_control_calls_say_why(
    start: SidecarFactory, sandbox: Sandbox, call: bytes
) -> None:
    """503 with WeChat's errcode, as for any other call."""
    sandbox.fault("/cgi-bin/stable_token", errcode=40164, times=None)
    sidecar = await start(sandbox.url, expose_token="true")
    reply = await ask_once(sidecar.url, call)

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (503, "no_token")
    assert json.loads(reply.body)["errcode"] == 40164
    assert reply.header("Retry-After") is not None


# -- several accounts ------------------------------------------------------------------------

TWO = f"""
expose_token = true

[[accounts]]
name = "shop"
appid = "{APPID}"
secret = "{SECRET}"
upstream = "URL"

[[accounts]]
name = "game"
appid = "{APPID_2}"
secret = "{SECRET_2}"
upstream = "URL"
"""


@pytest.fixture
async def two(start: SidecarFactory, sandbox: Sandbox, tmp_path: Path) -> Sidecar:
    """A sidecar for two accounts, neither the default, both with a token."""
    file = tmp_path / "wxproxy.toml"
    file.write_text(TWO.replace("URL", sandbox.url))
    sidecar = await start(sandbox.url, config=file)
    for name in ("shop", "game"):
        await ask_once(sidecar.url, request("/cgi-bin/user/get", f"X-Wxproxy-Account: {name}"))
    return sidecar


def exposed(query: str, *headers: str) -> bytes:
    """GET /_wxproxy/token."""
    return request(f"/_wxproxy/token{query}", *headers)


@pytest.mark.parametrize(
    "call",
    [
        exposed("?account=game"),
        exposed(f"?account={APPID_2}"),
        exposed("", "X-Wxproxy-Account: game"),
        exposed("?from_appid=" + APPID_2),
        request("/@game/_wxproxy/token"),
    ],
    ids=["account", "appid", "header", "from_appid", "prefix"],
)
async def test_a_control_call_names_its_account(
    two: Sidecar, sandbox: Sandbox, call: bytes
) -> None:
    """The argument, and whatever else chooses an account, means the account by name or appid."""
    answer = await ask(two, call)
    assert answer["access_token"] == sandbox.token(APPID_2)


async def test_a_reported_token_names_its_account(two: Sidecar, sandbox: Sandbox) -> None:
    """A token of ours, current or old, or a placeholder needs no account beside it."""
    sandbox.revoke(APPID_2)
    dead = two.app.keepers["game"].current()
    assert dead is not None
    await ask(two, refresh(access_token=dead.value))
    await ask(two, refresh(access_token=dead.value))
    await ask(two, refresh(access_token=two.app.accounts[1].placeholder))

    fetches = [sandbox.token_calls(appid).fetches for appid in (APPID, APPID_2)]
    # Besides the first: one for the report of the dead token, a plain ask for the placeholder.
    assert fetches == [1, 3]


@pytest.mark.parametrize(
    ("call", "status", "error"),
    [
        (refresh(), 404, "unknown_account"),
        (exposed(""), 404, "unknown_account"),
        (refresh(account="nobody"), 404, "unknown_account"),
        (refresh("X-Wxproxy-Account: shop", account="game"), 400, "account_conflict"),
        (exposed("?account=game", "X-Wxproxy-Account: shop"), 400, "account_conflict"),
    ],
    ids=["none", "none_exposed", "unknown", "conflict", "conflict_exposed"],
)
async def test_a_control_call_for_no_certain_account_is_refused(
    two: Sidecar, call: bytes, status: int, error: str
) -> None:
    """Without a default account one must be named, and two names must agree."""
    reply = await ask_once(two.url, call)
    assert (reply.status, reply.header("X-Wxproxy-Error")) == (status, error)
