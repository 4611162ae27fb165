"""No secret, live token or placeholder shows, whatever fails: logs, errors, metrics, pages."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.conftest import SidecarFactory
from tests.harness import SECRET, RawClient, Sidecar, eventually
from tests.upstreams import TOKEN, Received, ScriptedUpstream, ok
from tests.watching import CANARY, CLOSE, LIVE, Watch
from tests.wire import request
from wxproxy.ops import _Ops
from wxproxy.routing import Router
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import APPID
from wxproxy.wechat import TokenClient

USERS = "/cgi-bin/user/get"
STABLE = "/cgi-bin/stable_token"
LOGIN = "/sns/jscode2session?js_code=c&grant_type=authorization_code"


async def _echo_as_garbage(
    received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """What is no HTTP, with the request in it."""
    writer.write(b"HTTP/9.9 " + received.head + b"\r\n\r\n")
    return False


async def _echo_in_a_header(
    received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\n" + received.target.encode() + b"\0\r\n\r\n")
    return False


async def _echo_in_a_chunk(
    received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head + received.target.encode() + b"\r\n")
    return False


async def _hang_up(
    received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    return False


FAILURES = {
    "garbage": _echo_as_garbage,
    "broken header": _echo_in_a_header,
    "broken chunk": _echo_in_a_chunk,
    "hangs up": _hang_up,
    "odd length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "switches protocols": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("target", [f"{USERS}?access_token={CANARY}", LOGIN])
async def test_wechats_failures_quote_nothing(
    watch: Watch, watched: Sidecar, scripted: ScriptedUpstream, answer: object, target: str
) -> None:
    """The library's exceptions would have the URL in them, token or secret included."""
    scripted.answer = answer  # type: ignore[assignment]  # bytes or a coroutine function
    said = await watch.ask(watched.url, request(target, CLOSE))

    assert said.startswith(b"HTTP/1.1 502")
    await watch.is_silent(watched, *LIVE)


async def test_an_upstream_that_is_down_is_named_without_the_request(
    watch: Watch, watched: Sidecar, scripted: ScriptedUpstream
) -> None:
    """Both over a connection that was there before and over none."""
    await watch.ask(watched.url, request(USERS, CLOSE))
    await scripted.stop()
    for target in (f"{USERS}?access_token={CANARY}", LOGIN):
        said = await watch.ask(watched.url, request(target, CLOSE))
        assert b"upstream_unreachable" in said

    await watch.is_silent(watched, *LIVE)
    await scripted.start()


def _untrusted_certificate(directory: Path) -> ssl.SSLContext:
    """A server's TLS context that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (directory / "both.pem").write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "both.pem")
    return context


async def _fails_to_connect(watch: Watch, sidecar: Sidecar, cause: bytes) -> None:
    """Token calls and logins both have the secret in them."""
    assert cause in await watch.ask(sidecar.url, request(LOGIN, CLOSE))
    assert b"no_token" in await watch.ask(sidecar.url, request(USERS, CLOSE))
    await eventually(lambda: "token_refresh_failed" in watch.logged)
    await watch.is_silent(sidecar, SECRET)


async def test_a_certificate_that_is_not_trusted_is_told_without_the_request(
    watch: Watch, start: SidecarFactory, tmp_path: Path
) -> None:
    """The answer names the cure; verification cannot be switched off."""
    sandbox = Sandbox()
    await sandbox.start(ssl_context=_untrusted_certificate(tmp_path))
    sidecar = await start(sandbox.url, redactor=watch.redactor, token_wait_seconds=0.1)

    await _fails_to_connect(watch, sidecar, b"upstream_ca_file")
    assert sandbox.seen("/") == []
    await sandbox.stop()


async def test_a_name_that_cannot_be_resolved_is_told_without_the_request(
    watch: Watch, start: SidecarFactory
) -> None:
    """The answer names the host, which is the operator's own setting."""
    upstream = "http://wx.invalid"
    sidecar = await start(upstream, redactor=watch.redactor, token_wait_seconds=0.1)

    await _fails_to_connect(watch, sidecar, b"wx.invalid cannot be resolved")


REFUSALS: dict[str, dict[str, object]] = {
    "errmsg with the secret": {"errcode": 40125, "errmsg": f"invalid appsecret {SECRET} {CANARY}"},
    "address and rid that are none": {
        "errcode": 40164,
        "errmsg": f"invalid ip {CANARY} ipv6 ::ffff:{SECRET}, not in whitelist rid: {CANARY}",
    },
    "HTML": {"body": f"<html>{SECRET} {CANARY}</html>"},
    "a gateway's page": {"body": f"{SECRET} {CANARY}", "status": 502},
    "a redirect": {"status": 302, "headers": {"Location": f"/?secret={SECRET}&x={CANARY}"}},
    "a token of an odd shape": {"json": {"access_token": f"{CANARY} x", "expires_in": 7200}},
    "a life that is none": {"json": {"access_token": CANARY, "expires_in": "7200"}},
    "a token that is too long": {"json": {"access_token": CANARY * 50, "expires_in": 7200}},
    "no HTTP": {"raw": f"{SECRET} {CANARY}\r\n\r\n"},
    "hangs up": {"drop": "before_head"},
    "breaks off": {"drop": "mid_body"},
}


