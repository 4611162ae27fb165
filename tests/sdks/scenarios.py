"""What every SDK goes through, and what WeChat may see of it."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.sdks.rows import ACTIONS
from tests.sdks.stage import Failed, Stage
from wxproxy.sandbox.knobs import CORPID

LACKS = "–"
_OK = "ok"
# One plain ask and its repetition; a proof costs no fetch.
_FETCHES_FOR_A_STUCK_PATH = 2
# Rejections may ask 20 times at once, then 6 times a minute.
_FETCHES_WHILE_DOWN = 22
_HEALED_SECONDS = 20.0

Scenario = Callable[[Stage], Awaitable[str]]


def _plain(action: str) -> Scenario:
    async def scenario(stage: Stage) -> str:
        if action in stage.row.lacks:
            return LACKS
        await stage.succeeds(action)
        # Some SDKs do not look at each answer that they get.
        if refused := [call.path for call in stage.sent() if call.errcode]:
            raise Failed(f"WeChat refused {refused[0]}")
        return _OK

    return scenario


async def _revoked(stage: Stage) -> str:
    """WeChat drops the token between two calls: the SDK does not notice, one fetch heals it."""
    probe = stage.row.probe
    await stage.succeeds(probe)
    fetches = stage.fetches()
    stage.sandbox.revoke(stage.row.appid)
    await stage.succeeds(probe)
    if stage.fetches() != fetches + 1:
        raise Failed(f"{stage.fetches() - fetches} fetches for one dead token")
    return _OK


async def _down(stage: Stage) -> str:
    """The token endpoint is down: the token in hand serves on; without it, errors, no storm."""
    probe = stage.row.probe
    await stage.succeeds(probe)
    for path in ("/cgi-bin/stable_token", "/cgi-bin/gettoken"):
        stage.sandbox.fault(path, status=502, body="<html>", times=None)
    await stage.succeeds(probe)
    fetches = stage.fetches()
    stage.sandbox.revoke(stage.row.appid)
    told = await _counted(stage)
    if stage.fetches() - fetches > _FETCHES_WHILE_DOWN:
        raise Failed(f"{stage.fetches() - fetches} fetches from an endpoint that is down")
    stage.sandbox.clear_faults()
    async with asyncio.timeout(_HEALED_SECONDS):
        while await stage.ask(probe):
            await asyncio.sleep(1)
    return told


async def _stuck(stage: Stage) -> str:
    """A path that always says that the token is bad costs few fetches and no storm."""
    await stage.succeeds(stage.row.probe)
    fetches = stage.fetches()
    errcode = 40014 if stage.row.appid == CORPID else 40001
    stage.sandbox.fault(stage.row.path, errcode=errcode, times=None)
    told = await _counted(stage)
    if stage.fetches() - fetches > _FETCHES_FOR_A_STUCK_PATH:
        raise Failed(f"{stage.fetches() - fetches} fetches for a path at fault")
    stage.sandbox.clear_faults()
    await stage.succeeds(stage.row.probe)
    return told


async def _counted(stage: Stage) -> str:
    """Let the SDK meet its error; how many calls it made of that, and how many WeChat saw."""
    asked, sent = await stage.asked(), len(stage.sent())
    await stage.fails(stage.row.probe)
    asked, sent = await stage.asked() - asked, len(stage.sent()) - sent
    if sent > 2 * asked:
        raise Failed(f"{asked} calls became {sent}")
    return f"{_OK} {asked}:{sent}"


SCENARIOS: dict[str, Scenario] = {
    **{action: _plain(action) for action in ACTIONS},
    "revoked": _revoked,
    "down": _down,
    "stuck": _stuck,
}


async def play(stage: Stage, name: str) -> str:
    """Play one scenario; what the table says about it.

    Raises:
        Failed: it did not go as it must.
    """
    stage.sandbox.calls.clear()
    try:
        outcome = await SCENARIOS[name](stage)
    except TimeoutError:
        raise Failed(f"not healed within {_HEALED_SECONDS:g} s") from None
    finally:
        stage.sandbox.clear_faults()
    stage.check_tokens()
    return outcome
