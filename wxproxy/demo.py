"""``wxproxy demo``: a simulated WeChat and a sidecar for it in one process."""

import asyncio
from collections.abc import Mapping
from typing import NoReturn

from wxproxy import config, process, sandbox
from wxproxy.app import App
from wxproxy.errors import ConfigError
from wxproxy.process import Signals
from wxproxy.sandbox.api import OPENIDS
from wxproxy.sandbox.knobs import APPID, SECRET
from wxproxy.serve import build, serve

# Which account is served is the demo's own; every other setting of the environment holds.
_OWN_VARIABLES = frozenset(
    f"WXPROXY_{key}"
    for key in ("CONFIG", "APPID", "SECRET", "SECRET_FILE", "KIND", "TOKEN_API", "UPSTREAM")
)


def run(flags: Mapping[str, str], environ: Mapping[str, str], signals: Signals) -> NoReturn:
    """Serve the demo until a signal, and leave the process.

    Raises:
        ConfigError: a setting or an address cannot be used.
    """
    process.prepare()
    process.run(lambda stopping: _demo(flags, environ, stopping), signals)


async def _demo(
    flags: Mapping[str, str], environ: Mapping[str, str], stopping: asyncio.Event
) -> int:
    wechat = sandbox.Sandbox()
    url = await wechat.start()
    others = {name: value for name, value in environ.items() if name not in _OWN_VARIABLES}
    account = {"WXPROXY_APPID": APPID, "WXPROXY_SECRET": SECRET, "WXPROXY_UPSTREAM": url}
    try:
        app = build(config.load(flags, {**others, **account}))
        return await _serve(app, url, stopping)
    finally:
        await wechat.stop()


async def _serve(app: App, wechat: str, stopping: asyncio.Event) -> int:
    try:
        return await serve(app, stopping, on_start=lambda app: print(text(app, wechat), flush=True))
    except ConfigError as exc:
        message = f"{exc.message}; --listen and --ops-listen choose other addresses"
        raise ConfigError(message) from None


def text(app: App, wechat: str) -> str:
    """What the demo prints: what runs where, and calls that work when they are pasted."""
    proxy, ops = app.proxy_addresses[0], app.ops_address
    message = f'{{"touser":"{OPENIDS[0]}","template_id":"demo","data":{{}}}}'
    return f"""\
Nothing here is real: a simulated WeChat and a sidecar for it, until Ctrl+C.

  sidecar            {proxy}  (in place of https://api.weixin.qq.com)
  ops                {ops}
  simulated WeChat   {wechat}  (account {APPID})

Calls as an application makes them, without a token:
  curl {_url(proxy, "/cgi-bin/user/get")}
  curl {_url(proxy, "/cgi-bin/menu/create")} -d '{_MENU}'
  curl {_url(proxy, "/cgi-bin/message/template/send")} -d '{message}'
  printf picture | curl {_url(proxy, "/cgi-bin/media/upload?type=image")} -F '{_PICTURE}'
  curl {_url(proxy, "/wxa/getwxacodeunlimit")} -d '{{"scene":"demo"}}' -so wxacode.jpg

WeChat drops the token; the next call is answered all the same, at its second attempt:
  curl {_url(wechat, "/_sandbox/revoke")} -d '{{"appid":"{APPID}"}}'
  curl -i {_url(proxy, "/cgi-bin/user/get")}

What the sidecar knows:
  curl {_url(ops, "/status")}
  curl {_url(ops, "/metrics")}
"""


_MENU = '{"button":[{"type":"click","name":"Hello","key":"HELLO"}]}'
_PICTURE = "media=@-;filename=picture.jpg;type=image/jpeg"


def _url(address: str, path: str) -> str:
    """The arguments with which curl finds the path there."""
    if address.startswith("unix:"):
        return f"--unix-socket '{address.removeprefix('unix:')}' 'http://localhost{path}'"
    return f"'{address}{path}'"
