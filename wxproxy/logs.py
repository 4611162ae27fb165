"""Logs: one line an event, in which no secret, token or query value appears.

Redaction happens where a record becomes text, so that it holds for every logger, level and
argument, and leaves the record itself alone. What is masked: values that a ``Redactor`` was told
of, values under telling names (``access_token=…``, ``"secret": "…"``), and values in the query of
anything like a URL.
"""

import json
import logging
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TextIO

from wxproxy.errors import WxProxyError
from wxproxy.events import (
    Event,
    RefreshFinished,
    RejectionSettled,
    SecretReloaded,
    TokenContested,
)
from wxproxy.redact import Secret

_MASK = "***"
_KNOWN_MIN_LENGTH = 6
_NESTING_MAX = 6
_FRAMES_MAX = 20
_CAUSES_MAX = 5

_TELLING = r"(?:token|secret|ticket|session_?key|js_?code|password|passwd|api_?key)"
# Names end in the word: access_token, AppSecret, jsapi_ticket; not token_id, not secret_file.
_TELLING_NAME = re.compile(rf".*(?:{_TELLING}|authorization|x-wxproxy-key)", re.I | re.S)
_UNTIL_QUOTE = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\\+["'][^"'\\]*)"""
_PATTERNS = (
    # "access_token": "…", 'secret': '…', \"secret\":\"…\": JSON, dicts, and JSON within JSON.
    re.compile(rf"""({_TELLING}\\*["']\s*[:=]\s*)b?{_UNTIL_QUOTE}""", re.I | re.S),
    # access_token=…, secret%3D…, corpsecret='…'
    re.compile(rf"""({_TELLING}(?:=|%3d))(?:b?{_UNTIL_QUOTE}|[^\s&"'\\<>,;)\]}}]+)""", re.I | re.S),
    # Authorization: Bearer …, X-Wxproxy-Key: …, also as pairs of bytes in a list of headers
    re.compile(
        r"""((?:authorization|x-wxproxy-key)["']?\s*[:=,]\s*(?:b?["'])?(?:(?:bearer|basic)\s+)?)"""
        r"""[^\s"',;)\]}]+""",
        re.I,
    ),
    # http://user:password@host
    re.compile(r"""(://)[^\s/?#@"'<>]{1,512}(?=@)"""),
    # Any other value of a query.
    re.compile(r"""([?&][^\s=&?"'<>]{1,128}=)[^\s&"'\\<>#]+"""),
)
_MAY_NAME_A_VALUE = re.compile("[=:,]|%3d", re.I)
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_PLAIN = re.compile(r"""[^\s"'=\\\x7f-\xa0]+""")


class Redactor:
    """Masks values that must not be shown, wherever they stand in a text.

    Secrets and placeholders last; of tokens, which change all day, the newest are kept.
    """

    def __init__(self, *, capacity: int = 20_000) -> None:
        self._capacity = capacity
        # By their first characters, so that a line costs the same however many are known.
        # Tuples are replaced whole: another thread may be masking.
        self._by_start: dict[str, tuple[str, ...]] = {}
        self._newest: dict[str, None] = {}

    def add(self, value: str, *, lasting: bool = False) -> None:
        """Mask this value from now on; under 6 characters it would mask ordinary text."""
        if len(value) < _KNOWN_MIN_LENGTH:
            return
        start = value[:_KNOWN_MIN_LENGTH]
        alike = self._by_start.get(start, ())
        if value not in alike:
            self._by_start[start] = (*alike, value)
        elif value not in self._newest:
            return  # lasts already
        self._newest.pop(value, None)
        if not lasting:
            self._newest[value] = None
            if len(self._newest) > self._capacity:
                self._forget(next(iter(self._newest)))

    def _forget(self, value: str) -> None:
        del self._newest[value]
        start = value[:_KNOWN_MIN_LENGTH]
        alike = tuple(other for other in self._by_start[start] if other != value)
        if alike:
            self._by_start[start] = alike
        else:
            del self._by_start[start]

    def mask(self, text: str) -> str:
        """The text without known values, values under telling names, and query values."""
        found = {
            value
            for at in range(len(text) - _KNOWN_MIN_LENGTH + 1)
            for value in self._by_start.get(text[at : at + _KNOWN_MIN_LENGTH], ())
            if text.startswith(value, at)
        }
        for value in sorted(found, key=len, reverse=True):
            text = text.replace(value, _MASK)
        if _MAY_NAME_A_VALUE.search(text):
            for pattern in _PATTERNS:
                text = pattern.sub(rf"\g<1>{_MASK}", text)
        return text

    def plain(self, value: object, *, depth: int = 0) -> Any:
        """The value as JSON can hold it: masked, containers copied, all else by its text."""
        if value is None or isinstance(value, int):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, Secret) or depth > _NESTING_MAX:
            return _MASK
        if isinstance(value, Mapping):
            return self._plain_mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return [self.plain(item, depth=depth + 1) for item in value]
        return self.mask(_text(value))

    def _plain_mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        return {
            self.mask(_text(key)): _MASK
            if _TELLING_NAME.fullmatch(_text(key))
            else self.plain(item, depth=depth + 1)
            for key, item in value.items()
        }


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


