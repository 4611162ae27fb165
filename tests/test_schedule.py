"""When tokens are fresh, due and expired, and when the next one is fetched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxproxy.schedule import (
    Fetched,
    Freshness,
    Token,
    backoff_s,
    new_token,
    next_fetch_at,
    perhaps_superseded,
    seen_again,
)

VALUE = "84_" + "aZ0_-" * 27


def token(expires_in: int = 7200, *, at: float = 1000.0, jitter: float = 0.0) -> Token:
    return new_token(
        Fetched(VALUE, expires_in), "0a1b2c3d", fetched_at=at, lead_s=240.0, jitter=jitter
    )


@pytest.mark.parametrize(
    ("value", "expires_in"),
    [
        pytest.param(VALUE, 7200, id="as-wechat-sends-it"),
        pytest.param("x", 1, id="shortest"),
        pytest.param("x" * 1024, 86_400, id="longest"),
        pytest.param("aZ9._~-", 300, id="every-kind-of-character"),
    ],
)
def test_a_valid_answer_is_taken(value: str, expires_in: int) -> None:
    """Tokens of 1 to 1,024 URL-safe characters that live up to a day can be used."""
    assert Fetched.checked(value, expires_in) == Fetched(value, expires_in)


@pytest.mark.parametrize(
    ("value", "expires_in"),
    [
        pytest.param("", 7200, id="empty-token"),
        pytest.param("x" * 1025, 7200, id="token-too-long"),
        pytest.param("a b", 7200, id="blank"),
        pytest.param("a\n", 7200, id="newline-at-the-end"),
        pytest.param("a&b=c", 7200, id="query-syntax"),
        pytest.param("a%41", 7200, id="escape"),
        pytest.param("é", 7200, id="not-ascii"),
        pytest.param(None, 7200, id="no-token"),
        pytest.param(12, 7200, id="token-a-number"),
        pytest.param(VALUE, 0, id="no-life"),
        pytest.param(VALUE, -1, id="negative-life"),
        pytest.param(VALUE, 86_401, id="life-too-long"),
        pytest.param(VALUE, True, id="life-a-boolean"),
        pytest.param(VALUE, "7200", id="life-a-string"),
        pytest.param(VALUE, 7200.0, id="life-a-float"),
        pytest.param(VALUE, None, id="no-life-given"),
    ],
)
def test_an_invalid_answer_is_refused(value: object, expires_in: object) -> None:
    """What could break a URL, or is not what WeChat documents, is no token."""
    assert Fetched.checked(value, expires_in) is None


def test_neither_repr_shows_a_token() -> None:
    """A token that gets into a traceback or a log line is named, not shown."""
    assert VALUE not in repr(token())
    assert VALUE not in repr(Fetched(VALUE, 7200))


@pytest.mark.parametrize(
    ("now", "state"),
    [
        pytest.param(1000.0, Freshness.FRESH, id="new"),
        pytest.param(7959.9, Freshness.FRESH, id="just-before-due"),
        pytest.param(7960.0, Freshness.DUE, id="due"),
        pytest.param(8199.9, Freshness.DUE, id="just-before-expiry"),
        pytest.param(8200.0, Freshness.EXPIRED, id="expired"),
    ],
)
def test_freshness_follows_the_clock(now: float, state: Freshness) -> None:
    """A token of 7,200 s is due 240 s ahead and over at its hard expiry."""
    assert token().freshness(now) is state


@pytest.mark.parametrize(
    ("expires_in", "jitter", "lead"),
    [
        pytest.param(7200, 0.0, 240.0, id="full-lead"),
        pytest.param(7200, 1.0, 120.0, id="jitter-takes-half-of-it"),
        pytest.param(345, 0.0, 172.5, id="never-more-than-half-of-the-life"),
        pytest.param(1, 0.0, 0.5, id="shortest-life"),
        pytest.param(345, 1.0, 120.0, id="short-life-with-jitter"),
    ],
)
def test_the_lead(expires_in: int, jitter: float, lead: float) -> None:
    """240 s less a jitter of up to half of it, and at most half of the token's life."""
    one = token(expires_in, jitter=jitter)

    assert lead == one.expires_at - one.due_at


@given(st.integers(1, 86_400), st.floats(0, 1), st.floats(1, 3600))
def test_a_token_is_due_within_the_second_half_of_its_life(
    expires_in: int, jitter: float, lead_s: float
) -> None:
    """Whatever WeChat's lives and the settings are, half of a token's life is used undisturbed."""
    one = new_token(
        Fetched(VALUE, expires_in), "0a1b2c3d", fetched_at=0.0, lead_s=lead_s, jitter=jitter
    )

    assert expires_in / 2 <= one.due_at < one.expires_at == expires_in


def test_a_token_seen_again_keeps_its_lead() -> None:
    """A stable token's remaining seconds move its expiry and its due time alike."""
    again = seen_again(token(), 8190.0)

    assert (again.expires_at, again.due_at, again.fetched_at) == (8190.0, 7950.0, 1000.0)


@pytest.mark.parametrize(
    ("now", "unchanged", "at"),
    [
        pytest.param(1000.0, False, 7960.0, id="new-token-when-due"),
        pytest.param(5000.0, True, 7960.0, id="same-token-long-before-due"),
        pytest.param(7960.0, True, 7990.0, id="same-token-when-due-in-30-s"),
        pytest.param(8190.0, True, 8200.0, id="same-token-near-expiry-at-expiry"),
        pytest.param(8199.9, True, 8200.9, id="never-within-a-second"),
        pytest.param(9000.0, False, 9001.0, id="expired-on-arrival"),
    ],
)
def test_the_next_fetch(now: float, unchanged: bool, at: float) -> None:
    """The same token again is asked for in 30 s and at expiry, never in a loop."""
    assert at == next_fetch_at(token(), now=now, unchanged=unchanged)


def test_an_unanswered_classic_fetch_leaves_300_seconds() -> None:
    """The token may have been killed by the fetch, so it is due now and over 300 s later."""
    capped = perhaps_superseded(token(), sent_at=2000.0, now=2010.0)

    assert (capped.expires_at, capped.due_at) == (2300.0, 2010.0)


def test_an_unanswered_fetch_never_lengthens_a_life() -> None:
    """A second lost answer counts from the first."""
    capped = perhaps_superseded(token(), sent_at=2000.0, now=2010.0)

    assert perhaps_superseded(capped, sent_at=2100.0, now=2110.0).expires_at == 2300.0


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 2.0), (2, 4.0), (5, 32.0), (6, 60.0), (5000, 60.0)]
)
def test_backoff_bounds(failures: int, longest: float) -> None:
    """Wait n lies between 1 s and min(60, 2**n) s, after however long an outage."""
    assert backoff_s(failures, cap_s=60.0, jitter=0.0) == 1.0
    assert backoff_s(failures, cap_s=60.0, jitter=1.0) == longest
