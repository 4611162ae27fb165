"""``wxproxy check`` against the sandbox: what it says of each account, and what it leaves alone."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import Ended, run
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import AGENT_SECRET, APPID, CORPID, SECRET

REFUSED_IP = "203.0.113.8"


async def check(
    sandbox: Sandbox, *argv: str, upstream: str = "", secret: str = SECRET, **settings: str
) -> Ended:
    """Check the sandbox's first account, at the most talkative log level."""
    env = {
        "WXPROXY_APPID": APPID,
        "WXPROXY_SECRET": secret,
        "WXPROXY_UPSTREAM": upstream or sandbox.url,
        "WXPROXY_LOG_LEVEL": "debug",
        **{f"WXPROXY_{key.upper()}": value for key, value in settings.items()},
    }
    return await run("check", *argv, env=env)


async def test_an_account_that_gets_its_token_is_fine(sandbox: Sandbox) -> None:
    """One plain fetch of a stable token harms nobody and proves everything."""
    ended = await check(sandbox)

    assert (ended.status, ended.err) == (0, "")
    heading, row = ended.out.splitlines()
    assert heading.split()[-4:] == ["API", "UPSTREAM", "VIA", "TOKEN"]
    assert row.startswith(
        f"{APPID}  {APPID}  official  stable     {sandbox.url}  direct  ok, 7200 s"
    )
    calls = sandbox.token_calls(APPID)
    assert (calls.fetches, calls.forced) == (1, 0)


async def test_a_classic_token_in_use_is_left_alone(sandbox: Sandbox) -> None:
    """A fetch would kill the live token: it is not made, and the reason is told."""
    ended = await check(sandbox, token_api="classic")

    assert ended.status == 0
    assert "not fetched" in ended.out
    assert "would kill the token that is in use" in ended.out
    assert sandbox.token_calls(APPID).fetches == 0


async def test_a_classic_token_is_fetched_on_demand(sandbox: Sandbox) -> None:
    """Before anything uses the account, a fetch proves it."""
    ended = await check(sandbox, "--fetch-classic", token_api="classic")

    assert ended.status == 0
    assert "ok, 7200 s left" in ended.out
    assert sandbox.token_calls(APPID).fetches == 1


async def test_a_wecom_agent_is_fetched(sandbox: Sandbox) -> None:
    """WeCom's fetch gives the token in use."""
    ended = await check(sandbox, kind="wecom", appid=CORPID, secret=AGENT_SECRET)

    assert ended.status == 0
    assert "gettoken" in ended.out


async def test_a_refused_address_is_named_with_its_cure(sandbox: Sandbox) -> None:
    """40164 is the commonest start: the address to whitelist is what one needs."""
    sandbox.fault("/cgi-bin/stable_token", errcode=40164)

    ended = await check(sandbox)

    assert ended.status == 1
    note = ended.out.splitlines()[-1]
    assert note.startswith(f"{APPID}: WeChat refused with 40164, IP {REFUSED_IP}, rid ")
    assert f"add the address {REFUSED_IP} to the IP whitelist" in note


@pytest.mark.parametrize(
    ("token_api", "errcode"), [("stable", "40125"), ("classic", "40001")], ids=["stable", "classic"]
)
async def test_a_wrong_secret_is_told_and_not_shown(
    sandbox: Sandbox, token_api: str, errcode: str
) -> None:
    """The cure is to copy it anew."""
    ended = await check(
        sandbox, "--fetch-classic", token_api=token_api, secret="a-wrong-secret-of-mine"
    )

    assert ended.status == 1
    assert f"refused with {errcode}" in ended.out
    assert "the AppSecret is wrong" in ended.out
    assert "a-wrong-secret-of-mine" not in ended.out + ended.err


async def test_trouble_with_the_network_is_explained(sandbox: Sandbox) -> None:
    """A firewall shows as such, with the upstream that could not be reached."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
        ended = await check(sandbox, upstream=nowhere)

    assert ended.status == 1
    assert f"cannot connect to {nowhere}: check" in ended.out


@pytest.mark.parametrize(
    ("upset", "told"),
    [
        (lambda box: box.fault("/cgi-bin/stable_token", status=503, body="x"), "HTTP 503"),
        (lambda box: box.fault("/cgi-bin/stable_token", body="<html>"), "no valid token"),
        (lambda box: box.fault("/cgi-bin/stable_token", drop="after_head"), "connection to WeChat"),
        (lambda box: box.fault("/cgi-bin/stable_token", hold=True), "within 0.3 s"),
    ],
    ids=["status", "not json", "dropped", "silent"],
)
async def test_an_answer_that_is_none_is_explained(
    sandbox: Sandbox, upset: Callable[[Sandbox], None], told: str
) -> None:
    """What stands between here and WeChat shows itself in its answers."""
    upset(sandbox)

    ended = await check(sandbox, token_call_seconds="0.3" if told.startswith("within") else "10")

    assert ended.status == 1
    assert told in ended.out.splitlines()[-1]


async def test_each_account_of_a_file_has_its_row(sandbox: Sandbox, tmp_path: Path) -> None:
    """One refused account fails the check and hides no other."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    config = tmp_path / "wxproxy.toml"
    config.write_text(
        f"""
        [[accounts]]
        name = "good"
        appid = "{APPID}"
        secret_file = "{secret}"
        upstream = "{sandbox.url}"
        [[accounts]]
        name = "bad"
        appid = "wx0000000000000000"
        secret = "some-other-secret"
        upstream = "{sandbox.url}"
        """
    )

    ended = await run("check", "--config", str(config))

    assert ended.status == 1
    _, good, bad, blank, note = ended.out.splitlines()
    assert (good.split()[0], bad.split()[0], blank) == ("good", "bad", "")
    assert "ok, 7200 s left" in good
    assert bad.endswith("errcode 40013")
    assert note.startswith("bad: WeChat refused with 40013")


async def test_neither_secret_nor_token_is_shown(sandbox: Sandbox) -> None:
    """The table may be pasted into a bug report."""
    ended = await check(sandbox, "--fetch-classic", token_api="classic")

    shown = ended.out + ended.err
    assert SECRET not in shown
    assert sandbox.token(APPID, family="classic") not in shown
