"""What the keeper does when WeChat calls its token bad."""

import asyncio
from itertools import pairwise

import pytest

from tests.fakes import Kept, refused, settle, unanswered, unreachable
from wxproxy.accounts import TokenApi
from wxproxy.events import Trigger
from wxproxy.schedule import Token

STABLE, CLASSIC, WECOM = TokenApi.STABLE, TokenApi.CLASSIC, TokenApi.GETTOKEN
PATH = "/cgi-bin/menu/get"
OTHER_PATH = "/wxa/getwxacodeunlimit"
MINUTE = 60.0
HOUR = 3600.0


async def reject(kept: Kept, token: Token, path: str = PATH) -> Token | None:
    """A rejection of a call that was sent just now."""
    return await kept.keeper.reject(token, path=path, sent_at=kept.clock.now())


# -- one rejection -----------------------------------------------------------------------------


async def test_a_late_rejection_of_an_old_token_fetches_nothing() -> None:
    """Compare-and-swap: the current token is the answer, at once."""
    kept = Kept()
    old = await kept.start()
    kept.clock.advance(7000)
    kept.keeper.tick()
    await settle()
    calls = len(kept.wechat.fetches)

    others = [await reject(kept, old) for _ in range(100)]

    assert others == [kept.held] * 100
    assert (calls, []) == (len(kept.wechat.fetches), kept.wechat.proofs)
    assert not kept.outcomes


async def test_a_revoked_stable_token_is_replaced() -> None:
    """Asked again, proved bad, and only then replaced by force; the call succeeds."""
    kept = Kept()
    await kept.start()
    kept.wechat.revoke()

    assert await kept.call()

    assert [call.force for call in kept.wechat.fetches] == [False, False, True]
    assert len(kept.wechat.proofs) == 1
    assert kept.outcomes == ["replaced"]
    assert {event.trigger for event in kept.refreshes[1:]} == {Trigger.REJECTED}


async def test_a_revoked_classic_token_is_replaced() -> None:
    """Proved bad, then fetched once; nothing is asked in between, as each fetch kills."""
    kept = Kept(CLASSIC)
    await kept.start()
    kept.wechat.revoke()

    assert await kept.call()

    assert len(kept.wechat.fetches) == 2
    assert len(kept.wechat.proofs) == 1


@pytest.mark.parametrize(("api", "fetches"), [(STABLE, 2), (CLASSIC, 1)])
async def test_200_rejections_at_once_share_one_look(api: TokenApi, fetches: int) -> None:
    """stable: one plain and one forced fetch; classic: one. All calls succeed."""
    kept = Kept(api)
    await kept.start()
    kept.wechat.revoke()

    served = await asyncio.gather(*(kept.call(f"/cgi-bin/path{n % 7}") for n in range(200)))

    assert all(served)
    assert len(kept.wechat.fetches) - 1 == fetches
    assert len(kept.wechat.proofs) == 1
    assert kept.outcomes == ["replaced"]


async def test_a_token_that_another_replica_had_renewed_needs_no_force() -> None:
    """A plain ask gives the new stable token, and that settles it."""
    kept = Kept()
    await kept.start()
    kept.wechat.fetch_elsewhere()
    kept.clock.advance(301)

    assert await kept.call()

    assert not kept.wechat.forced
    assert not kept.wechat.proofs


async def test_a_rejection_joins_the_fetch_in_flight() -> None:
    """A refresh that is running anyhow is the plain ask."""
    kept = Kept()
    old = await kept.start()
    kept.clock.advance(7000)
    kept.wechat.open.clear()
    kept.keeper.tick()
    await settle()
    rejecting = asyncio.create_task(reject(kept, old))
    await settle()
    kept.wechat.open.set()

    assert await rejecting is kept.held
    assert len(kept.wechat.fetches) == 2


async def test_after_a_later_success_one_proof_and_no_fetch_blames_the_path() -> None:
    """A call that was sent later and served makes the path the suspect."""
    kept = Kept()
    token = await kept.start()
    sent_at = kept.clock.now()
    kept.clock.advance(0.1)
    kept.keeper.succeeded(token, OTHER_PATH, kept.clock.now())
    kept.clock.advance(0.1)

    assert await kept.keeper.reject(token, path=PATH, sent_at=sent_at) is None

    assert (len(kept.wechat.fetches), len(kept.wechat.proofs)) == (1, 1)
    assert kept.outcomes == ["token_proved_good"]


