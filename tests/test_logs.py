"""Log lines: one an event, readable by programs and people, and without secrets."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wxproxy.errors import UpstreamError
from wxproxy.events import (
    Event,
    RefreshFinished,
    RejectionSettled,
    SecretReloaded,
    TokenContested,
    Trigger,
)
from wxproxy.logs import JsonFormatter, Redactor, TextFormatter, configure, log_event, on_event
from wxproxy.redact import Secret

KNOWN = "Kn0wn-secret_of.ours~1"
UNKNOWN = "76_aBcDeF-unknown_token"

ReadLines = Callable[[], list[str]]


@pytest.fixture
def clean_logging() -> Iterator[None]:
    """Gives the process's logging back as it was."""
    root, ours = logging.getLogger(), logging.getLogger("wxproxy")
    before = (list(root.handlers), root.level, ours.level)
    yield
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)


@pytest.fixture
def redactor() -> Redactor:
    """Knows one secret."""
    redactor = Redactor()
    redactor.add(KNOWN, lasting=True)
    return redactor


@pytest.fixture
def lines(clean_logging: None, redactor: Redactor) -> ReadLines:
    """All logs of the process at debug level, as JSON lines written since."""
    stream = io.StringIO()
    configure(level="debug", log_format="json", stream=stream, redactor=redactor)
    return lambda: stream.getvalue().splitlines()


def record(message: object, *args: object, **attributes: object) -> logging.LogRecord:
    """A record as some logger would make it."""
    made = logging.LogRecord("wxproxy.x", logging.INFO, "f.py", 1, message, args, None)
    made.created = 1_700_000_000.0419
    made.__dict__.update(attributes)
    return made


def test_a_json_line_has_its_parts_in_order(redactor: Redactor) -> None:
    """Time in UTC with milliseconds, level, logger, event, then the fields with their types."""
    line = JsonFormatter(redactor).format(
        record("token_refreshed", fields={"account": "shop", "s": 1.5, "ok": True, "rid": None})
    )

    assert line == (
        '{"ts":"2023-11-14T22:13:20.041Z","level":"info","logger":"wxproxy.x",'
        '"event":"token_refreshed","account":"shop","s":1.5,"ok":true,"rid":null}'
    )


def test_a_text_line_reads_as_key_and_value(redactor: Redactor) -> None:
    """People see the same parts; values with blanks are quoted, Chinese stays readable."""
    line = TextFormatter(redactor).format(
        record("refused", fields={"errcode": 40164, "cure": 'add "it"', "name": "公众号", "e": ""})
    )

    assert line == (
        "2023-11-14T22:13:20.041Z INFO wxproxy.x refused "
        'errcode=40164 cure="add \\"it\\"" name=公众号 e=""'
    )


ODD_TEXT = st.text() | st.text('\n\r\x0b\x0c\x1c\x85\u2028\u2029\x1b\ud800"\\= ')


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
@settings(deadline=None)  # a busy machine is no failure
@given(message=ODD_TEXT, value=ODD_TEXT, key=ODD_TEXT)
def test_one_event_is_one_line(
    formatter: type[JsonFormatter | TextFormatter], message: str, value: str, key: str
) -> None:
    """Whatever is logged, it can neither forge a second line nor fail to be written as UTF-8."""
    line = formatter(Redactor()).format(record(message, fields={key: value, "list": [value]}))

    assert len(line.splitlines()) == 1
    assert line.encode().decode() == line


@pytest.mark.parametrize("key", ["ts", "level", "logger", "event"])
def test_a_field_does_not_displace_the_head(redactor: Redactor, key: str) -> None:
    """A field that is named like a part of the head stands beside it."""
    content = json.loads(JsonFormatter(redactor).format(record("e", fields={key: "mine"})))

    assert content[f"{key}_"] == "mine"
    assert content[key] != "mine"


class Unprintable:
    """Fails when it is shown."""

    def __str__(self) -> str:
        raise RuntimeError(KNOWN)


CYCLE: dict[str, Any] = {"note": KNOWN}
CYCLE["again"] = [CYCLE]