class _Formatter(logging.Formatter, ABC):
    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        head = {
            "ts": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": self._redactor.mask(_message(record)),
        }
        fields = getattr(record, "fields", None)
        more = self._redactor.plain(fields) if isinstance(fields, Mapping) else {}
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            more |= self._redactor.plain(_describe_exception(error))
        return self._line(head, {_free(key, head): value for key, value in more.items()})

    @abstractmethod
    def _line(self, head: dict[str, str], more: dict[str, Any]) -> str: ...


class JsonFormatter(_Formatter):
    """One JSON object a line: ts, level, logger, event, then the fields."""

    def _line(self, head: dict[str, str], more: dict[str, Any]) -> str:
        # ASCII: no character is left that a log collector may take for a line end.
        return json.dumps(head | more, separators=(",", ":"))


class TextFormatter(_Formatter):
    """One line for people: time, level, logger, event, then key=value."""

    def _line(self, head: dict[str, str], more: dict[str, Any]) -> str:
        parts = [head["ts"], head["level"].upper(), head["logger"], head["event"]]
        parts += [f"{key}={_quoted(value)}" for key, value in more.items()]
        line = " ".join(parts).translate(_CONTROLS)
        return line.encode("utf-8", "backslashreplace").decode()


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        # The standard one prints the record's arguments, unmasked. A line that cannot be
        # written has nowhere to go.
        pass


def configure(
    *, level: str, log_format: str | None, stream: TextIO, redactor: Redactor
) -> logging.Handler:
    """Send all logs of the process to the stream, masked; the handler is the root's only one.

    Other libraries' loggers are held at warning or above. Without a format it is text on a
    terminal and JSON elsewhere.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    as_text = stream.isatty() if log_format is None else log_format == "text"
    handler = _Handler(stream)
    handler.setFormatter((TextFormatter if as_text else JsonFormatter)(redactor))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("wxproxy").setLevel(threshold)
    return handler


def log_event(logger: logging.Logger, level: int, event: str, /, **fields: object) -> None:
    """Write one line for an event, named by a stable word, with fields."""
    if logger.isEnabledFor(level):
        logger.log(level, event, extra={"fields": fields})


def _timestamp(created: float) -> str:
    milliseconds = int(created * 1000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{moment}.{milliseconds % 1000:03d}Z"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        # A wrong format string must not cost the line.
        return _text(record.msg)


def _free(key: str, head: Mapping[str, str]) -> str:
    return f"{key}_" if key in head else key


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if _PLAIN.fullmatch(text) or not isinstance(value, str):
        return text
    return json.dumps(text, ensure_ascii=False)


# -- exceptions --------------------------------------------------------------------------------


def _describe_exception(error: BaseException) -> dict[str, object]:
    """Type, text where it is ours, places, and what it came from; never locals or source lines."""
    description: dict[str, object] = {
        "exception": _name_exception(error),
        "at": _frames(error),
    }
    causes: list[str] = []
    cause = error
    while len(causes) < _CAUSES_MAX:
        following = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if following is None:
            break
        cause = following
        causes.append(_name_exception(cause))
    return description | ({"causes": causes} if causes else {})


def _name_exception(error: BaseException) -> str:
    """The type, and a text only where it can quote nothing: our own and the system's."""
    name = type(error).__name__
    if isinstance(error, WxProxyError):
        return f"{name}: {error.message}"
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return f"{name}: {error.strerror}"
    return name