async def test_a_call_that_a_revocation_overtook_is_healed() -> None:
    """Of two calls in flight the later one was served and the earlier one rejected after it."""
    kept = Kept()
    token = await kept.start()
    sent_at = kept.clock.now()
    kept.clock.advance(0.1)
    kept.keeper.succeeded(token, OTHER_PATH, kept.clock.now())
    kept.clock.advance(0.1)
    kept.wechat.revoke()

    assert await kept.keeper.reject(token, path=PATH, sent_at=sent_at) is kept.held
    assert kept.held is not token


async def test_an_earlier_success_proves_nothing() -> None:
    """The token may have been revoked since."""
    kept = Kept()
    token = await kept.start()
    kept.keeper.succeeded(token, OTHER_PATH, kept.clock.now())
    kept.clock.advance(0.1)
    kept.wechat.revoke()

    assert await kept.call()


async def test_a_success_with_an_older_token_proves_nothing() -> None:
    """A slow call with the token before says nothing of this one."""
    kept = Kept(CLASSIC)
    old = await kept.start()
    kept.clock.advance(7000)
    kept.keeper.tick()
    await settle()
    kept.wechat.revoke()
    kept.keeper.succeeded(old, OTHER_PATH, kept.clock.now() + 1)

    assert await kept.call()


async def test_no_answer_to_the_proof_changes_nothing() -> None:
    """Without a verdict no token is killed; WeChat's answer passes on."""
    kept = Kept()
    token = await kept.start()
    kept.wechat.revoke()
    kept.wechat.proof = None

    assert not await kept.call()

    assert kept.held.value == token.value
    assert not kept.wechat.forced
    assert kept.outcomes == ["inconclusive"]
    kept.wechat.proof = "true"
    assert await kept.call()


async def test_force_refresh_never_is_obeyed() -> None:
    """An environment that shares its appid with production kills nobody's token."""
    kept = Kept(force_refresh=False)
    await kept.start()
    kept.wechat.revoke()

    async def call() -> None:
        assert not await kept.call()

    await kept.run(HOUR, step=5, each=call)

    assert not kept.wechat.forced
    assert set(kept.outcomes) == {"no_other_token"}


async def test_an_expired_token_needs_no_look() -> None:
    """A call that was on its way at the token's end waits for the fetch that is due anyhow."""
    kept = Kept()
    old = await kept.start()
    kept.clock.advance(7200)

    other = await reject(kept, old)

    assert other is kept.held
    assert not kept.wechat.proofs
    assert kept.refreshes[-1].trigger is Trigger.SCHEDULED


async def test_an_expired_token_while_refused_gives_nothing() -> None:
    """The first answer passes on when no token can be had."""
    kept = Kept()
    old = await kept.start()
    kept.wechat.failure = refused(40164)
    kept.clock.advance(7200)
    kept.keeper.tick()
    await settle()

    assert await reject(kept, old) is None


async def test_a_rejection_waits_no_longer_than_its_callers_may() -> None:
    """While WeChat hangs the answer passes on after 3 s; the look goes on and ends well."""
    kept = Kept()
    old = await kept.start()
    kept.wechat.revoke()
    kept.wechat.open.clear()
    rejecting = asyncio.create_task(reject(kept, old))
    await settle()
    kept.clock.advance(3)
    assert await rejecting is None

    kept.wechat.open.set()
    await settle()

    assert kept.held.value != old.value


async def test_a_caller_that_leaves_does_not_stop_the_look() -> None:
    """The others get the new token all the same."""
    kept = Kept()
    old = await kept.start()
    kept.wechat.revoke()
    kept.wechat.open.clear()
    leaving, staying = (asyncio.create_task(reject(kept, old)) for _ in range(2))
    await settle()
    leaving.cancel()
    await settle()
    kept.wechat.open.set()

    assert await staying is kept.held
    assert kept.held.value != old.value


@pytest.mark.parametrize("turns", [1, 12])
async def test_stop_is_prompt_during_a_look(turns: int) -> None:
    """Callers are let go at once, however far the look has come, and none begins any more."""
    kept = Kept(CLASSIC)
    old = await kept.start()
    kept.wechat.proofs_open.clear()
    rejecting = asyncio.create_task(reject(kept, old))
    for _ in range(turns):
        await asyncio.sleep(0)

    await asyncio.wait_for(kept.keeper.stop(), 1.0)
    proofs = len(kept.wechat.proofs)

    assert await asyncio.wait_for(rejecting, 1.0) is None
    assert await asyncio.wait_for(reject(kept, old), 1.0) is None
    assert proofs == len(kept.wechat.proofs)