ODD_FIELDS: dict[str, object] = {
    "text": KNOWN,
    "bytes": KNOWN.encode(),
    "nested": {"a": [{"b": (KNOWN, {KNOWN})}]},
    "key": {KNOWN: 1},
    "named": {"access_token": UNKNOWN, "Secret": [UNKNOWN], b"corpsecret": UNKNOWN},
    "secret object": Secret(UNKNOWN),
    "exception": ValueError(f"?access_token={UNKNOWN}"),
    "unprintable": Unprintable(),
    "cycle": CYCLE,
    "not a number": float("nan"),
    "object": type(KNOWN, (), {"__repr__": lambda self: KNOWN})(),
}


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
@pytest.mark.parametrize("value", ODD_FIELDS.values(), ids=ODD_FIELDS)
def test_fields_of_any_shape_are_masked(
    redactor: Redactor, formatter: type[JsonFormatter | TextFormatter], value: object
) -> None:
    """Containers, bytes, objects and keys: all end as masked text, and the line is written."""
    line = formatter(redactor).format(record("e", fields={"value": value}))

    assert "value" in line
    assert KNOWN not in line
    assert UNKNOWN not in line


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("%s", (KNOWN,)),
        ("%r", (KNOWN.encode(),)),
        ("%s and %s", (KNOWN,)),
        ("%d", (KNOWN,)),
        ("%(a)s", ({"a": KNOWN},)),
        ("%s", ({"access_token": UNKNOWN},)),
        ("%s", (Unprintable(),)),
        (ValueError(KNOWN), ()),
        (f"{KNOWN} %", ()),
    ],
    ids=str,
)
def test_messages_and_arguments_are_masked(
    redactor: Redactor, message: object, args: tuple[object, ...]
) -> None:
    """A wrong format string costs neither the line nor a secret."""
    content = json.loads(JsonFormatter(redactor).format(record(message, *args)))

    assert content["event"]
    assert KNOWN not in content["event"]
    assert UNKNOWN not in content["event"]


def test_the_record_is_left_alone(redactor: Redactor) -> None:
    """Other handlers see the record as it was made."""
    made = record("%s", KNOWN, fields={"note": KNOWN})
    before = dict(vars(made))

    JsonFormatter(redactor).format(made)

    assert vars(made) == before


def _fail() -> None:
    local_token = UNKNOWN
    try:
        raise ValueError(f"GET https://h/?access_token={local_token}, body {UNKNOWN}")
    except ValueError as exc:
        raise UpstreamError(f"the upstream broke off ({KNOWN})") from exc


def test_an_exception_is_type_own_text_and_places(lines: ReadLines) -> None:
    """Ours speaks for itself; of others only the type is told, and nothing shows locals."""
    try:
        _fail()
    except UpstreamError:
        logging.getLogger("wxproxy.x").exception("failed")

    content = json.loads(lines()[0])
    assert content["exception"] == "UpstreamError: the upstream broke off (***)"
    assert content["causes"] == ["ValueError"]
    assert content["at"][-1].startswith("tests/test_logs.py:")
    assert content["at"][-1].endswith(" _fail")
    assert UNKNOWN not in lines()[0]


def test_the_systems_own_words_are_told(lines: ReadLines) -> None:
    """An OSError's cause helps and quotes nothing; its file name or host is left out."""
    error = ConnectionRefusedError(111, "Connection refused", KNOWN)
    logging.getLogger("wxproxy.x").error("failed", exc_info=error)

    assert json.loads(lines()[0])["exception"] == "ConnectionRefusedError: Connection refused"


async def test_what_asyncio_logs_itself_is_masked(lines: ReadLines) -> None:
    """An exception that nobody awaited is logged by asyncio, with its repr in the message."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    future.set_exception(ValueError(f"GET /x?access_token={UNKNOWN} and {KNOWN}"))
    loop.call_exception_handler(
        {"message": "never retrieved", "future": future, "exception": future.exception()}
    )

    (line,) = lines()
    assert "never retrieved" in line
    assert UNKNOWN not in line
    assert KNOWN not in line


def test_other_libraries_are_quiet_below_warning(lines: ReadLines) -> None:
    """Debug is for our own lines: aiohttp's and asyncio's quote what they handle."""
    for name in ("aiohttp.access", "aiohttp.server", "asyncio", "anything"):
        logging.getLogger(name).info("hidden")
        logging.getLogger(name).warning("shown")
    logging.getLogger("wxproxy.x").debug("ours")

    assert [json.loads(line)["event"] for line in lines()] == ["shown"] * 4 + ["ours"]


def test_the_level_holds_for_all(clean_logging: None, redactor: Redactor) -> None:
    """At error neither ours nor others' warnings are written."""
    stream = io.StringIO()
    configure(level="error", log_format="text", stream=stream, redactor=redactor)
    for name in ("wxproxy.x", "asyncio"):
        logging.getLogger(name).warning("hidden")
        logging.getLogger(name).error("shown")

    assert len(stream.getvalue().splitlines()) == 2
    assert "hidden" not in stream.getvalue()


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "log_format", "starts_like_json"),
    [
        (io.StringIO(), None, True),
        (Terminal(), None, False),
        (io.StringIO(), "text", False),
        (Terminal(), "json", True),
    ],
    ids=["pipe", "terminal", "text on a pipe", "json on a terminal"],
)
def test_the_format_follows_the_terminal_unless_set(
    clean_logging: None,
    redactor: Redactor,
    stream: io.StringIO,
    log_format: str | None,
    starts_like_json: bool,
) -> None:
    """People read terminals, collectors read pipes."""
    configure(level="info", log_format=log_format, stream=stream, redactor=redactor)
    logging.getLogger("wxproxy").info("e")

    assert stream.getvalue().startswith("{") is starts_like_json


