"""What the token keeper reports; metrics and logs both listen. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Trigger(StrEnum):
    """Why a token was fetched."""

    STARTUP = "startup"
    SCHEDULED = "scheduled"
    REJECTED = "rejected"
    SECRET_CHANGE = "secret_change"  # noqa: S105 - a label, not a secret
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class RefreshFinished:
    """One call to a token endpoint has ended.

    ``reason`` is "" when ok, else network, timeout, http_status, bad_body or errcode;
    ``unchanged`` says that WeChat gave the token that we had.
    """

    account: str
    trigger: Trigger
    ok: bool
    duration_s: float
    reason: str = ""
    errcode: int = 0
    rid: str = ""
    refused_ip: str = ""
    cure: str = ""
    token_id: str = ""
    expires_in_s: int = 0
    forced: bool = False
    unchanged: bool = False
    consecutive_failures: int = 0
    retry_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RejectionSettled:
    """WeChat called a token bad and the keeper has decided what that meant.

    ``outcome``: ``replaced`` (a new token was had), ``token_proved_good`` (the path is at
    fault), ``no_other_token`` (budget, force_refresh=never, or the fetch failed),
    ``inconclusive`` (the proof call gave no answer).
    """

    account: str
    path: str
    token_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class TokenContested:
    """Rejections keep following our own refreshes: another system fetches for this account."""

    account: str
    times: int


@dataclass(frozen=True, slots=True)
class SecretReloaded:
    """A secret file has changed (ok) or could not be read (not ok; the old value stays).

    ``cause``: what is wrong with the file, without its content; "" when ok.
    """

    account: str
    ok: bool
    cause: str = ""


Event = RefreshFinished | RejectionSettled | TokenContested | SecretReloaded
