"""A request: what the sandbox records of it, and how a handler sees it; pure."""

import json
from dataclasses import dataclass, field
from typing import Any

from wxproxy.sandbox.replies import Refused, new_rid


@dataclass(slots=True)
class Seen:
    """One request as it reached the sandbox.

    Attributes:
        target: the request target exactly as received.
        headers: pairs in order, as received.
        tokens: each ``access_token`` of the query, decoded; ``token`` is the first, or "".
        body_sha256: of the whole body; "" until it has been read whole.
        body_length: bytes of the body that arrived.
        body: the body, if it has at most 4 KiB; else b"".
        status: HTTP status of the answer; 0 while there is none.
        errcode: of the answer, where it had one.
        fault: whether a fault took part in the answer.
    """

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    path: str
    tokens: tuple[str, ...]
    at: float
    body_sha256: str = ""
    body_length: int = 0
    body: bytes = b""
    status: int = 0
    errcode: int | None = None
    fault: bool = False

    @property
    def token(self) -> str:
        """The first ``access_token`` of the query, which is the one that WeChat takes."""
        return self.tokens[0] if self.tokens else ""

    def header(self, name: str) -> str:
        """The first header of that name, or ""."""
        wanted = name.lower().encode()
        return next((v.decode("latin-1") for k, v in self.headers if k.lower() == wanted), "")


@dataclass(slots=True)
class Call:
    """A request as a handler sees it.

    Attributes:
        body: its first MiB.
        appid: whose token it carries, "" where none is asked for.
        agent: wecom: the agent whose token it carries.
    """

    seen: Seen
    params: dict[str, str]
    body: bytes = b""
    appid: str = ""
    agent: str = ""
    rid: str = field(default_factory=new_rid)

    @property
    def path(self) -> str:
        """The decoded path."""
        return self.seen.path

    def json(self) -> dict[str, Any]:
        """The body as an object.

        Raises:
            Refused: 44002 without a body, 45002 beyond 1 MiB, 47001 if it is no JSON object.
        """
        if not self.body:
            raise Refused(44002)
        if self.seen.body_length > len(self.body):
            raise Refused(45002)
        try:
            data = json.loads(self.body)
        except ValueError:
            raise Refused(47001) from None
        if not isinstance(data, dict):
            raise Refused(47001)
        return data

    def text(self, name: str) -> str:
        """A string member of the JSON body, "" where it is absent.

        Raises:
            Refused: as json(); 47001 for another type.
        """
        value = self.json().get(name, "")
        if not isinstance(value, str):
            raise Refused(47001)
        return value