async def test_a_refresh_that_ends_during_the_proof_settles_the_rejection() -> None:
    """A dead classic token that is being refreshed anyhow is not fetched for twice."""
    kept = Kept(CLASSIC)
    old = await kept.start()
    kept.clock.advance(7000)
    kept.wechat.revoke()
    kept.wechat.open.clear()
    kept.keeper.tick()
    rejecting = asyncio.create_task(reject(kept, old))
    await settle()
    assert (len(kept.wechat.fetches), len(kept.wechat.proofs)) == (2, 1)
    kept.wechat.open.set()

    assert await rejecting is kept.held
    assert len(kept.wechat.fetches) == 2
    assert kept.outcomes == ["replaced"]


async def test_a_plain_ask_that_fails_leads_to_nothing_more() -> None:
    """While WeChat's token endpoint is out of reach a proof could lead nowhere."""
    kept = Kept()
    await kept.start()
    kept.wechat.revoke()
    kept.wechat.failure = unreachable()

    assert not await kept.call()

    assert kept.wechat.proofs == []
    assert kept.outcomes == ["no_other_token"]


async def test_a_new_token_is_not_taken_for_the_bad_one() -> None:
    """What was proved of a token dies with it: the next one is proved before it is killed."""
    kept = Kept(CLASSIC)
    old = await kept.start()
    kept.wechat.revoke()
    new = await reject(kept, old)
    assert new is not None
    kept.clock.advance(MINUTE)

    assert await reject(kept, new) is None

    assert kept.held is new
    assert len(kept.wechat.proofs) == 2


async def test_a_success_during_the_proof_outweighs_it() -> None:
    """A call that was sent after the proof and succeeded shows the token good."""
    kept = Kept()
    token = await kept.start()
    kept.wechat.proofs_open.clear()
    kept.wechat.proof = False
    rejecting = asyncio.create_task(reject(kept, token))
    await settle()
    kept.keeper.succeeded(token, OTHER_PATH, kept.clock.now() + 1)
    kept.wechat.proofs_open.set()

    assert await rejecting is None
    assert kept.outcomes == ["token_proved_good"]
    assert not kept.wechat.forced


@pytest.mark.parametrize("succeeds_meanwhile", [False, True])
async def test_force_waits_for_a_plain_fetch_in_flight(succeeds_meanwhile: bool) -> None:
    """It may bring another token, or time for a success; only then the token is killed."""
    kept = Kept()
    old = await kept.start()
    kept.wechat.revoke()
    kept.wechat.proofs_open.clear()
    rejecting = asyncio.create_task(reject(kept, old))
    await settle()
    kept.wechat.open.clear()
    asking = asyncio.create_task(kept.keeper.ask())
    await settle()
    kept.wechat.proofs_open.set()
    await settle()
    assert not kept.wechat.forced
    if succeeds_meanwhile:
        kept.keeper.succeeded(old, OTHER_PATH, kept.clock.now() + 1)
    kept.wechat.open.set()

    assert (await rejecting is None) == succeeds_meanwhile
    assert kept.wechat.forced == (not succeeds_meanwhile)
    await asking


async def test_a_refusal_during_the_proof_holds_back_what_follows_it() -> None:
    """No way into a fetch is open while a refusal waits."""
    kept = Kept()
    token = await kept.start()
    await kept.call(always_bad=True)  # its path is at fault: the next look begins with a proof
    kept.clock.advance(MINUTE)
    kept.wechat.revoke()
    kept.wechat.proofs_open.clear()
    rejecting = asyncio.create_task(reject(kept, token))
    await settle()
    kept.wechat.failure = refused(89507)
    await kept.keeper.ask()
    asked = len(kept.wechat.fetches)
    kept.wechat.proofs_open.set()

    assert await rejecting is None
    assert asked == len(kept.wechat.fetches)


# -- paths at fault ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "most_fetches"),
    [
        pytest.param(STABLE, 2, id="stable"),
        pytest.param(CLASSIC, 1, id="classic"),
        # WeCom has no proof call; the plain ask takes its place.
        pytest.param(WECOM, 62, id="wecom"),
    ],
)
async def test_a_path_that_always_fails_costs_a_proof_a_minute(
    api: TokenApi, most_fetches: int
) -> None:
    """1,000 failing calls in an hour: no forced refresh, no loop, and the token stays."""
    kept = Kept(api)
    token = await kept.start()

    async def call() -> None:
        assert not await kept.call(always_bad=True)

    await kept.run(HOUR, step=3.6, each=call)

    assert kept.keeper.status().counts["rejections"] == 1000
    assert kept.held.value == token.value
    assert not kept.wechat.forced
    assert len(kept.wechat.fetches) <= most_fetches
    assert len(kept.wechat.proofs) <= (0 if api is WECOM else 61)
    assert set(kept.outcomes) == {"token_proved_good"}


