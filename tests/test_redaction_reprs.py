"""No repr of an object of ours shows a secret: debuggers and tracebacks print them."""

import asyncio
import gc
import json

import pytest

from tests.conftest import SidecarFactory
from tests.harness import SECRET, RawClient, eventually
from tests.upstreams import TOKEN, Received, ScriptedUpstream, ok
from tests.watching import CANARY, LIVE, Watch
from tests.wire import request
from wxproxy.exchange import Answer
from wxproxy.local import LocalReply, LocalRequest
from wxproxy.sandbox.knobs import APPID
from wxproxy.schedule import Fetched

USERS = "/cgi-bin/user/get"
STABLE = "/cgi-bin/stable_token"
LOGIN = "/sns/jscode2session?js_code=c&grant_type=authorization_code"


def _ours() -> list[object]:
    """Every living object of a class of the package, the sandbox's apart."""
    gc.unfreeze()  # the app froze what it was built of
    # By type(): isinstance would ask proxies of other libraries for their class.
    return [
        thing
        for thing in gc.get_objects()
        if str(type(thing).__module__).startswith("wxproxy.")
        and not type(thing).__module__.startswith("wxproxy.sandbox")
    ]


async def test_no_repr_shows_a_secret(
    watch: Watch,
    start: SidecarFactory,
    scripted: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of settings, parts, keepers, tokens, plans and requests in the middle of their way."""
    held = asyncio.Event()

    async def hold(
        received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await held.wait()
        writer.write(ok())
        return True

    scripted.answer = hold
    made: list[object] = []
    for kind in (LocalRequest, LocalReply, Answer, Fetched):
        _note_instances(monkeypatch, kind, made)
    sidecar = await start(
        scripted.url, redactor=watch.redactor, token_endpoint="real", expose_token="true"
    )
    clients = [await RawClient.connect(sidecar.url) for _ in range(3)]
    body = json.dumps({"appid": APPID, "grant_type": "client_credential", "secret": SECRET})
    await clients[0].ask(request(STABLE, method="POST", body=body.encode()))
    await clients[0].ask(request("/_wxproxy/token"))
    await clients[0].send(request(f"{USERS}?access_token={TOKEN}"))
    await clients[1].send(request(LOGIN))
    await clients[2].send(request(USERS, method="POST", body=CANARY.encode()))
    await eventually(lambda: len(scripted.requests) == 3)

    things = _ours()
    kinds = {type(thing).__name__ for thing in things}
    assert kinds >= {"Settings", "AccountSettings", "App", "TokenKeeper", "Token", "Plan"}
    assert kinds >= {"Account", "SecretSource", "Exchange", "RequestHead", "Router", "Redactor"}
    assert {type(thing) for thing in made} == {LocalRequest, LocalReply, Fetched}
    placeholder = sidecar.app.accounts[0].placeholder
    for thing in (*things, *made):
        for secret in (*LIVE, placeholder, CANARY):
            assert secret not in repr(thing), type(thing)
    held.set()
    for client in clients:
        await client.reply()
        await client.close()
    assert Answer in {type(thing) for thing in made}


def _note_instances(monkeypatch: pytest.MonkeyPatch, kind: type, made: list[object]) -> None:
    """Keep every instance that is made of a class whose instances live but for a moment."""
    init = kind.__init__  # type: ignore[misc]  # it is called for the class that it is of

    def noting(self: object, *args: object, **kwargs: object) -> None:
        init(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(kind, "__init__", noting)
