"""The simulator's faults, each on a real socket."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.sandbox_client import Client, raw
from wxproxy.sandbox import LATE_408, Fault, Sandbox
from wxproxy.sandbox.knobs import APPID

PATH = "/cgi-bin/user/get"


@pytest.fixture
async def wechat() -> AsyncIterator[Client]:
    """A sandbox and a client of it."""
    sandbox = Sandbox()
    await sandbox.start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Client(sandbox, session)
    await sandbox.stop()


async def _get(wechat: Client, *, keep: bool = False, until: bytes | None = None) -> bytes:
    """What a good GET of PATH brings, byte for byte."""
    head = f"GET {PATH}?access_token={await wechat.token()} HTTP/1.1\r\nHost: h\r\n"
    head += "\r\n" if keep else "Connection: close\r\n\r\n"
    return await raw(wechat.sandbox, head.encode(), until=until)


async def test_a_fault_acts_under_its_path_so_many_times(wechat: Client) -> None:
    """Two refusals under the prefix, then the endpoint's own answer; elsewhere none."""
    wechat.sandbox.fault("/cgi-bin/user", errcode=45009, times=2)
    codes = [await wechat.verdict("2", "/cgi-bin/menu/get?")]
    codes += [await wechat.verdict("2") for _ in range(3)]

    assert codes == [40001, 45009, 45009, 40001]
    assert [seen.fault for seen in wechat.sandbox.calls] == [False, True, True, False]
    assert wechat.sandbox.faults == []


async def test_a_fault_for_ever_ends_when_cleared(wechat: Client) -> None:
    """Without a count a fault stays until the faults are cleared; the first of two acts."""
    wechat.sandbox.fault("/", errcode=-1, times=None)
    wechat.sandbox.fault("/", errcode=50002)

    assert [await wechat.verdict("2") for _ in range(5)] == [-1] * 5
    assert len(wechat.sandbox.faults) == 2
    wechat.sandbox.clear_faults()
    assert await wechat.verdict("2") == 40001


@pytest.mark.parametrize(
    ("form", "shape"),
    [
        ("plain", '{"errcode":42001,"errmsg":"gone"}'),
        ("string", '{"errcode":"42001","errmsg":"gone"}'),
        ("last", '{"ip_list":[],"errmsg":"gone","errcode":42001}'),
        ("base_resp", '{"base_resp":{"errcode":42001,"errmsg":"gone"}}'),
    ],
)
async def test_errcode_forms(wechat: Client, form: Any, shape: str) -> None:
    """An errcode comes in each of the shapes that WeChat is known to use."""
    wechat.sandbox.fault(PATH, errcode=42001, errmsg="gone", form=form)

    assert (200, shape.encode()) == (await wechat.call(PATH))[::2]


@pytest.mark.parametrize("content_type", ["text/plain", "image/jpeg", "application/json:UTF-8"])
async def test_content_type_of_a_refusal(wechat: Client, content_type: str) -> None:
    """A refusal comes under any content type."""
    wechat.sandbox.fault(PATH, errcode=40014, content_type=content_type)

    assert (200, content_type) == (await wechat.call(PATH))[:2]


@pytest.mark.parametrize(
    ("encoding", "inflate"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)]
)
@pytest.mark.parametrize("what", [{"errcode": 40001}, {}], ids=["refusal", "own answer"])
async def test_compressed_answers(
    wechat: Client, encoding: Any, inflate: Any, what: dict[str, int]
) -> None:
    """A refusal and the endpoint's own answer can come compressed, and say so."""
    wechat.sandbox.fault(PATH, encoding=encoding, **what)
    url = f"{wechat.sandbox.url}{PATH}?access_token={await wechat.token()}"
    async with wechat.session.get(url) as reply:
        stated, body = reply.headers["Content-Encoding"], await reply.read()

    assert encoding == stated
    assert what.get("errcode") == json.loads(inflate(body)).get("errcode")


async def test_odd_bytes_around_and_within_json(wechat: Client) -> None:
    """A BOM and white space in front, raw control characters and bad UTF-8 within."""
    wechat.sandbox.fault(PATH, errcode=40001, errmsg='a\x01\n"\\\udcff', prefix="\ufeff \r\n")
    _, _, body = await wechat.call(PATH)

    expected = b'\xef\xbb\xbf \r\n{"errcode":40001,"errmsg":"a\x01\n\\"\\\\\xff"}'
    assert expected == body


async def test_refusals_speak_wechats_words(wechat: Client) -> None:
    """A refusal by code alone has the documented text: 40164 names the address."""
    wechat.sandbox.fault("/cgi-bin/stable_token", errcode=40164)
    wechat.sandbox.fault("/cgi-bin/gettoken", errcode=60020)
    official, wecom = await wechat.stable(), await wechat.gettoken()

    text = "invalid ip 203.0.113.8 ipv6 ::ffff:203.0.113.8, not in whitelist rid: "
    assert official["errmsg"].startswith(text)
    assert wecom["errmsg"].startswith("not allow to access from your ip, hint: [")
    assert "from ip: 203.0.113.8" in wecom["errmsg"]


