"""wechatpy.work, for WeCom; its media.download keeps no session."""

import io

from wechatpy.work import WeChatClient

from tests.sdks.runners.talk import (
    AGENT,
    AGENT_SECRET,
    CORPID,
    MENU,
    PICTURE,
    SIDECAR,
    answer,
    is_picture,
)
from wxproxy.clients.requests import install_globally

install_globally(SIDECAR)
client = WeChatClient(CORPID, AGENT_SECRET, auto_retry=False)
media: list[str] = []


def users() -> object:
    return client.user.get("zhang")["userid"] == "zhang"


def menu() -> object:
    client.menu.create(AGENT, MENU)
    return client.menu.get(AGENT)["menu"] == MENU


def custom() -> object:
    return client.message.send_text(AGENT, ["zhang"], "你好")["errcode"] == 0


def upload() -> object:
    media.append(client.media.upload("image", ("a.jpg", io.BytesIO(PICTURE)))["media_id"])
    return media[-1]


def download() -> object:
    return is_picture(client.media.download(media[-1]).content)


answer({f.__name__: f for f in (users, menu, custom, upload, download)})