def test_a_line_that_cannot_be_written_says_nothing_elsewhere(
    clean_logging: None, redactor: Redactor, capsys: pytest.CaptureFixture[str]
) -> None:
    """The standard library would print the record's arguments, unmasked, to stderr."""
    stream = io.StringIO()
    configure(level="info", log_format="json", stream=stream, redactor=redactor)
    stream.close()

    logging.getLogger("wxproxy").info("%s", KNOWN)

    assert capsys.readouterr().err == ""


def test_configuring_again_replaces_the_handler(clean_logging: None, redactor: Redactor) -> None:
    """No line is written twice."""
    first, second = io.StringIO(), io.StringIO()
    for stream in (first, second):
        configure(level="info", log_format="json", stream=stream, redactor=redactor)
    logging.getLogger("wxproxy").info("e")

    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_an_event_word_is_no_format(lines: ReadLines) -> None:
    """Fields travel beside the event, under any name, and the event is taken as it is."""
    log_event(logging.getLogger("wxproxy.x"), logging.INFO, "100%s", level="a", logger="b")

    content = json.loads(lines()[0])
    assert (content["event"], content["level_"], content["logger_"]) == ("100%s", "a", "b")


REFUSED = RefreshFinished(
    account="shop",
    trigger=Trigger.SCHEDULED,
    ok=False,
    duration_s=0.12345,
    reason="errcode",
    errcode=40164,
    rid="654df33c-1",
    refused_ip="203.0.113.9",
    cure="add 203.0.113.9 to the IP whitelist",
    consecutive_failures=2,
    retry_in_s=61.23,
)

EVENTS: dict[str, tuple[Event, dict[str, object]]] = {
    "refreshed": (
        RefreshFinished(
            account="shop",
            trigger=Trigger.SECRET_CHANGE,
            ok=True,
            duration_s=0.2,
            token_id="1a2b3c4d",
            expires_in_s=7200,
        ),
        {
            "level": "info",
            "event": "token_refreshed",
            "trigger": "secret_change",
            "token_id": "1a2b3c4d",
            "expires_in_s": 7200,
            "unchanged": False,
        },
    ),
    "refused": (
        REFUSED,
        {
            "level": "warning",
            "event": "token_refresh_failed",
            "account": "shop",
            "duration_s": 0.123,
            "errcode": 40164,
            "rid": "654df33c-1",
            "refused_ip": "203.0.113.9",
            "cure": "add 203.0.113.9 to the IP whitelist",
            "retry_in_s": 61.2,
        },
    ),
    "replaced": (
        RejectionSettled("shop", "/cgi-bin/user/info", "1a2b3c4d", "replaced"),
        {"level": "info", "event": "token_rejection_settled", "outcome": "replaced"},
    ),
    "path at fault": (
        RejectionSettled("shop", "/cgi-bin/user/info", "1a2b3c4d", "token_proved_good"),
        {"level": "warning", "path": "/cgi-bin/user/info", "outcome": "token_proved_good"},
    ),
    "contested": (
        TokenContested("shop", 3),
        {"level": "warning", "event": "token_contested", "times": 3},
    ),
    "secret reloaded": (
        SecretReloaded("shop", ok=True),
        {"level": "info", "event": "secret_reloaded", "account": "shop"},
    ),
    "secret unusable": (
        SecretReloaded("shop", ok=False),
        {"level": "warning", "event": "secret_file_unusable", "account": "shop"},
    ),
}


@pytest.mark.parametrize(("event", "expected"), EVENTS.values(), ids=EVENTS)
def test_each_event_of_the_keeper_is_one_line(
    lines: ReadLines, event: Event, expected: dict[str, object]
) -> None:
    """Level, word and fields of each event; what needs a person is a warning."""
    on_event(event)

    (line,) = lines()
    assert expected.items() <= json.loads(line).items()


def test_a_contested_token_is_explained(lines: ReadLines) -> None:
    """Two writers are the commonest trouble with classic tokens: the line says what to do."""
    on_event(TokenContested("shop", 3))

    content = json.loads(lines()[0])
    assert "another program fetches" in content["cause"]
    assert "token_api = stable" in content["cure"]
