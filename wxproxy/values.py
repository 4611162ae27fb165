"""Reading one value of a setting, from TOML or from text; pure.

Each parser takes what TOML, the environment or a flag gave and returns a checked value. It
raises ValueError with what it expected, never with what it got: that may be a secret in the
wrong place.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar

_E = TypeVar("_E", bound=Enum)

# Linux allows 108 bytes with the final NUL; macOS 104.
_UNIX_PATH_MAX_BYTES = 103

_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_SECONDS_PER_UNIT = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_BYTES_PER_UNIT = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-z]{0,3})", re.ASCII)
_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):([0-9]{1,5})", re.ASCII)
_WEB_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*,]+", re.ASCII)
_BASE_URL = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?", re.ASCII
)
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SECRET = re.compile(r"[!-~]{1,4096}")
_LIKE_A_SECRET = re.compile(r"[0-9a-f]{32}|[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens: host and port, or the path of a unix socket.

    Attributes:
        host: name or address; "" is every family and interface.
        port: 0 lets the system choose.
        path: path of a unix socket; host and port mean nothing then.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_private(self) -> bool:
        """Whether only this machine (or pod) can connect: loopback or a unix socket."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def clashes_with(self, other: "Address") -> bool:
        """Whether both cannot be bound at once, wildcards counted."""
        if self.path or other.path:
            return self.path == other.path
        if self.port != other.port or not self.port:
            return False
        return _covers(self.host, other.host) or _covers(other.host, self.host)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _covers(wide: str, host: str) -> bool:
    every_v4 = "0.0.0.0"  # noqa: S104 - compared with, not bound
    return wide in ("", host) or wide == ("::" if ":" in host else every_v4)


def address(raw: object) -> Address:
    """``host:port``, ``:port`` (every family), ``[::1]:port`` or ``unix:/path``."""
    given = raw.strip() if isinstance(raw, str) else ""
    if given.startswith("unix:"):
        path = given.removeprefix("unix:")
        if path.startswith("/") and "\0" not in path and len(path.encode()) <= _UNIX_PATH_MAX_BYTES:
            return Address(path=path)
        raise ValueError(f"unix: and an absolute path of at most {_UNIX_PATH_MAX_BYTES} bytes")
    match = _HOST_AND_PORT.fullmatch(given)
    if match and int(match[3]) <= 65_535:
        try:
            host = str(ipaddress.IPv6Address(match[1])) if match[1] else match[2].lower()
            return Address(host, int(match[3]))
        except ValueError:
            pass  # brackets without an IPv6 address: told below
    raise ValueError("host:port, :port for every family, [IPv6]:port or unix:/path")


def boolean(raw: object) -> bool:
    """true, false, 1, 0, yes, no, on or off, in any case."""
    try:
        return _BOOLEANS[str(raw).strip().lower()]
    except KeyError:
        raise ValueError("true or false") from None


def one_of(
    members: Iterable[_E], *, also: Mapping[str, _E] | None = None
) -> Callable[[object], _E]:
    """A parser of enum members' values, in any case, and of other words that mean the same."""
    words = {str(member.value): member for member in members} | dict(also or {})
    expected = " or ".join((", ".join(words)).rsplit(", ", 1))

    def parse(raw: object) -> _E:
        try:
            return words[str(raw).strip().lower()]
        except KeyError:
            raise ValueError(expected) from None

    return parse


def integer(low: int, high: int) -> Callable[[object], int]:
    """A parser of whole numbers within bounds."""

    def parse(raw: object) -> int:
        given = str(raw).strip()
        if re.fullmatch("[0-9]{1,15}", given, re.ASCII) and low <= int(given) <= high:
            return int(given)
        raise ValueError(f"a whole number from {low} to {high}")

    return parse


def seconds(low: float, high: float) -> Callable[[object], float]:
    """A parser of durations: seconds as a number, or ``500ms``, ``30s``, ``5m``, ``1h``, ``1d``."""

    def parse(raw: object) -> float:
        duration = _quantity(raw, _SECONDS_PER_UNIT)
        if duration is not None and low <= duration <= high:
            return duration
        raise ValueError(f"seconds from {low:g} to {high:g}, as a number or such as 30s, 5m or 1h")

    return parse


def size(low: int, high: int) -> Callable[[object], int]:
    """A parser of sizes: bytes as a whole number, or ``64KiB``, ``1MiB``, ``1GiB``."""

    def parse(raw: object) -> int:
        given = _quantity(raw, _BYTES_PER_UNIT)
        if given is not None and given == int(given) and low <= given <= high:
            return int(given)
        raise ValueError(f"bytes from {low} to {high}, as a number or such as 64KiB or 1MiB")

    return parse


def _quantity(raw: object, units: dict[str, float] | dict[str, int]) -> float | None:
    match = _QUANTITY.fullmatch(str(raw).strip())
    if match is None or match[2].lower() not in units:
        return None
    return float(match[1]) * units[match[2].lower()]


def path(raw: object) -> Path:
    """A path; a relative one starts at the working directory."""
    if isinstance(raw, str) and raw.strip() and "\0" not in raw:
        return Path(raw.strip())
    raise ValueError("a path")


def secret_path(raw: object) -> Path:
    """A path which is not, by mistake, the secret itself: paths are shown, secrets are not."""
    given = path(raw)
    if _LIKE_A_SECRET.fullmatch(str(given)):
        raise ValueError("the path of a file that holds the secret, not the secret")
    return given


def word(raw: object) -> str:
    """A name that fits paths, headers and labels."""
    if isinstance(raw, str) and _WORD.fullmatch(raw.strip()) and not _is_dots(raw.strip()):
        return raw.strip()
    raise ValueError("1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'")


def _is_dots(given: str) -> bool:
    return given in (".", "..")  # /@../ would be a path segment that clients resolve


def appid(raw: object) -> str:
    """An appid or corpid which is not, by mistake, a secret: appids are shown, secrets are not."""
    given = word(raw)
    if _LIKE_A_SECRET.fullmatch(given):
        raise ValueError("an appid such as wx0123456789abcdef (or a corpid), not a secret")
    return given


def secret(raw: object) -> str:
    """A secret: one line of printable ASCII without blanks inside, line end stripped."""
    given = raw.strip() if isinstance(raw, str) else ""
    if _SECRET.fullmatch(given):
        return given
    raise ValueError("the secret: one line of printable ASCII without blanks, at most 4096 bytes")


def listed(raw: object) -> list[str]:
    """The items of a TOML list of texts or of a comma-separated text."""
    items = raw.split(",") if isinstance(raw, str) else raw
    if isinstance(items, list) and all(isinstance(item, str) for item in items):
        stripped = [item.strip() for item in items]
        if stripped and all(stripped):
            return stripped
    raise ValueError("a list of texts, or one text with commas")


def base_url(raw: object) -> str:
    """An http(s) URL of host and port alone."""
    if isinstance(raw, str) and _BASE_URL.fullmatch(raw):
        return raw
    raise ValueError("a base URL such as https://api.weixin.qq.com")


def web_origins(raw: object) -> tuple[str, ...]:
    """Origins as browsers send them; neither ``*`` nor ``null``, which any page can be."""
    origins = tuple(item.lower() for item in listed(raw)) if raw not in ("", []) else ()
    if all(_WEB_ORIGIN.fullmatch(origin) for origin in origins):
        return origins
    raise ValueError("origins such as https://app.example.com, without path")