def _frames(error: BaseException) -> list[str]:
    places = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        file = "/".join(code.co_filename.replace("\\", "/").split("/")[-2:])
        places.append(f"{file}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return places[-_FRAMES_MAX:]


_loop = logging.getLogger("wxproxy.loop")
_UP_TO_A_REPR = re.compile(r"[^<({[]*")


def on_loop_error(_event_loop: object, context: Mapping[str, Any]) -> None:
    """Write the line of an error that nobody was there to catch: an event loop's handler.

    asyncio's own writes the exception's text and the repr of what failed, arguments included:
    URLs and bodies may be in them.
    """
    said = _UP_TO_A_REPR.match(str(context.get("message", "")))
    error = context.get("exception")
    described = {} if error is None else _describe_exception(error)
    log_event(_loop, logging.ERROR, "bug", said=said[0].strip() if said else "", **described)


# -- the keeper's events -----------------------------------------------------------------------

_tokens = logging.getLogger("wxproxy.tokens")

_CONTESTED_CAUSE = (
    "rejections keep following our own refreshes: another program fetches classic tokens for this "
    "account, and each fetch kills the other one's token"
)
_CONTESTED_CURE = (
    "let one program fetch: point the other one at wxproxy, or set token_api = stable here, "
    "whose tokens live apart from classic ones"
)


def on_event(event: Event) -> None:
    """Write the line of a keeper's event."""
    match event:
        case RefreshFinished():
            _on_refresh(event)
        case RejectionSettled(account=account, path=path, token_id=token_id, outcome=outcome):
            level = logging.INFO if outcome == "replaced" else logging.WARNING
            log_event(
                _tokens,
                level,
                "token_rejection_settled",
                account=account,
                outcome=outcome,
                path=path,
                token_id=token_id,
            )
        case TokenContested(account=account, times=times):
            log_event(
                _tokens,
                logging.WARNING,
                "token_contested",
                account=account,
                times=times,
                cause=_CONTESTED_CAUSE,
                cure=_CONTESTED_CURE,
            )
        case SecretReloaded(account=account, ok=True):
            log_event(_tokens, logging.INFO, "secret_reloaded", account=account)
        case SecretReloaded(account=account, cause=cause):
            log_event(
                _tokens,
                logging.WARNING,
                "secret_file_unusable",
                account=account,
                cause=cause,
                cure="the last good secret stays in use; see that the secret file holds it alone",
            )


def _on_refresh(event: RefreshFinished) -> None:
    common: dict[str, object] = {
        "account": event.account,
        "trigger": event.trigger.value,
        "duration_s": round(event.duration_s, 3),
    }
    if event.ok:
        outcome: dict[str, object] = {
            "token_id": event.token_id,
            "expires_in_s": event.expires_in_s,
            "unchanged": event.unchanged,
            "forced": event.forced,
        }
        log_event(_tokens, logging.INFO, "token_refreshed", **common, **outcome)
        return
    outcome = {
        "reason": event.reason,
        "errcode": event.errcode,
        "rid": event.rid,
        "refused_ip": event.refused_ip,
        "cure": event.cure,
        "forced": event.forced,
        "failures_in_a_row": event.consecutive_failures,
        "retry_in_s": round(event.retry_in_s, 1),
    }
    told = {key: value for key, value in outcome.items() if value}
    log_event(_tokens, logging.WARNING, "token_refresh_failed", **common, **told)
