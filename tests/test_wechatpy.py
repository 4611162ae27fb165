"""An SDK as applications have it: wechatpy 1.8.18, unmodified, through a running sidecar.

Its base URLs are constants, so its HTTP session is told where api.weixin.qq.com is, as an
application would do it.
"""

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from wechatpy import WeChatClient
from wechatpy.exceptions import WeChatClientException

from tests.commands import running
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID, SECRET
from wxproxy.sandbox.replies import PICTURE

OPENID = "oSandbox00000000000000000001"
MENU = {"button": [{"type": "view", "name": "商城", "url": "https://example.com/"}]}
WECHAT = "https://api.weixin.qq.com"


class ToSidecar(HTTPAdapter):
    """Sends what is meant for WeChat to the sidecar."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        assert request.url is not None
        request.url = self._url + request.url.removeprefix(WECHAT)
        return super().send(request, *args, **kwargs)


@pytest.fixture
def sdk() -> Iterator[WeChatClient]:
    """A client whose AppSecret is none: the application need not hold it."""
    client = WeChatClient(APPID, "not-the-secret", timeout=10)
    yield client
    client._http.close()


async def _serve(sandbox: Sandbox, sdk: WeChatClient, calls: Any) -> None:
    """Run the SDK's calls in a thread, against a sidecar in a process of its own."""
    settings = {
        "WXPROXY_APPID": APPID,
        "WXPROXY_SECRET": SECRET,
        "WXPROXY_UPSTREAM": sandbox.url,
        "WXPROXY_LISTEN": "127.0.0.1:0",
        "WXPROXY_OPS_LISTEN": "127.0.0.1:0",
    }
    async with running("serve", env=settings) as command:
        started = json.loads((await command.says(r'\{[^\n]*"event":"started"[^\n]*\}'))[0])
        sdk._http.mount(f"{WECHAT}/", ToSidecar(started["listen"][0]))
        await asyncio.to_thread(calls)


async def test_an_unmodified_sdk_works_and_its_token_is_revoked_in_the_middle(
    sandbox: Sandbox, sdk: WeChatClient
) -> None:
    """Users, menus, media and figures; the SDK's own token code runs, and does no harm."""

    def calls() -> None:
        followers = sdk.user.get_followers()
        assert followers["data"]["openid"][0] == OPENID
        assert sdk.user.get(OPENID)["subscribe"] == 1
        assert len(sdk.user.get_batch([OPENID])) == 1
        sdk.menu.create(MENU)
        sandbox.revoke(APPID)
        assert sdk.menu.get()["menu"] == MENU
        media = sdk.media.upload("image", ("a.jpg", io.BytesIO(PICTURE), "image/jpeg"))
        sandbox.revoke(APPID)
        assert sdk.media.download(media["media_id"]).content == PICTURE
        assert sdk.datacube.get_user_summary("2024-01-01", "2024-01-01")[0]["new_user"] == 3
        sdk.menu.delete()

    await _serve(sandbox, sdk, calls)

    assert sandbox.seen("/cgi-bin/token") == []
    token_calls = sandbox.seen("/cgi-bin/stable_token")
    assert not any("requests" in call.header("User-Agent") for call in token_calls)
    assert len(token_calls) == 3
    others = [call for call in sandbox.calls if call not in token_calls]
    assert all(len(call.tokens) == 1 for call in others)
    assert [call.path for call in others if call.errcode == 40001] == [
        "/cgi-bin/menu/get",
        "/cgi-bin/media/get",
    ]
    menu = next(call for call in others if call.path == "/cgi-bin/menu/create")
    assert menu.body.decode() == json.dumps(MENU, ensure_ascii=False)


async def test_the_sdk_reads_wechats_refusals_and_the_sidecars_own(
    sandbox: Sandbox, sdk: WeChatClient
) -> None:
    """It raises what it always raises: WeChat's errcode, and for ours an error of HTTP."""

    def calls() -> None:
        with pytest.raises(WeChatClientException) as refused:
            sdk.user.get("bad")
        assert refused.value.errcode == 40003
        sdk._http.headers["X-Wxproxy-Account"] = "nobody"
        with pytest.raises(WeChatClientException) as ours:
            sdk.user.get(OPENID)
        assert ours.value.response.headers["X-Wxproxy-Error"] == "unknown_account"
        assert ours.value.response.json()["errcode"] == 40013

    await _serve(sandbox, sdk, calls)
