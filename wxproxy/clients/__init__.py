"""Sends what a program means for WeChat to the sidecar instead, below its SDK.

For SDKs with WeChat's hosts fixed in their code, one line at the program's start::

    from wxproxy.clients.requests import install    # or .httpx, or .aiohttp
    install(client, "http://127.0.0.1:5780")

Every request for one of WECHAT_HOSTS, http or https, then goes to that address: the path as it
is behind the address's own, so that ``http://127.0.0.1:5780/@shop`` chooses an account, and the
``Host`` still WeChat's, which tells the sidecar official and WeCom calls apart. No proxy of the
environment is used on that way. Other requests are left alone. To the program each response
looks as if WeChat had sent it: URLs, in redirects and exceptions too, are those that it asked
for.

Each module needs its own client library and nothing else: ``pip install --no-deps`` will do in
an application's environment.
"""

from urllib.parse import urlsplit

WECHAT_HOSTS = (
    "api.weixin.qq.com",
    "api2.weixin.qq.com",
    "sh.api.weixin.qq.com",
    "sz.api.weixin.qq.com",
    "hk.api.weixin.qq.com",
    "qyapi.weixin.qq.com",
)
"""WeChat's access points for official and WeCom calls.

Source: https://developers.weixin.qq.com/doc/service/Basic_Information/Interface_field_description.html
"""


def checked_base(base_url: str) -> str:
    """The sidecar's address, ready to have a path put behind it.

    Raises:
        ValueError: it is no ``http`` or ``https`` URL of a host and, at most, a path.
    """
    parts = urlsplit(base_url)
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise ValueError(
            "base_url must be the sidecar's address, such as http://127.0.0.1:5780 or "
            "http://127.0.0.1:5780/@account"
        )
    return base_url.rstrip("/")
