"""httpx without any SDK: another base URL, no token, nothing else."""

import json
from typing import Any

import httpx

from tests.sdks.runners.talk import DAY, MENU, OPENID, PICTURE, SIDECAR, answer, is_picture

client = httpx.Client(base_url=SIDECAR)
media: list[str] = []


def get(path: str) -> Any:
    return client.get(path).json()


def post(path: str, data: object) -> httpx.Response:
    return client.post(path, content=json.dumps(data, ensure_ascii=False).encode())


def users() -> object:
    return get("/cgi-bin/user/get")["total"] == 3


def menu() -> object:
    created = post("/cgi-bin/menu/create", MENU).json()["errcode"] == 0
    return created and get("/cgi-bin/menu/get")["menu"] == MENU


def template() -> object:
    message = {"touser": OPENID, "template_id": "t", "data": {}}
    return post("/cgi-bin/message/template/send", message).json()["msgid"] > 2**61


def custom() -> object:
    message = {"touser": OPENID, "msgtype": "text", "text": {"content": "你好"}}
    return post("/cgi-bin/message/custom/send", message).json()["errcode"] == 0


def upload() -> object:
    file = {"media": ("a.jpg", PICTURE)}
    reply = client.post("/cgi-bin/media/upload?type=image", files=file)
    media.append(reply.json()["media_id"])
    return media[-1]


def download() -> object:
    return is_picture(client.get("/cgi-bin/media/get", params={"media_id": media[-1]}).content)


def code() -> object:
    return is_picture(post("/wxa/getwxacodeunlimit", {"scene": "a=1"}).content)


def datacube() -> object:
    days = {"begin_date": DAY, "end_date": DAY}
    return post("/datacube/getusersummary", days).json()["list"][0]["new_user"] == 3


answer({f.__name__: f for f in (users, menu, template, custom, upload, download, code, datacube)})