@pytest.mark.parametrize("api", ["stable", "classic"])
@pytest.mark.parametrize("what", REFUSALS.values(), ids=REFUSALS)
async def test_refused_tokens_are_told_without_what_was_sent_and_received(
    watch: Watch, start: SidecarFactory, sandbox: Sandbox, api: str, what: dict[str, object]
) -> None:
    """The log has errcode and cure; never the errmsg, the secret or half a token."""
    sandbox.fault("/cgi-bin", times=None, **what)
    sidecar = await start(
        sandbox.url, redactor=watch.redactor, token_api=api, token_wait_seconds=0.1
    )
    await eventually(lambda: "token_refresh_failed" in watch.logged)
    said = await watch.ask(sidecar.url, request(USERS, CLOSE))

    assert b"no_token" in said
    await watch.is_silent(sidecar, SECRET)


async def test_rejected_tokens_and_clients_that_leave_are_told_without_them(
    watch: Watch, start: SidecarFactory, sandbox: Sandbox
) -> None:
    """A whole life: served, revoked, replaced, a path at fault, a client gone, a foreign token."""
    sidecar = await start(sandbox.url, redactor=watch.redactor)
    await watch.ask(sidecar.url, request(f"{USERS}?access_token={CANARY}", CLOSE))
    first = sandbox.token(APPID)
    sandbox.revoke(APPID)
    await watch.ask(sidecar.url, request(USERS, CLOSE))
    second = sandbox.token(APPID)
    sandbox.fault("/cgi-bin/menu", errcode=40001, times=None)
    await watch.ask(sidecar.url, request("/cgi-bin/menu/get", CLOSE))
    sandbox.fault(USERS, delay_s=0.1)
    client = await RawClient.connect(sidecar.url)
    await client.send(request(USERS))
    await eventually(lambda: sidecar.app.pool.in_use == 1)
    client.leave()
    await eventually(lambda: sidecar.app.proxy.in_flight == 0)

    assert first != second
    assert "token_rejection_settled" in watch.logged
    assert "foreign_token" in watch.logged
    await watch.is_silent(sidecar, SECRET, first, first[3:23], second, second[3:23])


def _boom(*_args: object, **_kwargs: object) -> None:
    cause = ValueError(f"{TOKEN} in a cause")
    raise RuntimeError(f"access_token={TOKEN} secret={SECRET} and {CANARY}") from cause


async def _boom_later(*_args: object, **_kwargs: object) -> None:
    _boom()


async def test_a_bug_in_the_proxy_is_told_by_kind_and_place(
    watch: Watch, watched: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception's text may hold anything; the client learns that it is no fault of its own."""
    monkeypatch.setattr(Router, "plan", _boom)
    said = await watch.ask(watched.url, request(f"{USERS}?access_token={CANARY}", CLOSE))

    assert said.startswith(b"HTTP/1.1 500")
    assert b"X-Wxproxy-Error: internal" in said
    assert "RuntimeError" in watch.logged
    assert "_boom" in watch.logged
    await watch.is_silent(watched, *LIVE)


async def test_a_bug_on_the_ops_listener_is_told_without_its_text(
    watch: Watch, watched: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp answers and logs it; the log is masked as all others are."""
    monkeypatch.setattr(_Ops, "_process", _boom)
    said = await watch.ask(watched.ops, request("/status", CLOSE))

    assert said.startswith(b"HTTP/1.1 500")
    assert "RuntimeError" in watch.logged
    monkeypatch.undo()
    await watch.is_silent(watched, *LIVE)


async def test_a_bug_in_a_background_task_is_told_without_its_text(
    watch: Watch,
    start: SidecarFactory,
    scripted: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fetch that breaks in a way that nobody foresaw."""
    monkeypatch.setattr(TokenClient, "fetch", _boom_later)
    sidecar = await start(scripted.url, redactor=watch.redactor, token_wait_seconds=0.1)
    said = await watch.ask(sidecar.url, request(USERS, CLOSE))

    assert b"no_token" in said
    await watch.is_silent(sidecar, *LIVE)
    assert "RuntimeError" in watch.logged


async def test_a_bug_in_a_callback_is_told_without_its_arguments(
    watch: Watch, watched: Sidecar
) -> None:
    """asyncio's own line would quote the call."""
    asyncio.get_running_loop().call_soon(_boom, CANARY, SECRET)
    await asyncio.sleep(0)

    await watch.is_silent(watched, *LIVE)
    assert "RuntimeError" in watch.logged


async def test_what_reaches_the_application_is_not_logged(
    watch: Watch, watched: Sidecar, scripted: ScriptedUpstream
) -> None:
    """WeChat's replies hold session keys and users' data, which are the application's alone."""
    scripted.answer = ok(f'{{"session_key":"{CANARY}","openid":"o1"}}'.encode())
    client = await RawClient.connect(watched.url)
    reply = await client.ask(request(LOGIN))
    await client.close()

    assert CANARY.encode() in reply.body
    await watch.is_silent(watched, *LIVE)
