"""Requests read from, and answers put on, real connections, with what a fault does to them."""

import asyncio
import hashlib
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from wxproxy.sandbox.calls import Call, Seen
from wxproxy.sandbox.faults import Fault, wire
from wxproxy.sandbox.replies import TEXT, Reply

_HANDED_OVER_BYTES = 1024 * 1024
_RECORDED_BYTES = 4096
_CHUNK = bytes(range(256)) * 256


def arrival(request: web.Request, at: float) -> Call:
    """The call whose head has arrived; its body is still to be read."""
    target = request.raw_path
    # In absolute form, as clients that think they speak to an HTTP proxy send it.
    origin_form = "/" + target.split("/", 3)[3] if "://" in target.split("?")[0] else target
    path, _, query = origin_form.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    seen = Seen(
        method=request.method,
        target=target,
        headers=request.raw_headers,
        path=unquote(path),
        tokens=tuple(value for name, value in pairs if name == "access_token"),
        at=at,
    )
    # The first of several wins, as WeChat is taken to do it.
    return Call(seen, dict(reversed(pairs)))


async def read_body(request: web.Request, call: Call) -> None:
    """Read the request's body: hash all of it, hand the first MiB over, record a small one."""
    digest = hashlib.sha256()
    head = bytearray()
    async for chunk in request.content.iter_any():
        digest.update(chunk)
        call.seen.body_length += len(chunk)
        head += chunk[: _HANDED_OVER_BYTES - len(head)]
    call.body = bytes(head)
    call.seen.body_sha256 = digest.hexdigest()
    if call.seen.body_length <= _RECORDED_BYTES:
        call.seen.body = call.body


def needs_length(request: web.Request) -> Reply | None:
    """WeChat's 412 for a chunked body and for a POST without a length.

    Source: fastwego/miniprogram#3 (wechat-facts.md, 4).
    """
    chunked = "Transfer-Encoding" in request.headers
    bare = request.method in ("POST", "PUT", "PATCH") and "Content-Length" not in request.headers
    return Reply(b"Precondition Failed", TEXT, status=412) if chunked or bare else None


async def deliver(
    request: web.Request, reply: Reply, fault: Fault | None = None
) -> web.StreamResponse:
    """Put an answer on the request's connection."""
    if fault is not None:
        return await _deliver_with(request, reply, fault)
    if reply.size is None:
        return web.Response(body=reply.body, status=reply.status, headers=_headers(reply))
    response = _head(reply)
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in _pieces(reply):
            await response.write(piece)
    return response


async def _deliver_with(request: web.Request, reply: Reply, fault: Fault) -> web.StreamResponse:
    await asyncio.sleep(fault.delay_s)
    _write(request, b"".join(_informational(status) for status in fault.informational))
    if fault.hold:
        await asyncio.Event().wait()
    if fault.raw is not None:
        _write(request, wire(fault.raw))
    if fault.raw is not None or fault.drop == "before_head":
        return _hang_up(request, web.Response())
    response = _head(reply)
    await response.prepare(request)
    if fault.drop != "after_head" and request.method != "HEAD":
        await _write_body(response, reply, fault)
    if fault.drop:
        return _hang_up(request, response)
    await response.write_eof()
    if fault.close:
        _hang_up(request, response)
    elif fault.stray is not None:
        loop = asyncio.get_running_loop()
        loop.call_later(fault.stray_after_s, _write, request, wire(fault.stray))
    return response


async def _write_body(response: web.StreamResponse, reply: Reply, fault: Fault) -> None:
    left = _length(reply) // 2 if fault.drop else _length(reply)
    for piece in _pieces(reply, step=1 if fault.byte_gap_s else len(_CHUNK)):
        if left <= 0:
            return
        await response.write(piece[:left])
        await asyncio.sleep(fault.byte_gap_s)
        left -= len(piece)


def _write(request: web.Request, data: bytes) -> None:
    transport = request.transport
    if data and transport is not None and not transport.is_closing():
        transport.write(data)


def _hang_up(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    # What was written still goes out; aiohttp drops what it would write after.
    if request.transport is not None:
        request.transport.close()
    return response


def _informational(status: int) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Informational"
    return f"HTTP/1.1 {status} {reason}\r\n\r\n".encode()


def _headers(reply: Reply) -> list[tuple[str, str]]:
    return [("Content-Type", reply.content_type), *reply.headers]


def _head(reply: Reply) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status)
    response.headers.extend(_headers(reply))
    response.content_length = _length(reply)
    return response


def _length(reply: Reply) -> int:
    return len(reply.body) if reply.size is None else reply.size


def _pieces(reply: Reply, step: int = len(_CHUNK)) -> Iterator[bytes]:
    if reply.size is None:
        for start in range(0, len(reply.body), step):
            yield reply.body[start : start + step]
        return
    for start in range(0, reply.size, step):
        offset = start % len(_CHUNK)
        yield _CHUNK[offset : offset + min(step, reply.size - start)]
