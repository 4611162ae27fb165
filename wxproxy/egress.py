"""The proxy that calls go out through: how it is written, and which upstreams it serves; pure."""

import base64
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # not in its stubs

from wxproxy.accounts import Origin
from wxproxy.redact import Secret

_PROXY_URL = re.compile(
    r"http://(?:(?P<user>[^\s/?#@]+)@)?"
    r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?",
    re.ASCII,
)
_EXPECTED = (
    "http://host:port of an HTTP proxy, or http://user:password@host:port with user and password "
    "percent-encoded"
)


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """An HTTP proxy that opens tunnels by CONNECT. Its ``str`` may be shown.

    Attributes:
        user: ``user:password`` as in the URL, percent-encoded, or None.
        bypass: hosts that are reached without it, as ``NO_PROXY`` writes them.
        setting: what the operator would change.
    """

    host: str
    port: int
    user: Secret | None = None
    bypass: str = ""
    setting: str = "egress_proxy"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def serves(self, origin: Origin) -> bool:
        """Whether the origin is reached through it: only what is encrypted fits a tunnel."""
        return origin.is_tls and not is_bypassed(origin, self.bypass)

    def headers(self, origin: Origin) -> dict[str, str]:
        """What goes with a CONNECT to the origin."""
        given = {"Host": origin.netloc}
        if self.user is not None:
            given["Proxy-Authorization"] = f"Basic {_basic(self.user)}"
        return given

    def hidden(self) -> tuple[str, ...]:
        """What no log may show: the password and every text that holds it."""
        if self.user is None:
            return ()
        user = self.user.reveal()
        password = user.partition(":")[2]
        return user, password, unquote(password), _basic(self.user)


def _basic(user: Secret) -> str:
    name, _, password = map(unquote_to_bytes, user.reveal().partition(":"))
    return base64.b64encode(name + b":" + password).decode()


def proxy_url(setting: str) -> Callable[[object], EgressProxy]:
    """A parser of proxy URLs for the setting of this name."""

    def parse(raw: object) -> EgressProxy:
        match = _PROXY_URL.fullmatch(raw.strip()) if isinstance(raw, str) else None
        port = int(match["port"] or 80) if match else 0
        if match is None or not 0 < port <= 65_535:
            raise ValueError(_EXPECTED)
        host = match["host"].lower()
        if host.startswith("["):
            try:
                host = str(ipaddress.IPv6Address(host[1:-1]))
            except ValueError:
                raise ValueError(_EXPECTED) from None
        user = Secret(match["user"]) if match["user"] else None
        return EgressProxy(host, port, user, setting=setting)

    return parse


def is_bypassed(origin: Origin, bypass: str) -> bool:
    """Whether a list such as ``NO_PROXY``, by the rules of urllib, names the origin."""
    at = origin.host if ":" in origin.host else f"{origin.host}:{origin.port}"
    return bool(proxy_bypass_environment(at, {"no": bypass}))


def named_in(environ: Mapping[str, str], word: str) -> tuple[str, str]:
    """Name and value of ``https_proxy``, ``no_proxy``: lower case first, as curl and urllib do."""
    name = word if word in environ else word.upper()
    return name, environ.get(name, "").strip()


def way(origin: Origin, proxy: EgressProxy | None) -> str:
    """How the origin is reached, for people: the proxy's URL without credentials, or direct."""
    return str(proxy) if proxy is not None and proxy.serves(origin) else "direct"
