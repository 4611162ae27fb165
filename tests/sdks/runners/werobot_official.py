"""WeRoBot, which calls requests.request and keeps no session."""

import io

from werobot.client import Client

from tests.sdks.runners.talk import APPID, MENU, OPENID, PICTURE, SIDECAR, answer, is_picture
from wxproxy.clients.requests import install_globally

install_globally(SIDECAR)
client = Client({"APP_ID": APPID, "APP_SECRET": "not-needed"})
media: list[str] = []


def users() -> object:
    return len(client.get_followers()["data"]["openid"]) == 3


def menu() -> object:
    client.create_menu(MENU)
    return client.get_menu()["menu"] == MENU


def template() -> object:
    return client.send_template_message(OPENID, "t", {})["msgid"] > 2**61


def custom() -> object:
    return client.send_text_message(OPENID, "你好")["errcode"] == 0


def upload() -> object:
    file = io.BytesIO(PICTURE)
    file.name = "图.jpg"
    media.append(client.upload_media("image", file)["media_id"])
    return media[-1]


def download() -> object:
    return is_picture(client.download_media(media[-1]).content)


answer({f.__name__: f for f in (users, menu, template, custom, upload, download)})
