"""Routes that are answered here and never forwarded: token endpoints and ``/_wxproxy/``.

Forwarding a token call would kill the live token, and SDKs make one before anything else.
No I/O of its own but through the keepers: requests and replies are values.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs

from wxproxy.accounts import Account, AccountBook, Kind
from wxproxy.clock import Clock
from wxproxy.credentials import SecretSource
from wxproxy.errors import RequestRefused, TokenUnavailable, UnknownAccount
from wxproxy.keeper import TokenKeeper
from wxproxy.metrics import Metrics
from wxproxy.paths import Rule
from wxproxy.routing import LocalPlan, Router
from wxproxy.schedule import Token

STABLE_TOKEN_PATH = "/cgi-bin/stable_token"  # noqa: S105 - a path
GETTOKEN_PATH = "/cgi-bin/gettoken"
REFRESH_PATH = "/_wxproxy/refresh"
EXPOSED_TOKEN_PATH = "/_wxproxy/token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class LocalRequest:
    """A request to one of these routes, its body wholly read.

    Attributes:
        plan: what the request's head decided.
    """

    method: str
    plan: LocalPlan
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LocalReply:
    """An answer: HTTP status, JSON object, and the error's stable code or ""."""

    status: int
    content: Mapping[str, object] = field(repr=False)
    code: str = ""

    def body(self) -> bytes:
        """The JSON text."""
        return json.dumps(self.content, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """How the token endpoints answer; see design of ``token_endpoint`` in README.md."""

    token_endpoint: Literal["placeholder", "real", "off"]
    expires_in_s: int
    expose_token: bool
    pass_foreign_appids: bool


class _WeChatError(Exception):
    """An errcode of WeChat's own, answered with HTTP 200 as WeChat does."""

    def __init__(self, errcode: int, errmsg: str) -> None:
        super().__init__(errmsg)
        self.reply = LocalReply(200, {"errcode": errcode, "errmsg": f"wxproxy: {errmsg}"})


class LocalRoutes:
    """Answers the token endpoints and the control routes."""

    def __init__(
        self,
        *,
        book: AccountBook,
        router: Router,
        keepers: Mapping[str, TokenKeeper],
        secrets: Mapping[str, SecretSource],
        metrics: Metrics,
        clock: Clock,
        settings: LocalSettings,
    ) -> None:
        self._book = book
        self._router = router
        self._keepers = keepers
        self._secrets = secrets
        self._metrics = metrics
        self._clock = clock
        self._settings = settings

    async def answer(self, request: LocalRequest) -> LocalReply | None:
        """Answer a request; None when it is to be forwarded untouched.

        Raises:
            WxProxyError: the control routes' refusals, and TokenUnavailable.
        """
        plan = request.plan
        try:
            if plan.rule is Rule.CONTROL:
                return await self._control(request)
            path = plan.path.lower().rstrip("/")
            self._metrics.stubbed(path)
            if self._settings.token_endpoint == "off":  # noqa: S105 - a mode
                raise RequestRefused(
                    "token calls are switched off here (token_endpoint = off): send API calls"
                    " without a token instead",
                    code="token_endpoint_off",
                    status=403,
                )
            if path == GETTOKEN_PATH:
                return await self._gettoken(request)
            return await self._official_token(request, path)
        except _WeChatError as exc:
            return exc.reply

    # -- token endpoints -----------------------------------------------------------------------

    async def _official_token(self, request: LocalRequest, path: str) -> LocalReply | None:
        """GET /cgi-bin/token and POST /cgi-bin/stable_token.

        The appid is looked at before anything else, as WeChat does.
        Source: wechat-facts.md 1 (S3).
        """
        if path == STABLE_TOKEN_PATH:
            if request.method != "POST":
                raise _WeChatError(43002, "require POST method")
            arguments = _json_object(request.body)
            if arguments is None:
                raise _WeChatError(47001, "data format error: the body must be a JSON object")
        else:
            arguments = _form(request.plan.query)
        appid = arguments.get("appid")
        if not appid:
            raise _WeChatError(41002, "appid missing")
        account = self._with_appid(request, str(appid))
        if account is None:
            return self._foreign_appid()
        if arguments.get("grant_type") != "client_credential":
            raise _WeChatError(40002, "invalid grant_type, must be client_credential")
        keeper = self._keepers[account.name]
        if arguments.get("force_refresh") is True:
            await keeper.ask()
        return LocalReply(200, await self._token_fields(account, keeper))

    async def _gettoken(self, request: LocalRequest) -> LocalReply | None:
        """WeCom's gettoken: the secret, or an account's name in its place, chooses the agent."""
        arguments = _form(request.plan.query)
        corpid, secret = arguments.get("corpid", ""), arguments.get("corpsecret", "")
        if not corpid:
            raise _WeChatError(41002, "corpid missing")
        named = [one for one in self._book.named(corpid) if one.kind is Kind.WECOM]
        if not named:
            return self._foreign_appid()
        account = next((one for one in named if self._is_agent(one, secret)), None)
        if account is None:
            raise _WeChatError(
                40001, "invalid credential: corpsecret is neither a configured secret nor a name"
            )
        if account not in request.plan.candidates:
            raise _conflict()
        keeper = self._keepers[account.name]
        fields = await self._token_fields(account, keeper)
        return LocalReply(200, {"errcode": 0, "errmsg": "ok", **fields})

    def _is_agent(self, account: Account, secret: str) -> bool:
        return secret in (account.name, self._secrets[account.name].current().reveal())

    def _with_appid(self, request: LocalRequest, appid: str) -> Account | None:
        named = [one for one in self._book.named(appid) if one.kind is Kind.OFFICIAL]
        if not named:
            return None
        if named[0] not in request.plan.candidates:
            raise _conflict()
        return named[0]

    def _foreign_appid(self) -> LocalReply | None:
        if self._settings.pass_foreign_appids:
            return None
        raise _WeChatError(40013, "invalid appid: no account here has it")

    async def _token_fields(self, account: Account, keeper: TokenKeeper) -> dict[str, object]:
        if self._settings.token_endpoint == "placeholder":  # noqa: S105 - a mode
            return {
                "access_token": account.placeholder,
                "expires_in": self._settings.expires_in_s,
            }
        try:
            token = keeper.current() or await keeper.token()
        except TokenUnavailable as exc:
            raise _WeChatError(exc.errcode, exc.message) from None
        return {"access_token": token.value, "expires_in": self._seconds_left(token)}

    # -- control routes ------------------------------------------------------------------------

    async def _control(self, request: LocalRequest) -> LocalReply:
        if request.plan.path == REFRESH_PATH:
            _require(request, "POST")
            return await self._refresh(request)
        if request.plan.path == EXPOSED_TOKEN_PATH:
            _require(request, "GET")
            return await self._expose(request)
        raise RequestRefused(
            f"there is no such control route; there are POST {REFRESH_PATH} and"
            f" GET {EXPOSED_TOKEN_PATH}",
            code="unknown_route",
            status=404,
        )

    async def _refresh(self, request: LocalRequest) -> LocalReply:
        """WeChat's *passive refresh*: someone says that a token failed, or wants a new one.

        Source: https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html
        """
        arguments = _json_object(request.body) if request.body.strip() else {}
        if arguments is None:
            raise RequestRefused("the body must be a JSON object, or empty")
        named = _text(arguments, "access_token") or _text(arguments, "token_id")
        account = self._controlled(request, _text(arguments, "account"), named)
        keeper = self._keepers[account.name]
        before = keeper.current()
        if not named or self._book.is_placeholder(named):
            await keeper.ask()
        elif before is not None and keeper.is_current(named):
            await keeper.reject(before, path="", sent_at=self._clock.now())
        after = keeper.current() or await keeper.token()
        return LocalReply(
            200,
            {
                "errcode": 0,
                "refreshed": before is None or after.value != before.value,
                "expires_in": self._seconds_left(after),
                "token_id": after.id,
            },
        )

    async def _expose(self, request: LocalRequest) -> LocalReply:
        if not self._settings.expose_token:
            raise RequestRefused(
                "this sidecar does not hand out its token; set expose_token = true if programs"
                " that cannot go through it must have it",
                code="token_not_exposed",
                status=403,
            )
        name = _form(request.plan.query).get("account", "")
        keeper = self._keepers[self._controlled(request, name, "").name]
        token = keeper.current() or await keeper.token()
        return LocalReply(
            200, {"access_token": token.value, "expires_in": self._seconds_left(token)}
        )

    def _controlled(self, request: LocalRequest, name: str, token: str) -> Account:
        """The account that a control request means: by name, by token, else as chosen before."""
        candidates = request.plan.candidates
        if name:
            if not self._book.named(name):
                raise UnknownAccount("no account here has this name or appid")
            candidates = self._router.narrow(candidates, name)
            if not candidates:
                raise _conflict()
        elif (holder := self._book.holder(token)) in candidates and holder is not None:
            return holder
        return self._router.choose(candidates)

    def _seconds_left(self, token: Token) -> int:
        return max(1, int(token.expires_at - self._clock.now()))


def _require(request: LocalRequest, method: str) -> None:
    if request.method != method:
        raise RequestRefused(
            f"this control route takes {method}", code="method_not_allowed", status=405
        )


def _conflict() -> RequestRefused:
    return RequestRefused(
        "the request names two accounts that disagree: its listener, header, prefix or from_appid"
        " chooses one, its arguments another",
        code="account_conflict",
    )


def _form(query: str) -> dict[str, str]:
    """The first value of each parameter."""
    return {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):  # the latter: a body of a thousand brackets
        return None
    return value if isinstance(value, dict) else None


def _text(arguments: Mapping[str, Any], key: str) -> str:
    value = arguments.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestRefused(f'"{key}" must be a string')
    return value