async def test_many_failing_paths_stay_within_the_budget() -> None:
    """A client that tries 1,000 wrong paths in a minute costs WeChat some 26 looks."""
    kept = Kept()
    await kept.start()
    numbers = iter(range(10_000))

    async def call() -> None:
        await kept.call(f"/cgi-bin/wrong{next(numbers)}", always_bad=True)

    await kept.run(MINUTE, step=0.06, each=call)

    assert len(kept.wechat.proofs) <= 26
    assert len(kept.wechat.fetches) <= 27


@pytest.mark.parametrize("api", [STABLE, CLASSIC])
async def test_a_path_at_fault_that_is_used_alone_finds_a_revoked_token(api: TokenApi) -> None:
    """Its proof, once a minute, tells a dead token from a bad path."""
    kept = Kept(api)
    await kept.start()
    assert not await kept.call(always_bad=True)
    await kept.run(10)
    kept.wechat.revoke()
    healed_after: list[float] = []
    revoked_at = kept.clock.now()

    async def call() -> None:
        if await kept.call():
            healed_after.append(kept.clock.now() - revoked_at)

    await kept.run(2 * MINUTE, each=call)

    assert healed_after[0] <= MINUTE
    assert len(healed_after) > 60


@pytest.mark.parametrize("api", [STABLE, CLASSIC])
async def test_a_second_revocation_within_ten_minutes_heals_within_one(api: TokenApi) -> None:
    """The path that found the first one is not held back for the second."""
    kept = Kept(api)
    await kept.start()
    kept.wechat.revoke()
    assert await kept.call()
    await kept.run(20, each=kept.call)
    kept.wechat.revoke()
    failed: list[float] = []

    async def call() -> None:
        if not await kept.call():
            failed.append(kept.clock.now())

    await kept.run(3 * MINUTE, each=call)

    assert len(failed) <= 60


async def test_a_success_heals_a_path_at_fault() -> None:
    """From then on it is like any other path: a rejection is looked into at once."""
    kept = Kept()
    await kept.start()
    assert not await kept.call(always_bad=True)
    assert not await kept.call(always_bad=True)  # this one uses up the minute's proof
    kept.clock.advance(1)
    assert await kept.call()
    kept.clock.advance(1)
    kept.wechat.revoke()

    assert await kept.call()


async def test_a_path_is_at_fault_for_ten_minutes() -> None:
    """Afterwards a rejection is asked about like a first one."""
    kept = Kept()
    await kept.start()
    await kept.call(always_bad=True)
    asked = len(kept.wechat.fetches)
    await kept.run(599)
    await kept.call(always_bad=True)
    assert len(kept.wechat.fetches) == asked
    await kept.run(601)

    await kept.call(always_bad=True)

    assert len(kept.wechat.fetches) == asked + 1


async def test_those_who_joined_a_look_learn_its_verdict() -> None:
    """A path whose call was sent before the proof is at fault too."""
    kept = Kept()
    token = await kept.start()
    sent_at = kept.clock.now()
    kept.wechat.open.clear()
    rejecting = [
        asyncio.create_task(kept.keeper.reject(token, path=path, sent_at=sent_at))
        for path in (PATH, OTHER_PATH)
    ]
    kept.clock.advance(0.1)
    await settle()
    kept.wechat.open.set()
    assert await asyncio.gather(*rejecting) == [None, None]
    asked = len(kept.wechat.fetches)

    await reject(kept, token, OTHER_PATH)

    assert len(kept.wechat.fetches) == asked


async def test_a_reported_token_is_looked_into_like_any_other() -> None:
    """Central-server clients that report a good token in a loop kill nothing."""
    kept = Kept()
    token = await kept.start()

    async def report() -> None:
        assert await reject(kept, token, "") is None

    await kept.run(10 * MINUTE, step=5, each=report)

    assert not kept.wechat.forced
    assert len(kept.wechat.proofs) <= 12


# -- budgets -----------------------------------------------------------------------------------


