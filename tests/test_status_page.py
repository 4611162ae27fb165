"""The status page."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from tests.ops_fakes import Result, Status, empty
from wxproxy.metrics import KeeperStatus
from wxproxy.status_page import CONTENT_SECURITY_POLICY, render_page

EVIL = "<script>alert('x')</script>\"&"


class Page(HTMLParser):
    """Collects a page's tags, attributes and text; checks that tags are closed."""

    void = ("meta", "br", "!doctype")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def page(*statuses: KeeperStatus, **process: object) -> Page:
    """The parsed page."""
    parsed = Page(render_page(process, statuses))
    assert parsed.open == []
    return parsed


def test_an_account_is_shown_with_its_times() -> None:
    """A person reads name, kind, state, token id and times in words."""
    text = page(Status()).text

    for shown in ("shop", "wx0123456789abcdef", "official", "stable", "fresh", "0a1b2c3d"):
        assert shown in text
    assert "1 min 0 s" in text
    assert "1 h 58 min" in text
    assert "2023-11-14 22:13:20 UTC" in text
    assert "1 of 1 accounts" in text


def test_a_refusal_is_shown_with_its_cure() -> None:
    """The errcode, the refused address, the rid and what to do stand under the account."""
    refusal = Result(
        ok=False,
        reason="errcode",
        errcode=40164,
        rid="6aac005a-01bfdbee-79769285",
        refused_ip="203.0.113.7",
        cure="Add this address to the IP whitelist",
    )
    text = page(empty("shop", refusal), Status(name="club")).text

    for shown in ("errcode 40164", refusal.rid, refusal.refused_ip, refusal.cure):
        assert shown in text
    assert "1 of 2 accounts" in text


@pytest.mark.parametrize(
    ("failures", "shown"), [(1, "timeout"), (3, "timeout, 3 in a row")], ids=["one", "three"]
)
def test_a_failure_without_a_cure_has_no_row_for_it(failures: int, shown: str) -> None:
    """A failure of the network shows its reason and how often, and no empty box."""
    status = Status(consecutive_failures=failures, last=Result(ok=False, reason="timeout"))
    html = render_page({}, [status])

    assert f">{shown}<" in html
    assert 'class="cure"' not in html


def test_what_a_person_should_look_at_is_shown_while_fetches_succeed() -> None:
    """Two programs that kill each other's tokens fail no fetch, and need a person all the same."""
    html = render_page({}, [Status(contested="stop the other program")])

    assert 'class="cure" colspan="8">stop the other program<' in html


def test_everything_from_outside_is_escaped() -> None:
    """Markup in any field is shown as text and makes neither a tag nor an attribute."""
    result = Result(ok=False, reason=EVIL, rid=EVIL, refused_ip=EVIL, cure=EVIL)
    status = Status(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, last=result)
    plain, evil = page(empty("shop", result)), page(status, **{EVIL: {EVIL: [EVIL]}})

    assert "script" not in evil.tags
    assert evil.attributes <= plain.attributes | {"scope"}
    assert evil.text.count(EVIL) >= 12


def test_the_process_is_shown_with_nested_values() -> None:
    """Fields of the process appear by name, lists and mappings line by line."""
    egress = {"proxy": None}
    text = page(
        version="0.1.0", listeners=["127.0.0.1:5780"], limits={"routes": 100}, egress=egress
    ).text

    for shown in ("version", "0.1.0", "127.0.0.1:5780", "routes: ", "100", "proxy: –"):
        assert shown in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (-3.0, "0 s"), (59.9, "59 s"), (60.0, "1 min 0 s"), (7199.0, "1 h 59 min")],
)
def test_durations_read_as_words(seconds: float | None, shown: str) -> None:
    """A duration is shown in the two units that matter."""
    assert f"<td>{shown}</td>" in render_page({}, [Status(age_s=seconds)])


def test_the_policy_allows_exactly_the_pages_own_style() -> None:
    """The Content-Security-Policy names the hash of the style, and the page has nothing else."""
    html = render_page({}, [Status()])
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert not {"script", "link", "img", "iframe"} & Page(html).tags
    assert "style" not in Page(html).attributes
    assert "http:" not in html
    assert "https:" not in html
