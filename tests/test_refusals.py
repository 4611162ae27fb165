"""What refusals of the token endpoints mean."""

import pytest

from wxproxy import refusals
from wxproxy.refusals import RefusalClass

MINUTE = 60.0
HOUR = 3600.0
CONFIGURATION = [5 * MINUTE, 30 * MINUTE, 30 * MINUTE]
WAITING = [MINUTE, 2 * MINUTE, 4 * MINUTE, 5 * MINUTE, 5 * MINUTE]


@pytest.mark.parametrize(
    ("errcode", "refusal_class", "waits"),
    [
        (40013, RefusalClass.CONFIGURATION, CONFIGURATION),
        (40125, RefusalClass.CONFIGURATION, CONFIGURATION),
        (40001, RefusalClass.CONFIGURATION, CONFIGURATION),
        (40243, RefusalClass.CONFIGURATION, CONFIGURATION),
        (41002, RefusalClass.CONFIGURATION, CONFIGURATION),
        (41004, RefusalClass.CONFIGURATION, CONFIGURATION),
        (40002, RefusalClass.CONFIGURATION, CONFIGURATION),
        (40091, RefusalClass.CONFIGURATION, CONFIGURATION),
        (40164, RefusalClass.WAITING, WAITING),
        (60020, RefusalClass.WAITING, WAITING),
        (89503, RefusalClass.WAITING, WAITING),
        (89501, RefusalClass.WAITING, WAITING),
        (89507, RefusalClass.BLOCKED, [HOUR, HOUR]),
        (89506, RefusalClass.BLOCKED, [24 * HOUR, 24 * HOUR]),
        (45009, RefusalClass.QUOTA, [30 * MINUTE, 30 * MINUTE]),
        (45011, RefusalClass.QUOTA, [MINUTE, MINUTE]),
        (45033, RefusalClass.QUOTA, [MINUTE, MINUTE]),
        (50002, RefusalClass.ACCOUNT, [30 * MINUTE]),
        (50004, RefusalClass.ACCOUNT, [30 * MINUTE]),
        (50007, RefusalClass.ACCOUNT, [30 * MINUTE]),
        (99999, RefusalClass.UNKNOWN, [5 * MINUTE, 5 * MINUTE]),
    ],
)
def test_each_refusal_has_its_wait(
    errcode: int, refusal_class: RefusalClass, waits: list[float]
) -> None:
    """WeChat is asked again as often as it can help, and no more often."""
    assert refusal_class is refusals.refusal_class("errcode", errcode)
    assert waits == [
        refusals.wait_s("errcode", errcode, in_a_row=n + 1, jitter=0.5) for n in range(len(waits))
    ]


@pytest.mark.parametrize(
    ("reason", "errcode", "longest"),
    [
        pytest.param("network", 0, 60.0, id="unreachable"),
        pytest.param("timeout", 0, 60.0, id="silent"),
        pytest.param("errcode", -1, 300.0, id="busy"),
        pytest.param("http_status", 0, 300.0, id="5xx"),
        pytest.param("bad_body", 0, 300.0, id="empty-200"),
    ],
)
def test_what_passes_by_itself_backs_off(reason: str, errcode: int, longest: float) -> None:
    """Up to a minute without an answer, up to five where WeChat itself keeps answering so."""
    assert refusals.refusal_class(reason, errcode) is RefusalClass.TRANSIENT
    assert refusals.wait_s(reason, errcode, in_a_row=1, jitter=1.0) == 2.0
    assert refusals.wait_s(reason, errcode, in_a_row=50, jitter=1.0) == longest
    assert refusals.wait_s(reason, errcode, in_a_row=50, jitter=0.0) == 1.0


@pytest.mark.parametrize(
    ("errcode", "shown"),
    [
        pytest.param(40001, 40125, id="wrong-secret-not-bad-token"),
        pytest.param(40125, 40125, id="wrong-secret"),
        pytest.param(40164, 40164, id="whitelist"),
        pytest.param(0, -60503, id="no-errcode"),
        pytest.param(-1, -60503, id="busy"),
        pytest.param(42001, -60503, id="expired"),
        pytest.param(40014, -60503, id="invalid"),
    ],
)
def test_clients_see_no_code_that_starts_a_loop(errcode: int, shown: int) -> None:
    """WeChat's own code is shown, unless SDKs would fetch and retry on it for ever."""
    assert shown == refusals.shown_errcode(errcode)


@pytest.mark.parametrize(
    ("errmsg", "rid", "refused_ip"),
    [
        pytest.param(
            "invalid ip 120.244.112.8 ipv6 ::ffff:120.244.112.8, not in whitelist rid:"
            " 5fa26c60-1a0ebdd5-32fd1cd0",
            "5fa26c60-1a0ebdd5-32fd1cd0",
            "120.244.112.8",
            id="40164",
        ),
        pytest.param("invalid ip 10.0.0.1, not in whitelist", "", "10.0.0.1", id="40164-older"),
        pytest.param(
            "invalid ip 2001:db8::1 ipv6 2001:db8::1, not in whitelist rid: aaaaaaaa-b-c",
            "aaaaaaaa-b-c",
            "2001:db8::1",
            id="40164-ipv6",
        ),
        pytest.param(
            "not allow to access from your ip, hint: [1576065934_28_9f], from ip: 9.30.0.138,"
            " more info at https://open.work.weixin.qq.com/devtool/query?e=60020",
            "1576065934_28_9f",
            "9.30.0.138",
            id="60020",
        ),
        pytest.param(
            "not allow to access from your ip, from ip: 9.30.0.138.",
            "",
            "9.30.0.138",
            id="full-stop",
        ),
        pytest.param("invalid ip 999.1.1.1, not in whitelist", "", "", id="no-address"),
        pytest.param("invalid ip <script>, not in whitelist", "", "", id="markup"),
        pytest.param(
            "invalid appid rid: 6aac005a-01bfdbee-79769285",
            "6aac005a-01bfdbee-79769285",
            "",
            id="rid",
        ),
        pytest.param(
            "invalid credential, hint: [12345678_9], from ip: 1.2.3.4",
            "12345678_9",
            "",
            id="no-refused-ip",
        ),
        pytest.param("rid: <b>x</b>", "", "", id="rid-of-other-characters"),
        pytest.param("", "", "", id="empty"),
    ],
)
def test_texts_give_rid_and_refused_address(errmsg: str, rid: str, refused_ip: str) -> None:
    """Only a request id and a real address are taken from WeChat's texts, whatever they hold."""
    assert rid == refusals.parse_rid(errmsg)
    assert refused_ip == refusals.parse_refused_ip(errmsg)


@pytest.mark.parametrize("errcode", [40164, 60020])
def test_the_cure_names_the_refused_address(errcode: int) -> None:
    """Whoever edits the whitelist can copy the address from the log."""
    assert "1.2.3.4" in refusals.cure(errcode, "1.2.3.4")
    assert "{" not in refusals.cure(errcode, "")


@pytest.mark.parametrize("errcode", [-1, 40001, 40013, 40243, 45009, 50004, 89503, 89506, 424242])
def test_a_cure_is_one_line(errcode: int) -> None:
    """Logs, status and check show it as it is."""
    cure = refusals.cure(errcode, "")

    assert cure
    assert "\n" not in cure
