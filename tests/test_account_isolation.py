"""Whatever mixes in one process, no call ever carries another account's token."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness import RawReply, Sidecar, start_sidecar
from tests.wire import ask_once, request
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.knobs import (
    AGENT,
    AGENT_2,
    AGENT_SECRET,
    AGENT_SECRET_2,
    APPID,
    APPID_2,
    CORPID,
    SECRET,
    SECRET_2,
    FamilyName,
)

PATH = "/cgi-bin/getcallbackip"


@dataclass(frozen=True)
class Owner:
    """An account of the sandbox, as the sidecar's file names it.

    Attributes:
        listener: index of its own listener among the sidecar's.
    """

    name: str
    appid: str
    secret: str
    listener: int
    family: FamilyName = "stable"
    agent: str = ""

    @property
    def table(self) -> str:
        """Its table in the file."""
        kind = "wecom" if self.agent else "official"
        return (
            f'[[accounts]]\nname = "{self.name}"\nappid = "{self.appid}"\nkind = "{kind}"\n'
            f'secret = "{self.secret}"\nupstream = "URL"\nlisten = "127.0.0.1:0"\n'
        )


OWNERS = (
    Owner("shop", APPID, SECRET, 0),
    Owner("news", APPID_2, SECRET_2, 1),
    Owner("sales", CORPID, AGENT_SECRET, 2, "gettoken", AGENT),
    Owner("chat", CORPID, AGENT_SECRET_2, 3, "gettoken", AGENT_2),
)
WAYS = ("placeholder", "live token", "earlier token", "header", "prefix", "listener")


@dataclass(frozen=True)
class Step:
    """A call: how it chooses its account, and what else it says that means nobody.

    Attributes:
        with_dummy: whether a dummy token rides along.
    """

    owner: Owner
    way: str
    with_dummy: bool


class Mixed:
    """A sidecar with four accounts, two of them of one corp, and every token they ever had."""

    def __init__(self, sandbox: Sandbox, sidecar: Sidecar) -> None:
        self.sandbox = sandbox
        self.sidecar = sidecar
        self.tokens: dict[str, list[str]] = {owner.name: [] for owner in OWNERS}
        self.placeholders = {one.name: one.placeholder for one in sidecar.app.accounts}
        self.calls = 0

    def note_tokens(self) -> None:
        """Take down who has which token now."""
        for owner in OWNERS:
            token = self.sandbox.token(owner.appid, family=owner.family, agent=owner.agent)
            if token and token not in self.tokens[owner.name]:
                self.tokens[owner.name].append(token)

    async def call(self, step: Step, *more: str) -> tuple[int, RawReply]:
        """Make a call; its number, which its query carries, and the reply."""
        self.calls += 1
        number, listener, prefix, headers = self.calls, -1, "", list(more)
        query = [f"n={number}"]
        if step.with_dummy:
            query.append("access_token=x")
        owner = step.owner
        if step.way == "placeholder":
            query.append(f"access_token={self.placeholders[owner.name]}")
        elif step.way == "live token":
            query.append(f"access_token={self.tokens[owner.name][-1]}")
        elif step.way == "earlier token":
            query.append(f"access_token={self.tokens[owner.name][0]}")
        elif step.way == "header":
            headers.append(f"X-Wxproxy-Account: {owner.name}")
        elif step.way == "prefix":
            prefix = f"/@{owner.name}"
        else:
            listener = owner.listener
        url = self.sidecar.app.proxy_addresses[listener]
        target = f"{prefix}{PATH}?{'&'.join(query)}"
        return number, await ask_once(url, request(target, *headers))

    async def together(self, steps: list[Step]) -> None:
        """Make calls at once; each must be answered, and sent for its own account alone."""
        done = await asyncio.gather(*(self.call(step) for step in steps))
        self.note_tokens()
        for step, (number, reply) in zip(steps, done, strict=True):
            assert "ip_list" in json.loads(reply.body), reply.body
            carried = self.carried(number)
            assert carried, "the call never arrived"
            assert carried <= set(self.tokens[step.owner.name])

    def carried(self, number: int) -> set[str]:
        """The tokens under which a call arrived, however often."""
        seen = [one for one in self.sandbox.calls if f"?n={number}&" in one.target]
        assert all(len(one.tokens) == 1 for one in seen)
        return {one.token for one in seen}


OWNER = st.sampled_from(OWNERS)
PLACEHOLDERS_ALONE = st.builds(Step, OWNER, st.just("placeholder"), st.booleans())
ANY_WAY = st.builds(Step, OWNER, st.sampled_from(WAYS), st.booleans())


Plan = list[tuple[list[Step], set[Owner]]]
"""Rounds of calls made at once, and the accounts whose tokens WeChat drops before the next."""


def rounds(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Plan]:
    return st.lists(
        st.tuples(st.lists(steps, min_size=1, max_size=6), st.sets(OWNER, max_size=2)),
        min_size=1,
        max_size=4,
    )


@asynccontextmanager
async def mixed() -> AsyncIterator[Mixed]:
    """A sidecar whose accounts all have their first token."""
    sandbox = Sandbox()
    url = await sandbox.start()
    with TemporaryDirectory() as folder:
        config = Path(folder) / "wx.toml"
        config.write_text("".join(owner.table for owner in OWNERS).replace("URL", url))
        sidecar = await start_sidecar("", config=config)
    try:
        one = Mixed(sandbox, sidecar)
        await one.together([Step(owner, "header", False) for owner in OWNERS])
        yield one
    finally:
        await sidecar.stop()
        await sandbox.stop()


async def play(plan: Plan) -> None:
    async with mixed() as one:
        for steps, dropped in plan:
            await one.together(steps)
            for owner in dropped:
                one.sandbox.revoke(owner.appid, token=one.tokens[owner.name][-1])


@settings(deadline=None, max_examples=30)
@given(rounds(PLACEHOLDERS_ALONE))
async def test_placeholders_alone_keep_accounts_apart(
    plan: Plan,
) -> None:
    """SDKs for several accounts in one process, in any order, while tokens die under them."""
    await play(plan)


@settings(deadline=None, max_examples=40)
@given(rounds(ANY_WAY))
async def test_ways_of_choosing_keep_accounts_apart(
    plan: Plan,
) -> None:
    """The same where every way of choosing an account is mixed with every other."""
    await play(plan)


async def test_two_choices_that_disagree_reach_nobody() -> None:
    """A header for one account and anything for another: refused, nothing forwarded."""
    ways = [way for way in WAYS if way != "header"]
    async with mixed() as one:
        for (owner, other), way in product(permutations(OWNERS, 2), ways):
            header = f"X-Wxproxy-Account: {other.name}"
            number, reply = await one.call(Step(owner, way, False), header)

            assert reply.header("X-Wxproxy-Error") == "account_conflict"
            assert one.carried(number) == set()
