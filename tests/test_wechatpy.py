"""wechatpy as its users have it, by the one line of wxproxy.clients.requests."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from wechatpy import WeChatClient
from wechatpy.exceptions import WeChatClientException

from tests.harness import Sidecar
from tests.wire import scrape
from wxproxy.clients.requests import install
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID

CALLS: dict[str, Callable[[WeChatClient], object]] = {
    "/cgi-bin/user/get": lambda client: client.user.get_followers(),
    "/wxa/getwxacodeunlimit": lambda client: client.wxa.get_wxa_code_unlimited("a=1", page="p"),
    "/datacube/getusersummary": lambda client: client.datacube.get_user_summary(
        "2026-11-01", "2026-11-01"
    ),
    "/card/get": lambda client: client.card.get("c"),
    "/cgi-bin/customservice/getkflist": lambda client: client.customservice.get_accounts(),
    "/tcb/invokecloudfunction": lambda client: client.cloud.invoke_cloud_function("e", "f", {}),
}


@pytest.mark.parametrize("path", CALLS)
async def test_modules_with_bases_of_their_own_arrive_too(
    sidecar: Sidecar, sandbox: Sandbox, path: str
) -> None:
    """Its base URL alone would miss most of them; WeChat's token is on each."""
    client = WeChatClient(APPID, "not-needed", auto_retry=False)
    install(client, sidecar.url)
    with suppress(WeChatClientException):
        await asyncio.to_thread(CALLS[path], client)
    client._http.close()

    (seen,) = sandbox.seen(path)
    assert seen.tokens == (sandbox.token(APPID),)
    assert seen.errcode in (None, 40066)  # 40066: the token is good, the sandbox lacks the path
    assert sandbox.seen("/cgi-bin/token") == []


async def test_its_endless_retry_is_no_storm_for_wechat(sidecar: Sidecar, sandbox: Sandbox) -> None:
    """A path that always cries 40001, with its own retry on, which recurses until Python stops it.

    Alone it fetches a token for each of its calls; now WeChat is asked for one at most.
    """
    client = WeChatClient(APPID, "not-needed")
    install(client, sidecar.url)
    await asyncio.to_thread(client.user.get_followers)
    sandbox.fault("/cgi-bin/user/get", errcode=40001, times=None)
    with pytest.raises(RecursionError):
        await asyncio.to_thread(client.user.get_followers)
    client._http.close()

    series = await scrape(sidecar)
    total = sum(value for (name, _), value in series.items() if name == "wxproxy_requests_total")
    local = series["wxproxy_token_endpoint_stubbed_total", (("path", "/cgi-bin/token"),)]
    assert len(sandbox.seen("/cgi-bin/user/get")) <= 2 * (total - local)
    calls = sandbox.token_calls(APPID)
    assert calls.fetches <= 2
    assert calls.forced == 0
