"""Labels of paths."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxproxy.metric_table import OTHER
from wxproxy.route_labels import COMMON_PATHS, RouteLabels

PLAIN = "/channels/ec/order/get"


def test_common_paths_have_their_label_at_once() -> None:
    """A path that WeChat documents needs no success first."""
    assert RouteLabels(100).label("/cgi-bin/user/info", succeeded=False) == "/cgi-bin/user/info"


def test_a_plain_path_earns_its_label_by_three_successes() -> None:
    """The third success gives the label; failures before and after change nothing."""
    routes = RouteLabels(100)

    seen = [routes.label(PLAIN, succeeded=ok) for ok in (False, True, True, False, True, False)]

    assert seen == [OTHER, OTHER, OTHER, OTHER, PLAIN, PLAIN]


@pytest.mark.parametrize(
    "path",
    [
        "/cgi-bin/user/0123456789abcdef0123456789abcdef",
        "/cgi-bin/user/sandbox-secret-for-1-app-of-2026",
        "",
        "/",
        "/wxa",
        "/wxa/",
        "/wxa/Token",
        "/wxa/a.b",
        "/wxa/a?b",
        "/wxa/a\n",
        "/wxa/é",
        "/a/b/c/d/e/f/g",
        "/wxa/" + "x" * 60,
        "no/slash",
    ],
)
def test_odd_paths_earn_no_label(path: str) -> None:
    """A path with other characters, lengths or depths stays other, however it succeeds."""
    routes = RouteLabels(100)

    assert {OTHER} == {routes.label(path, succeeded=True) for _ in range(10)}


def test_made_up_paths_earn_no_label_even_where_all_succeed() -> None:
    """10,000 random paths, all answered with 200, add no label and do not displace a real one."""
    routes = RouteLabels(100)
    rnd = random.Random(1)
    for _ in range(10_000):
        path = "/wxa/" + "".join(rnd.choices(string.ascii_lowercase, k=10))
        assert routes.label(path, succeeded=True) == OTHER

    assert set() == routes.given
    assert [routes.label(PLAIN, succeeded=True) for _ in range(3)] == [OTHER, OTHER, PLAIN]


def test_labels_are_capped() -> None:
    """Beyond the cap even a common path is other, and those that have a label keep it."""
    routes = RouteLabels(2)
    first, second, third = sorted(COMMON_PATHS)[:3]

    seen = [routes.label(path, succeeded=True) for path in (first, second, third, first)]

    assert [first, second, OTHER, first] == seen


@given(st.lists(st.tuples(st.sampled_from(sorted(COMMON_PATHS)) | st.text(), st.booleans())))
def test_a_label_is_the_path_itself_or_other(requests: list[tuple[str, bool]]) -> None:
    """Whatever comes, a label says the truth and the cap holds."""
    routes = RouteLabels(5)
    for path, succeeded in requests:
        assert routes.label(path, succeeded=succeeded) in (path, OTHER)

    assert len(routes.given) <= 5
