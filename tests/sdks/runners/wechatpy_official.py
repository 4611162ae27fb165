"""wechatpy for official accounts, 1.x and 2.x; with its own retry if the argument says so."""

import io
import sys

from wechatpy import WeChatClient

from tests.sdks.runners.talk import APPID, DAY, MENU, OPENID, PICTURE, SIDECAR, answer, is_picture
from wxproxy.clients.requests import install

client = WeChatClient(APPID, "not-needed", auto_retry=sys.argv[1:] == ["auto_retry"])
install(client, SIDECAR)
media: list[str] = []


def users() -> object:
    return len(client.user.get_followers()["data"]["openid"]) == 3


def menu() -> object:
    client.menu.create(MENU)
    return client.menu.get()["menu"] == MENU


def template() -> object:
    return client.message.send_template(OPENID, "t", {})["msgid"] > 2**61


def custom() -> object:
    return client.message.send_text(OPENID, "你好")["errcode"] == 0


def upload() -> object:
    media.append(client.media.upload("image", ("a.jpg", io.BytesIO(PICTURE)))["media_id"])
    return media[-1]


def download() -> object:
    return is_picture(client.media.download(media[-1]).content)


def code() -> object:
    return is_picture(client.wxa.get_wxa_code_unlimited("a=1", page="index").content)


def datacube() -> object:
    return client.datacube.get_user_summary(DAY, DAY)[0]["new_user"] == 3


answer({f.__name__: f for f in (users, menu, template, custom, upload, download, code, datacube)})