async def test_a_refused_fetch_makes_no_token(wechat: Client) -> None:
    """A refusal keeps the endpoint from acting, and the call is counted all the same."""
    wechat.sandbox.fault("/cgi-bin/token", errcode=-1)
    await wechat.classic()

    assert wechat.sandbox.token(APPID, family="classic") == ""
    assert wechat.sandbox.token_calls(APPID).fetches == 1


@pytest.mark.parametrize("expires_in", [0, -1, 10**12, "7200", 7200.5, None, True])
async def test_odd_expires_in(wechat: Client, expires_in: Any) -> None:
    """merge puts an odd value over one member and leaves the live token."""
    wechat.sandbox.fault("/cgi-bin/stable_token", merge={"expires_in": expires_in})
    granted = await wechat.stable()

    assert expires_in == granted["expires_in"]
    assert type(expires_in) is type(granted["expires_in"])
    assert await wechat.verdict(granted["access_token"]) == 0


async def test_merge_leaves_what_is_no_object(wechat: Client) -> None:
    """A body that is no JSON object cannot be merged into and goes out as it is."""
    wechat.sandbox.fault(PATH, json=[1], merge={"a": 1})

    assert (await wechat.call(PATH))[2] == b"[1]"


@pytest.mark.parametrize("token", ["", "x" * 5000])
async def test_odd_tokens(wechat: Client, token: str) -> None:
    """A token endpoint may answer any JSON."""
    answer = {"access_token": token, "expires_in": 7200}
    wechat.sandbox.fault("/cgi-bin/stable_token", json=answer)

    assert answer == await wechat.stable()


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        pytest.param({"json": [1]}, (200, b"[1]"), id="other JSON"),
        pytest.param({"json": None}, (200, b"null"), id="null"),
        pytest.param({"body": ""}, (200, b""), id="empty"),
        pytest.param({"body": "<html>", "status": 502}, (502, b"<html>"), id="gateway page"),
        pytest.param({"status": 500, "errcode": -1, "errmsg": "x"},
                     (500, b'{"errcode":-1,"errmsg":"x"}'), id="errcode with a status"),
    ],
)  # fmt: skip
async def test_any_status_and_body(
    wechat: Client, what: dict[str, Any], expected: tuple[int, bytes]
) -> None:
    """Any status goes with any body."""
    wechat.sandbox.fault(PATH, **what)

    assert expected == (await wechat.call(PATH))[::2]


async def test_added_headers(wechat: Client) -> None:
    """A fault can add headers, as a redirect needs."""
    wechat.sandbox.fault(PATH, body="", status=302, headers={"Location": "/x"})
    async with wechat.session.get(wechat.sandbox.url + PATH, allow_redirects=False) as reply:
        assert (reply.status, reply.headers["Location"]) == (302, "/x")


async def test_delay_comes_before_the_head(wechat: Client) -> None:
    """Nothing arrives before the delay has passed."""
    wechat.sandbox.fault(PATH, delay_s=0.05)
    started = time.monotonic()
    head = await _get(wechat, until=b"\r\n")

    assert head == b"HTTP/1.1 200 OK\r\n"
    assert time.monotonic() - started >= 0.05


async def test_gaps_between_body_bytes(wechat: Client) -> None:
    """The body comes byte by byte, whole in the end."""
    wechat.sandbox.fault(PATH, body="12345", byte_gap_s=0.01)
    started = time.monotonic()

    assert (await _get(wechat)).endswith(b"\r\n\r\n12345")
    assert time.monotonic() - started >= 0.04


async def test_informational_replies_come_first(wechat: Client) -> None:
    """Each 1xx is a head of its own before the real one."""
    wechat.sandbox.fault(PATH, informational=(103, 150), body="x")
    reply = await _get(wechat)

    first = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 150 Informational\r\n\r\nHTTP/1.1 200 OK\r\n"
    assert reply.startswith(first)


async def test_hold_never_answers(wechat: Client) -> None:
    """A held request gets nothing, is recorded, and does not keep the sandbox from stopping."""
    wechat.sandbox.fault(PATH, hold=True)
    parts = wechat.sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(parts[0], int(parts[1]))
    writer.write(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % PATH.encode())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    assert len(wechat.sandbox.seen(PATH)) == 1

    async with asyncio.timeout(2):
        await wechat.sandbox.stop()
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_drop_before_the_head(wechat: Client) -> None:
    """The connection closes without a byte, after the endpoint has acted."""
    wechat.sandbox.fault("/cgi-bin/stable_token", drop="before_head")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await wechat.stable()

    assert wechat.sandbox.token(APPID) == await wechat.token()


