r"""A simulated WeChat, for tests that need one and have no credentials.

It stands in for ``https://api.weixin.qq.com`` and ``https://qyapi.weixin.qq.com``, both at one
address. It follows WeChat's rules about tokens, answers the commonest paths in their documented
shapes, refuses with WeChat's codes, texts and content types, and fails in every way that you ask
for. It imports nothing of the rest of wxproxy.

Run it::

    wxproxy sandbox                        # http://127.0.0.1:5790; prints what follows
    curl http://127.0.0.1:5790/_sandbox/stats

or inside a test::

    from wxproxy.sandbox import Sandbox

    sandbox = Sandbox()
    url = await sandbox.start()            # a free port of 127.0.0.1
    sandbox.fault("/cgi-bin/message", errcode=45009, times=2)
    ...                                    # your application, with url as its WeChat
    assert len(sandbox.seen("/cgi-bin/message")) == 3
    await sandbox.stop()

Credentials
===========
==================  ===================  ==============================================
official account    wxsandbox0000000001  secret sandbox-secret-1
official account    wxsandbox0000000002  secret sandbox-secret-2
WeCom corp          wwsandbox00000001    agent 1000001, secret sandbox-agent-secret-1;
                                         agent 1000002, secret sandbox-agent-secret-2
WeCom robot                              key sandbox-webhook-key
third-party         wxsandboxcomponent1  secret sandbox-component-secret, any ticket
==================  ===================  ==============================================

Every app has the followers ``oSandbox00000000000000000001`` to ``…3``. Any login code works
once; one that begins with ``bad`` never does. ``add_app`` adds apps of your own.

Tokens
======
Stable and classic tokens live apart. ``GET /cgi-bin/token`` makes a new token each time and ends
the older one five minutes later; 2,000 a day. ``POST /cgi-bin/stable_token`` repeats its token
with the seconds that remain, renews it in the last 300 of its 7200, and obeys ``force_refresh``
20 times a day, 30 seconds apart. ``GET /cgi-bin/gettoken`` (WeCom) repeats its token until it
expires. A bad token gets 40001 (superseded, revoked, unknown), 42001 (expired), 40014 (no token
looks like that; and WeCom's word for all but an expired one) or 41001 (none), before anything
else of a call is looked at. A body without a length (chunked) gets HTTP 412.

Besides WeChat's paths there are, with a token like any other:
``/sandbox/echo`` and all below it (the request as it arrived), ``/sandbox/sink`` (length and
SHA-256 of an upload), ``/sandbox/bytes?n=…`` (a download of n bytes); the last two of any size.
Other paths of WeChat's families get 40066 once the token has passed.

Knobs
=====
Methods of ``Sandbox``, and JSON posted to ``/_sandbox/…`` without any token:

====================================  ========================================================
method                                control route
====================================  ========================================================
add_app(appid, secret, …)             POST apps {"appid", "secret", "kind", "agent"}
revoke(appid, …)                      POST revoke {"appid", "family", "token", "insist"}
expire_in(appid, seconds, …)          POST expire {"appid", "seconds", "family"}
set_life(appid, seconds)              POST life {"appid", "seconds"}
set_quota(appid, per_day)             POST quota {"appid", "per_day"}
set_new_each_time(appid, on)          POST new_each_time {"appid", "on"}
advance(seconds)                      POST advance {"seconds"}
fault(path, …), add_fault(Fault(…))   POST faults {"path", …}: the members of ``Fault``
faults, clear_faults()                GET faults, DELETE faults
calls, seen(path)                     GET calls: the last 10,000 requests, as they arrived
stats(), token_calls(appid)           GET stats
token(appid, …)                       \
reset()                               POST reset: forget all but the apps
====================================  ========================================================

Families are ``classic``, ``stable`` and ``gettoken``. The clock that tokens age by is yours:
``Sandbox(now=…)``, or ``advance``. Some faults to begin with::

    {"path": "/cgi-bin/stable_token", "errcode": 40164, "times": null}     refuse for ever
    {"path": "/cgi-bin/stable_token", "merge": {"expires_in": "7200"}}     an odd type
    {"path": "/wxa", "errcode": 40001, "content_type": "image/jpeg", "encoding": "gzip"}
    {"path": "/cgi-bin/user", "delay_s": 3}                                slow
    {"path": "/", "drop": "mid_body", "times": 5}                          broken off
    {"path": "/", "body": "<html>", "status": 502}                         a gateway's page
    {"path": "/", "stray": "HTTP/1.1 408 Request Timeout\r\n\r\n"}         late, on an idle line
"""

from wxproxy.sandbox.cli import add_arguments, serve
from wxproxy.sandbox.faults import LATE_408, Fault
from wxproxy.sandbox.server import Sandbox

__all__ = ["LATE_408", "Fault", "Sandbox", "add_arguments", "serve"]