async def test_forced_refreshes_are_three_a_day() -> None:
    """However often the token is revoked, WeChat's own limit of 20 is never near."""
    kept = Kept()
    await kept.start()

    async def revoke_and_call() -> None:
        kept.wechat.revoke()
        await kept.call()

    await kept.run(24 * HOUR - 60, step=60, each=revoke_and_call)
    forced_at = [call.at for call in kept.wechat.fetches if call.force]

    assert len(forced_at) == 3
    assert min(b - a for a, b in pairwise(forced_at)) >= 60


async def test_classic_replacements_get_slower() -> None:
    """Against a token that dies each time, WeChat sees 11 fetches in the first hour."""
    kept = Kept(CLASSIC)
    await kept.start()
    started_at = kept.clock.now() + 10

    async def revoke_and_call() -> None:
        kept.wechat.revoke()
        await kept.call()

    await kept.run(HOUR, step=10, each=revoke_and_call)

    asked_at = [call.at - started_at for call in kept.wechat.fetches[1:]]
    assert asked_at == [0, 30, 60, 180, 300, 420, 1020, 1620, 2220, 2820, 3420]


async def test_the_first_fetch_costs_no_budget() -> None:
    """Budgets count what rejections caused: right after the start a dead token is replaced."""
    kept = Kept(CLASSIC)
    await kept.start()
    kept.wechat.revoke()

    assert await kept.call()


@pytest.mark.parametrize("api", [STABLE, CLASSIC])
async def test_nothing_is_fetched_for_rejections_while_refused(api: TokenApi) -> None:
    """A waiting refusal holds for rejections too, a storm of them included."""
    kept = Kept(api)
    await kept.start()
    kept.wechat.failure = refused(89507)
    kept.wechat.revoke()
    await kept.call()
    calls = len(kept.wechat.fetches), len(kept.wechat.proofs)

    await kept.run(3500, step=5, each=kept.call)

    assert calls == (len(kept.wechat.fetches), len(kept.wechat.proofs))
    assert len(kept.outcomes) == 1


async def test_a_dead_token_is_retried_behind_its_callers() -> None:
    """A replacement that failed is tried again by the schedule, without waiting for a call."""
    kept = Kept(CLASSIC)
    await kept.start()
    kept.wechat.revoke()
    kept.wechat.failure = unreachable()
    assert not await kept.call()
    kept.wechat.failure = None

    await kept.run(3)

    assert kept.wechat.takes(kept.held.value)


# -- two writers -------------------------------------------------------------------------------


async def test_two_writers_are_recognised() -> None:
    """Classic tokens of ours that keep dying early mean another program; it is told from two on."""
    kept = Kept(CLASSIC)
    await kept.start()

    async def fight() -> None:
        kept.wechat.fetch_elsewhere()
        await kept.run(301, each=kept.call)

    for _ in range(4):
        await fight()
    status = kept.keeper.status()

    assert kept.contested == [2, 3, 4]
    assert status.counts["contested"] == 3
    assert "another program" in status.attention
    assert 5 <= len(kept.wechat.fetches) <= 8


async def test_one_early_death_is_no_fight() -> None:
    """A token revoked once, with a whole life after it, alarms nobody."""
    kept = Kept(CLASSIC)
    await kept.start()
    for _ in range(3):
        kept.wechat.revoke()
        assert await kept.call()
        await kept.run(7200, step=5)

    assert kept.contested == []
    assert kept.keeper.status().attention == ""


async def test_a_token_that_dies_when_it_is_due_is_no_sign_of_a_fight() -> None:
    """Close to its end a token may die by our own refresh, or by a replica's."""
    kept = Kept(CLASSIC)
    await kept.start()
    for _ in range(3):
        kept.clock.advance(7000)
        kept.wechat.revoke()
        kept.wechat.open.clear()
        rejecting = asyncio.create_task(kept.call())
        await settle()
        kept.wechat.open.set()
        assert await rejecting

    assert len(kept.wechat.proofs) == 3
    assert kept.contested == []


async def test_stable_tokens_are_never_contested() -> None:
    """Replicas share them; a revoked one has other causes."""
    kept = Kept()
    await kept.start()
    for _ in range(3):
        kept.wechat.revoke()
        await kept.call()
        await kept.run(MINUTE)

    assert kept.contested == []


async def test_a_lost_answer_to_a_replacement_is_retried_soon() -> None:
    """A classic fetch that may have worked is followed by another within a minute."""
    kept = Kept(CLASSIC)
    kept.jitter = 1.0
    await kept.start()
    kept.wechat.revoke()
    kept.wechat.failure = unanswered()
    await kept.call()
    kept.wechat.failure = None

    await kept.run(MINUTE)

    assert kept.wechat.takes(kept.held.value)
