"""One value of a setting: what is accepted, what is refused, and that nothing is quoted."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wxproxy import values
from wxproxy.accounts import Kind
from wxproxy.values import Address

SECRET = "0123456789abcdef0123456789abcdef"
CORP_SECRET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO-_"

PARSERS: dict[str, Callable[[object], object]] = {
    "address": values.address,
    "boolean": values.boolean,
    "one_of": values.one_of(Kind),
    "integer": values.integer(1, 10),
    "seconds": values.seconds(0.1, 10),
    "size": values.size(0, 10),
    "path": values.path,
    "secret_path": values.secret_path,
    "word": values.word,
    "appid": values.appid,
    "secret": values.secret,
    "listed": values.listed,
    "base_url": values.base_url,
    "web_origins": values.web_origins,
}

JSON_LIKE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["nan", "unix:", "[::1", "https://", ":", "1e5", "٣", "５", "1_000"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@settings(deadline=None)  # a busy machine is no failure
@given(raw=JSON_LIKE)
def test_a_parser_gives_a_value_or_a_value_error(
    parse: Callable[[object], object], raw: object
) -> None:
    """Whatever a file or a variable holds, nothing but ValueError comes out as an error."""
    told = "a value"
    try:
        parse(raw)
    except ValueError as exc:
        told = str(exc)

    assert told


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("127.0.0.1:5780", Address("127.0.0.1", 5780)),
        (" 127.0.0.1:5780\n", Address("127.0.0.1", 5780)),
        ("Localhost:1", Address("localhost", 1)),
        (":5781", Address("", 5781)),
        ("[::1]:80", Address("::1", 80)),
        ("[0:0:0:0:0:0:0:1]:80", Address("::1", 80)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("my-host.local_1:65535", Address("my-host.local_1", 65535)),
        ("unix:/run/wx.sock", Address(path="/run/wx.sock")),
    ],
    ids=repr,
)
def test_addresses_are_read_and_shown_alike(given_text: str, expected: Address) -> None:
    """Each form is read, and what is shown of it can be read again."""
    assert values.address(given_text) == expected
    assert values.address(str(expected)) == expected


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "5780",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:５７８０",
        "::1:80",
        "[::1]",
        "[127.0.0.1]:80",
        "[::g]:80",
        "http://127.0.0.1:80",
        "a b:80",
        "a/b:80",
        "unix:",
        "unix:relative.sock",
        "unix:/" + "x" * 103,
        "unix:/a\0b",
        5780,
        True,
        None,
        ["127.0.0.1:80"],
    ],
    ids=repr,
)
def test_other_addresses_are_refused(raw: object) -> None:
    """What cannot be bound, or could be read in two ways, is an error."""
    with pytest.raises(ValueError, match="unix"):
        values.address(raw)


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/a", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example.com:1", False),
        ("127.0.0.1.example.com:1", False),
    ],
)
def test_only_loopback_and_unix_sockets_are_private(text: str, private: bool) -> None:
    """A name counts as loopback only if it is localhost: others may resolve to anything."""
    assert values.address(text).is_private is private


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        (":1", "127.0.0.1:1", True),
        (":1", "[::1]:1", True),
        ("0.0.0.0:1", "10.0.0.1:1", True),
        ("0.0.0.0:1", "[::1]:1", False),
        ("[::]:1", "[::1]:1", True),
        ("[::]:1", "127.0.0.1:1", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", ":1", False),
    ],
)
def test_addresses_that_cannot_both_be_bound_clash(one: str, other: str, clash: bool) -> None:
    """Wildcards cover their family; port 0 never repeats; the order does not matter."""
    first, second = values.address(one), values.address(other)

    assert first.clashes_with(second) is clash
    assert second.clashes_with(first) is clash


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(word, True) for word in (True, "true", "TRUE", "1", 1, "yes", " on ")]
    + [(word, False) for word in (False, "false", "False", "0", 0, "no", "off")],
    ids=repr,
)
def test_booleans_have_eight_words(raw: object, expected: bool) -> None:
    """Each of the words is read in any case, and as TOML's own type."""
    assert values.boolean(raw) is expected


@pytest.mark.parametrize("raw", ["", "y", "enabled", "tru", 2, 1.0, None, [True]], ids=repr)
def test_odd_booleans_are_refused(raw: object) -> None:
    """No other word quietly means off."""
    with pytest.raises(ValueError, match="true or false"):
        values.boolean(raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (5, 5.0),
        (0.5, 0.5),
        ("5", 5.0),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1 H", 3600.0),
        ("1d", 86_400.0),
    ],
    ids=repr,
)
def test_durations_are_seconds_or_have_a_unit(raw: object, expected: float) -> None:
    """Numbers are seconds; text may carry a unit."""
    assert values.seconds(0.1, 86_400)(raw) == expected


