"""Faults: what can go wrong with the answers to matching requests; pure.

Texts that go on the wire (``body``, ``raw``, ``stray``, ``prefix``, ``errmsg``) are written as
UTF-8; ``\\udc80`` to ``\\udcff`` stand for single bytes, so that every byte can be had.
"""

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import msgspec

from wxproxy.sandbox.replies import Reply, json_reply

LATE_408 = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to requests under a path.

    Which requests:
        path: prefix of the decoded path; "/" matches all but the control route's own.
        times: how many requests; None is for ever.

    What is answered, in place of the endpoint's own answer:
        errcode: a refusal with this code, in WeChat's words, or with just this ``errmsg``; control
            characters in it go out as they are, as WeChat sends them now and then.
        form: the shape of that refusal: ``errcode`` first, as a string, last behind other
            members, or both members within ``base_resp``.
        json: any JSON value as the body.
        body: any text as the body; "" for an empty one.

    What is changed about that answer, or about the endpoint's own:
        merge: members put over those of a JSON object; other bodies stay.
        status, content_type, headers, encoding: of the reply.
        prefix: put before the body, as white space or a byte order mark.

    How it is delivered:
        early: reply before the request's body is read.
        delay_s: wait before the reply's head.
        informational: 1xx replies sent first, by status.
        byte_gap_s: write the body byte by byte, with this gap.
        hold: never reply.
        drop: close in place of the head, after it, or in the middle of the body.
        raw: write this in place of a reply, and close.
        close: close right after the reply, without having announced it.
        stray: write this ``stray_after_s`` after the reply, when the connection is idle; for
            example ``LATE_408``.
    """

    path: str = "/"
    times: int | None = 1

    errcode: int | None = None
    errmsg: str = ""
    form: Literal["plain", "string", "last", "base_resp"] = "plain"
    json: Any = msgspec.UNSET
    body: str | None = None

    merge: dict[str, Any] = {}
    status: int | None = None
    content_type: str | None = None
    headers: dict[str, str] = {}
    encoding: Literal["gzip", "deflate"] | None = None
    prefix: str = ""

    early: bool = False
    delay_s: float = 0.0
    informational: tuple[int, ...] = ()
    byte_gap_s: float = 0.0
    hold: bool = False
    drop: Literal["before_head", "after_head", "mid_body"] | None = None
    raw: str | None = None
    close: bool = False
    stray: str | None = None
    stray_after_s: float = 0.05

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError("path begins with a slash")
        if self.times is not None and self.times < 1:
            raise ValueError("times is at least 1, or null for ever")
        if (self.errcode is not None) + (self.json is not msgspec.UNSET) + (
            self.body is not None
        ) > 1:
            raise ValueError("errcode, json and body exclude each other")
        if any(status == 101 or not 100 <= status < 200 for status in self.informational):
            raise ValueError("informational statuses are 100 and 102 to 199")


def wire(text: str) -> bytes:
    """The bytes that a text of a fault stands for."""
    return text.encode("utf-8", "surrogateescape")


def shaped(fault: Fault, *, refusal: Callable[[int], Reply], own: Callable[[], Reply]) -> Reply:
    """The answer that a fault makes of the endpoint's own, or in its place.

    The endpoint acts only when its own answer is asked for: a refused fetch makes no token.
    """
    reply = _base(fault, refusal, own)
    body = reply.body
    if fault.merge and body.startswith(b"{"):
        body = json_reply(json.loads(body) | fault.merge).body
    body = wire(fault.prefix) + body
    headers = (*reply.headers, *fault.headers.items())
    if fault.encoding == "gzip":
        body = gzip.compress(body)
    elif fault.encoding == "deflate":
        body = zlib.compress(body)
    if fault.encoding:
        headers = (*headers, ("Content-Encoding", fault.encoding))
    return replace(
        reply,
        body=body,
        headers=headers,
        status=fault.status or reply.status,
        content_type=fault.content_type or reply.content_type,
    )


def _base(fault: Fault, refusal: Callable[[int], Reply], own: Callable[[], Reply]) -> Reply:
    if fault.errcode is not None:
        return _reformed(fault, refusal(fault.errcode))
    if fault.json is not msgspec.UNSET:
        return json_reply(fault.json)
    if fault.body is not None:
        return Reply(wire(fault.body), "text/html")
    return own()


def _reformed(fault: Fault, reply: Reply) -> Reply:
    text = fault.errmsg or json.loads(reply.body)["errmsg"]
    # Written by hand: the standard encoder would escape the control characters.
    errmsg = b'"' + wire(text.replace("\\", "\\\\").replace('"', '\\"')) + b'"'
    code = str(fault.errcode).encode()
    if fault.form == "string":
        body = b'{"errcode":"%b","errmsg":%b}' % (code, errmsg)
    elif fault.form == "last":
        body = b'{"ip_list":[],"errmsg":%b,"errcode":%b}' % (errmsg, code)
    elif fault.form == "base_resp":
        body = b'{"base_resp":{"errcode":%b,"errmsg":%b}}' % (code, errmsg)
    else:
        body = b'{"errcode":%b,"errmsg":%b}' % (code, errmsg)
    return replace(reply, body=body)