async def test_drop_after_the_head(wechat: Client) -> None:
    """The head announces a body of which no byte comes."""
    wechat.sandbox.fault(PATH, drop="after_head", body="1234")
    head, _, body = (await _get(wechat)).partition(b"\r\n\r\n")

    assert b"Content-Length: 4" in head
    assert body == b""


async def test_drop_in_the_middle_of_the_body(wechat: Client) -> None:
    """Half of the announced body comes, of small and of streamed replies."""
    wechat.sandbox.fault(PATH, drop="mid_body", body="1234")
    assert (await _get(wechat)).endswith(b"\r\n\r\n12")

    wechat.sandbox.fault("/sandbox/bytes", drop="mid_body")
    path = f"/sandbox/bytes?n=300001&access_token={await wechat.token()}"
    request = f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    head, _, body = (await raw(wechat.sandbox, request)).partition(b"\r\n\r\n")
    assert b"Content-Length: 300001" in head
    assert len(body) == 150_000


async def test_garbage_in_place_of_a_reply(wechat: Client) -> None:
    """Any bytes can stand in for a reply; then the connection closes."""
    wechat.sandbox.fault(PATH, raw="SSH-2.0-x\r\n\udcff")

    assert await _get(wechat, keep=True) == b"SSH-2.0-x\r\n\xff"


async def test_close_after_a_reply_without_a_word(wechat: Client) -> None:
    """The reply says nothing of closing, and the connection closes."""
    wechat.sandbox.fault(PATH, body="x", close=True)
    reply = await _get(wechat, keep=True)

    assert reply.endswith(b"\r\n\r\nx")
    assert b"connection" not in reply.lower()


async def test_stray_reply_on_an_idle_connection(wechat: Client) -> None:
    """A late 408 follows the answer on the kept connection, without a second request."""
    wechat.sandbox.fault(PATH, body="x", stray=LATE_408)
    reply = await _get(wechat, keep=True, until=b"close\r\n\r\n")

    assert reply.endswith(b"\r\n\r\nx" + LATE_408.encode())
    assert len(wechat.sandbox.seen(PATH)) == 1


async def test_stray_reply_to_a_client_that_left(wechat: Client) -> None:
    """A stray reply, before or after its client has left, does no harm."""
    wechat.sandbox.fault(PATH, body="x", stray=LATE_408, stray_after_s=0)

    assert b"\r\n\r\nx" in await _get(wechat)
    assert await wechat.verdict("2") == 40001


def _upload(length: int) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"
    return head.encode()


async def test_early_reply_then_close(wechat: Client) -> None:
    """The reply comes while the body is still owed, and the connection closes."""
    wechat.sandbox.fault(PATH, errcode=40001, early=True, close=True)
    reply = await raw(wechat.sandbox, _upload(1_000_000))

    assert b'"errcode":40001' in reply


async def test_early_reply_then_go_on(wechat: Client) -> None:
    """After an early reply the rest of the body is read and the connection serves on."""
    wechat.sandbox.fault(PATH, errcode=40001, errmsg="first", early=True)
    parts = wechat.sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(parts[0], int(parts[1]))
    async with asyncio.timeout(5):
        writer.write(_upload(10))
        first = await reader.readuntil(b'"first"}')
        writer.write(b"0123456789" + b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n")
        second = await reader.readuntil(b"404 Not Found\r\n")
    writer.close()
    await writer.wait_closed()

    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.startswith(b"HTTP/1.1 404 ")


async def test_faults_spare_the_control_route(wechat: Client) -> None:
    """A fault on every path leaves the control route as it is."""
    wechat.sandbox.fault("/", drop="before_head", times=None)

    assert (await wechat.call("/_sandbox/stats"))[0] == 200


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"path": "cgi-bin"}, "path begins with a slash"),
        ({"times": 0}, "times is at least 1"),
        ({"errcode": 1, "body": ""}, "exclude each other"),
        ({"body": "", "json": None}, "exclude each other"),
        ({"informational": (101,)}, "informational statuses"),
        ({"informational": (200,)}, "informational statuses"),
    ],
)
def test_impossible_faults_are_refused(what: dict[str, Any], message: str) -> None:
    """A fault that means nothing cannot be made."""
    with pytest.raises(ValueError, match=message):
        Fault(**what)


async def test_a_client_that_leaves_during_its_upload_makes_no_noise(
    wechat: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A half-sent request is recorded without a hash, and nothing is logged."""
    parts = wechat.sandbox.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(parts[0], int(parts[1]))
    writer.write(_upload(10) + b"abc")
    while not (calls := wechat.sandbox.seen(PATH)) or calls[0].body_length < 3:
        await asyncio.sleep(0.005)
    writer.close()
    await writer.wait_closed()
    await wechat.sandbox.stop()

    assert (calls[0].body_length, calls[0].body_sha256, calls[0].status) == (3, "", 0)
    assert caplog.records == []
