"""The SDKs, how each is had, and what it does not offer."""

import re
from dataclasses import dataclass
from typing import Literal

from wxproxy.sandbox.knobs import APPID, CORPID

ACTIONS = ("users", "menu", "template", "custom", "upload", "download", "code", "datacube")


@dataclass(frozen=True, slots=True)
class Row:
    """One SDK in one version.

    Attributes:
        name: as the table shows it.
        runner: its program under runners.
        source: where its package comes from, or the program that must be there.
        package: what is installed.
        arguments: the runner's.
        appid: the sandbox's account that it works for.
        lacks: actions that it does not offer.
        probe: the action by which trouble with tokens is tried.
        path: where the probe calls WeChat.
    """

    name: str
    runner: str
    source: Literal["pip", "npm", "curl", "php"]
    package: str = ""
    arguments: tuple[str, ...] = ()
    appid: str = APPID
    lacks: tuple[str, ...] = ()
    probe: str = "users"
    path: str = "/cgi-bin/user/get"

    @property
    def environment(self) -> str:
        """The folder under .venv-sdks; rows with the same package share it."""
        return re.sub(r"[^\w.-]+", "-", self.package)


_OFFICIAL_ONLY = ("template", "code", "datacube")

ROWS = (
    Row("wechatpy 1.8.18", "wechatpy_official.py", "pip", "wechatpy[cryptography]==1.8.18"),
    Row(
        "wechatpy 1.8.18, auto_retry",
        "wechatpy_official.py",
        "pip",
        "wechatpy[cryptography]==1.8.18",
        ("auto_retry",),
    ),
    Row("wechatpy 2.0.0a26", "wechatpy_official.py", "pip", "wechatpy==2.0.0a26"),
    Row(
        "wechatpy.work 2.0.0a26",
        "wechatpy_work.py",
        "pip",
        "wechatpy==2.0.0a26",
        appid=CORPID,
        lacks=_OFFICIAL_ONLY,
    ),
    Row(
        "WeRoBot 1.13.1",
        "werobot_official.py",
        "pip",
        "WeRoBot==1.13.1",
        lacks=("code", "datacube"),
    ),
    Row(
        "corpwechatbot 0.6.4",
        "corpwechatbot_work.py",
        "pip",
        "corpwechatbot==0.6.4",
        appid=CORPID,
        # Its uploads give their part no name, which the sandbox refuses; whether WeCom does is
        # not known.
        lacks=("users", "menu", "upload", "download", *_OFFICIAL_ONLY),
        probe="custom",
        path="/cgi-bin/message/send",
    ),
    Row("requests 2.32.5", "plain_requests.py", "pip", "requests==2.32.5"),
    Row("httpx 0.28.1", "plain_httpx.py", "pip", "httpx==0.28.1"),
    Row("co-wechat-api 3.11.0", "co_wechat_api.js", "npm", "co-wechat-api@3.11.0"),
    Row("wechat-api 1.35.1", "wechat_api.js", "npm", "wechat-api@1.35.1", lacks=("code",)),
    Row("curl", "curl.sh", "curl"),
    Row("PHP's curl", "curl.php", "php"),
)
