"""How often budgets grant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxproxy import budgets
from wxproxy.budgets import AtMost, Bucket, Budget, SlowDown

DAY = 86_400


def granted(budget: Budget | Bucket, *, every: float, until: float) -> list[float]:
    """When a budget grants to someone who asks all the time."""
    times = (number * every for number in range(int(until / every) + 1))
    return [time for time in times if budget.take(time)]


def test_classic_replacements_slow_down() -> None:
    """At once, 30 s apart, 2 min after the third in 10 min, 10 min after the sixth in an hour."""
    times = granted(budgets.classic_replacements(), every=1, until=3600)

    assert times == [0, 30, 60, 180, 300, 420, 1020, 1620, 2220, 2820, 3420]


def test_classic_replacements_recover() -> None:
    """Rare deaths of a token are never waited for."""
    assert granted(budgets.classic_replacements(), every=1000, until=10_000) == [
        1000 * number for number in range(11)
    ]


def test_forced_refreshes_are_few() -> None:
    """60 s apart and three a day, a day being any 24 hours."""
    times = granted(budgets.forced_refreshes(), every=10, until=DAY + 200)

    assert times == [0, 60, 120, DAY, DAY + 60, DAY + 120]


def test_looks_into_rejections() -> None:
    """Twenty at once, then six a minute."""
    looks = budgets.rejection_looks()
    burst = sum(looks.take(0.0) for _ in range(1000))

    assert burst == 20
    assert granted(looks, every=1, until=60) == [10, 20, 30, 40, 50, 60]


def test_a_bucket_fills_up_again() -> None:
    """After a quiet time the whole burst is there again, and no more than that."""
    looks = budgets.rejection_looks()
    assert granted(looks, every=0.1, until=1)

    assert sum(looks.take(100_000.0) for _ in range(1000)) == 20


@pytest.mark.parametrize(
    ("budget", "times"),
    [
        pytest.param(budgets.fault_checks(), [0, 60, 120, 180], id="proofs-of-paths-at-fault"),
        pytest.param(budgets.client_asks(), [0, 60, 120, 180], id="asks-of-clients"),
    ],
)
def test_once_a_minute(budget: Budget, times: list[float]) -> None:
    """What is harmless is done at once, then at most once a minute."""
    assert times == granted(budget, every=1, until=200)


def test_classic_fetches_a_day() -> None:
    """The count is kept over any 24 hours, and says when the next is free."""
    fetches = budgets.classic_fetches(3)

    assert granted(fetches, every=3600, until=DAY - 1) == [0, 3600, 7200]
    assert fetches.ready_at() == DAY


def test_an_unused_budget_grants_at_any_time() -> None:
    """A clock may start anywhere, below zero included."""
    assert Budget(AtMost(1, 60.0)).take(-1e9)
    assert Bucket(burst=1, seconds=10.0).take(-1e9)


@given(st.lists(st.floats(0, 7200), min_size=1, max_size=200).map(sorted))
def test_no_window_holds_more_than_its_rule_allows(asked_at: list[float]) -> None:
    """However requests are spread, the rules hold for each window of time."""
    budget = Budget(AtMost(3, 600.0), SlowDown(2, 30.0, 100.0))
    times = [time for time in asked_at if budget.take(time)]

    # The sum as the rule does it: rounding must not decide here.
    assert all(times[i + 3] >= times[i] + 600.0 for i in range(len(times) - 3))
    assert all(
        third >= second + 100.0
        for first, second, third in zip(times, times[1:], times[2:], strict=False)
        if second - first <= 30.0
    )
