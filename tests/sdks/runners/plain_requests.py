"""requests without any SDK: another host, no token, nothing else."""

import json
from typing import Any

import requests

from tests.sdks.runners.talk import DAY, MENU, OPENID, PICTURE, SIDECAR, answer, is_picture

session = requests.Session()
media: list[str] = []


def get(path: str) -> Any:
    return session.get(SIDECAR + path).json()


def post(path: str, data: object) -> requests.Response:
    return session.post(SIDECAR + path, data=json.dumps(data, ensure_ascii=False).encode())


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
    url = f"{SIDECAR}/cgi-bin/media/upload?type=image"
    media.append(session.post(url, files={"media": ("a.jpg", PICTURE)}).json()["media_id"])
    return media[-1]


def download() -> object:
    return is_picture(session.get(f"{SIDECAR}/cgi-bin/media/get?media_id={media[-1]}").content)


def code() -> object:
    return is_picture(post("/wxa/getwxacodeunlimit", {"scene": "a=1"}).content)


def datacube() -> object:
    days = {"begin_date": DAY, "end_date": DAY}
    return post("/datacube/getusersummary", days).json()["list"][0]["new_user"] == 3


answer({f.__name__: f for f in (users, menu, template, custom, upload, download, code, datacube)})
