"""What is sent again when a token was bad, and what never is: bodies, signed calls, logins."""

import hashlib
import io
import json
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.conftest import SidecarFactory
from tests.harness import Sidecar, connection, eventually, pieces
from tests.wire import ask_once, metric, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.calls import Seen
from wxproxy.sandbox.knobs import APPID

UPLOAD = "/cgi-bin/media/upload"
UPLOAD_CALL = f"{UPLOAD}?type=image"
BOUNDARY = "----wxproxy-boundary"
MULTIPART = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="media"; filename="a.jpg"\r\n'
    "Content-Type: image/jpeg\r\n\r\n"
).encode()
PICTURE = random.Random(7).randbytes(10 * 1024 * 1024)
BODY = MULTIPART + PICTURE + f"\r\n--{BOUNDARY}--\r\n".encode()
SHA256 = hashlib.sha256(BODY).hexdigest()
# Where the body is kept for the retry; the defaults put 10 MB into a file.
KEPT = {
    "in_a_file": {},
    "in_memory": {"replay_memory_bytes": "16MiB", "replay_memory_total_bytes": "16MiB"},
}


async def in_chunks() -> AsyncIterator[bytes]:
    """The body without an announced length, which makes aiohttp send it chunked."""
    for piece in pieces(BODY, 100_003):
        yield piece