@pytest.mark.parametrize(
    "raw",
    ["", "0", "86401", "-1", -1, "1w", "1e3", "nan", float("nan"), float("inf"), True, "h", "1 2"],
    ids=repr,
)
def test_other_durations_are_refused(raw: object) -> None:
    """Bounds hold, and neither infinity nor a truth value is a duration."""
    with pytest.raises(ValueError, match=r"seconds from 0\.1 to 86400"):
        values.seconds(0.1, 86_400)(raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (0, 0),
        (1024, 1024),
        ("1024", 1024),
        ("1B", 1),
        ("64KiB", 65_536),
        ("1 mib", 1_048_576),
        ("0.5KiB", 512),
        ("1GiB", 1_073_741_824),
    ],
    ids=repr,
)
def test_sizes_are_bytes_or_have_a_unit(raw: object, expected: int) -> None:
    """Numbers are bytes; text may carry a binary unit."""
    assert values.size(0, 1 << 40)(raw) == expected


@pytest.mark.parametrize("raw", ["", "1MB", "1.5", 1.5, -1, "2TiB", "5GiB", True], ids=repr)
def test_other_sizes_are_refused(raw: object) -> None:
    """Half bytes, decimal units (1000 or 1024?) and what is out of bounds are errors."""
    with pytest.raises(ValueError, match="bytes from 0 to 4294967296"):
        values.size(0, 1 << 32)(raw)


@pytest.mark.parametrize("raw", ["", "0", "11", "1.0", 1.5, "-1", "1_0", "１", True], ids=repr)
def test_counts_are_whole_numbers_within_bounds(raw: object) -> None:
    """Ten is within bounds; fractions, signs and other scripts' digits are no counts."""
    assert values.integer(1, 10)("10") == 10
    with pytest.raises(ValueError, match="a whole number from 1 to 10"):
        values.integer(1, 10)(raw)


def test_an_enum_is_read_by_value_or_synonym() -> None:
    """Case does not matter; the error lists every word."""
    parse = values.one_of(Kind, also={"mp": Kind.OFFICIAL})

    assert [parse("WeCom"), parse("mp")] == [Kind.WECOM, Kind.OFFICIAL]
    with pytest.raises(ValueError, match=r"^official, wecom or mp$"):
        parse("corp")


@pytest.mark.parametrize("secret", [SECRET, CORP_SECRET], ids=["AppSecret", "corpsecret"])
def test_a_secret_in_the_place_of_a_path_or_appid_is_refused(secret: str) -> None:
    """Paths and appids are shown, so a secret that strayed there must not be taken for one."""
    for parse in (values.secret_path, values.appid):
        with pytest.raises(ValueError, match=r"not (the|a) secret"):
            parse(secret)
    assert values.secret_path(f"/run/{secret}") == Path(f"/run/{secret}")


@pytest.mark.parametrize(
    "raw", ["", ".", "..", "a/b", "a b", "名", "x" * 65, "a\nb", 5, None], ids=repr
)
def test_names_fit_paths_headers_and_labels(raw: object) -> None:
    """A name is a path segment, a header value and a metric label, so its alphabet is small."""
    assert values.word(" my.App_1-x ") == "my.App_1-x"
    with pytest.raises(ValueError, match="1 to 64 characters"):
        values.word(raw)


@pytest.mark.parametrize("raw", ["", " ", "a b", "a\nb", "a\0b", "密", "x" * 4097, 5], ids=repr)
def test_a_secret_is_one_printable_line(raw: object) -> None:
    """A line end is stripped; anything else beyond printable ASCII is a broken file."""
    assert values.secret(f"{SECRET}\r\n") == SECRET
    with pytest.raises(ValueError, match="one line of printable ASCII"):
        values.secret(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "api.weixin.qq.com",
        "ftp://a",
        "https://user:pw@a",
        "https://a/path",
        "https://a?q",
        "https://a b",
        "https://[::1",
    ],
)
def test_a_base_url_is_scheme_host_and_port(raw: str) -> None:
    """User, path and query have no meaning in an upstream and may hold secrets."""
    assert values.base_url("https://[::1]:8443/") == "https://[::1]:8443/"
    with pytest.raises(ValueError, match="a base URL"):
        values.base_url(raw)


@pytest.mark.parametrize(
    "raw",
    ["*", "null", "app.example.com", "https://a.com/", "https://a.com,", "https://*.a.com", 5, [5]],
    ids=repr,
)
def test_browser_origins_are_exact(raw: object) -> None:
    """Neither a wildcard nor ``null`` is taken: any page on the web can have those."""
    assert values.web_origins("https://A.com:1, http://b.cn") == ("https://a.com:1", "http://b.cn")
    assert values.web_origins(["https://a.com"]) == ("https://a.com",)
    assert values.web_origins([]) == ()
    with pytest.raises(ValueError, match=r"origins such as|list of texts"):
        values.web_origins(raw)