async def upload(client: aiohttp.ClientSession, url: str, *, chunked: bool) -> dict[str, object]:
    """Post the 10 MB picture and give WeChat's answer."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    data = in_chunks() if chunked else io.BytesIO(BODY)
    async with client.post(url + UPLOAD_CALL, data=data, headers=headers) as reply:
        assert reply.headers["X-Wxproxy-Attempts"] == "2"
        answer: dict[str, object] = json.loads(await reply.read())
        return answer


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("chunked", [False, True], ids=["with_length", "chunked"])
async def test_an_upload_that_met_a_dead_token_arrives_twice_and_the_same(
    start: SidecarFactory,
    sandbox: Sandbox,
    client: aiohttp.ClientSession,
    kept: dict[str, str],
    chunked: bool,
) -> None:
    """10 MB whose first answer is 40001 go out again byte for byte, with a length, and succeed."""
    sidecar = await start(sandbox.url, **kept)
    await ask_once(sidecar.url, request("/cgi-bin/user/get"))
    sandbox.revoke(APPID)
    answer = await upload(client, sidecar.url, chunked=chunked)

    assert answer["type"] == "image"
    first, second = sandbox.seen(UPLOAD)
    assert (first.errcode, second.errcode) == (40001, None)
    assert {first.body_sha256, second.body_sha256} == {SHA256}
    assert {one.header("Content-Length") for one in (first, second)} == {str(len(BODY))}
    assert {one.header("Transfer-Encoding") for one in (first, second)} == {""}
    assert first.token != second.token == sandbox.token(APPID)


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
async def test_an_upload_refused_early_is_still_retried_with_all_of_it(
    start: SidecarFactory, sandbox: Sandbox, client: aiohttp.ClientSession, kept: dict[str, str]
) -> None:
    """40001 before WeChat has read the body: the rest is collected, and all of it goes out."""
    sidecar = await start(sandbox.url, **kept)
    await ask_once(sidecar.url, request("/cgi-bin/user/get"))
    sandbox.revoke(APPID)
    sandbox.fault(UPLOAD, errcode=40001, early=True)
    answer = await upload(client, sidecar.url, chunked=False)

    assert answer["type"] == "image"
    first, second = sandbox.seen(UPLOAD)
    assert first.body_length == 0
    assert second.body_sha256 == SHA256
    assert first.token != second.token


async def test_an_upload_too_large_to_be_kept_is_sent_once_and_counted(
    start: SidecarFactory, sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    """Without room to keep a body its 40001 passes, and the next call has the new token."""
    sidecar = await start(sandbox.url, spool_bytes="1MiB", spool_total_bytes="1MiB")
    await ask_once(sidecar.url, request("/cgi-bin/user/get"))
    sandbox.revoke(APPID)
    async with client.post(sidecar.url + UPLOAD_CALL, data=io.BytesIO(BODY)) as reply:
        assert json.loads(await reply.read())["errcode"] == 40001
    assert [one.body_sha256 for one in sandbox.seen(UPLOAD)] == [SHA256]
    labels = {"reason": "40001", "outcome": "skipped_body_too_large"}
    assert await metric(sidecar, "wxproxy_retries_total", **labels) == 1

    await eventually(lambda: sandbox.token_calls(APPID).fetches == 2)
    after = await ask_once(sidecar.url, request("/cgi-bin/user/get"))
    assert after.header("X-Wxproxy-Attempts") == "1"
    assert b'"total":3' in after.body


# -- signed calls ----------------------------------------------------------------------------

MIDAS = "/cgi-bin/midas/getbalance"


def signed(token: str) -> bytes:
    """A virtual-payment call whose body is signed together with the token in it."""
    body = json.dumps({"openid": "o1", "access_token": token, "mp_sig": "sig"}).encode()
    return request(MIDAS, method="POST", body=body)


async def test_a_signed_call_is_never_sent_twice(start: SidecarFactory, sandbox: Sandbox) -> None:
    """Its body holds the dead token: the 40001 passes, and the client signs the next one anew."""
    sidecar = await start(sandbox.url, token_endpoint="real")
    await ask_once(sidecar.url, request("/cgi-bin/user/get"))
    dead = sandbox.token(APPID)
    sandbox.revoke(APPID)
    refused = await ask_once(sidecar.url, signed(dead))

    assert json.loads(refused.body)["errcode"] == 40001
    assert [one.token for one in sandbox.seen(MIDAS)] == [dead]
    labels = {"reason": "40001", "outcome": "skipped_signed"}
    assert await metric(sidecar, "wxproxy_retries_total", **labels) == 1

    await eventually(lambda: sandbox.token(APPID) not in ("", dead))
    fetch = f"/cgi-bin/token?grant_type=client_credential&appid={APPID}&secret=x"
    fetched = await ask_once(sidecar.url, request(fetch))
    answer = await ask_once(sidecar.url, signed(json.loads(fetched.body)["access_token"]))
    assert json.loads(answer.body)["balance"] == 100


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_placeholder_in_a_signed_body_is_refused_by_name(
    sidecar: Sidecar, sandbox: Sandbox, framing: str
) -> None:
    """The signature would be over a token that WeChat never sees; nothing is forwarded."""
    call = signed(sidecar.app.accounts[0].placeholder)
    if framing == "chunked":
        body = call.partition(b"\r\n\r\n")[2]
        call = request(MIDAS, "Transfer-Encoding: chunked", method="POST") + (
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        )
    reply = await ask_once(sidecar.url, call)

    assert (reply.status, reply.header("X-Wxproxy-Error")) == (400, "placeholder_in_signed_body")
    answer = json.loads(reply.body)
    assert answer["errcode"] == -60400
    assert "token_endpoint = real" in answer["errmsg"]
    assert sandbox.seen(MIDAS) == []


# -- logins ----------------------------------------------------------------------------------

LOGINS = {
    "jscode2session": "/sns/jscode2session?js_code=once&grant_type=authorization_code",
    "oauth2": "/sns/oauth2/access_token?code=once&grant_type=authorization_code",
}


def logins(sandbox: Sandbox) -> list[Seen]:
    """The login calls that WeChat saw."""
    return sandbox.seen("/sns/")


@pytest.mark.parametrize("target", LOGINS.values(), ids=LOGINS)
@pytest.mark.parametrize("errcode", [40001, 42001])
async def test_a_login_is_never_sent_twice(
    sidecar: Sidecar, sandbox: Sandbox, target: str, errcode: int
) -> None:
    """A login code works once: WeChat's answer passes, whatever it is, and no token is fetched."""
    await ask_once(sidecar.url, request("/cgi-bin/user/get"))
    sandbox.fault("/sns", errcode=errcode)
    reply = await ask_once(sidecar.url, request(target))

    assert json.loads(reply.body)["errcode"] == errcode
    assert reply.header("X-Wxproxy-Attempts") == "1"
    assert reply.header("X-Wxproxy-Token-Id") is None
    assert len(logins(sandbox)) == 1
    assert sandbox.token_calls(APPID).fetches == 1
    assert sidecar.app.statuses()[0].counts["rejections"] == 0


@pytest.mark.parametrize("target", LOGINS.values(), ids=LOGINS)
async def test_a_login_lost_on_a_dead_connection_is_not_sent_again(
    sidecar: Sidecar, sandbox: Sandbox, target: str
) -> None:
    """WeChat may have used the code up: unlike other GETs it is not repeated on a fresh one."""
    sandbox.fault("/sns", drop="before_head")
    async with connection(sidecar.url) as client:
        await client.ask(request("/cgi-bin/user/get"))
        assert sidecar.app.pool.idle == 1
        lost = await client.ask(request(target))
        assert (lost.status, lost.header("X-Wxproxy-Error")) == (502, "upstream_broken")
        assert len(logins(sandbox)) == 1

        # The same failure of an ordinary GET is repaired unseen.
        await client.ask(request("/cgi-bin/user/get"))
        sandbox.fault("/cgi-bin/menu/get", drop="before_head")
        repaired = await client.ask(request("/cgi-bin/menu/get"))
    assert json.loads(repaired.body)["errcode"] == 46003
    assert len(sandbox.seen("/cgi-bin/menu/get")) == 2
