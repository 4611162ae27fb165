"""What a test may turn and look at; the control route offers the same by HTTP. No I/O."""

from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from wxproxy.sandbox import sns, tokens
from wxproxy.sandbox.answer import answer, refusal
from wxproxy.sandbox.calls import Call, Seen
from wxproxy.sandbox.faults import Fault, shaped
from wxproxy.sandbox.replies import Reply
from wxproxy.sandbox.state import DAY_S, OFFICIAL, WECOM, App, Family, Quota, TokenCalls, World

APPID = "wxsandbox0000000001"
SECRET = "sandbox-secret-1"  # noqa: S105 - published, opens nothing
APPID_2 = "wxsandbox0000000002"
SECRET_2 = "sandbox-secret-2"  # noqa: S105 - published, opens nothing
CORPID = "wwsandbox00000001"
AGENT = "1000001"
AGENT_SECRET = "sandbox-agent-secret-1"  # noqa: S105 - published, opens nothing
AGENT_2 = "1000002"
AGENT_SECRET_2 = "sandbox-agent-secret-2"  # noqa: S105 - published, opens nothing
COMPONENT_APPID = sns.COMPONENT_APPID
COMPONENT_SECRET = sns.COMPONENT_SECRET

_CALLS_KEPT = 10_000

Kind = Literal["official", "wecom"]
FamilyName = Literal["classic", "stable", "gettoken", "user", "component", "authorizer", "suite"]


class Knobs:
    """The simulated WeChat without its network.

    Attributes:
        calls: the last 10,000 requests, oldest first; the control route's own are not among them.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._clock = now
        self._world = World(now)
        self._faults: list[tuple[Fault, int | None]] = []
        self.calls: deque[Seen] = deque(maxlen=_CALLS_KEPT)
        self.add_app(APPID, SECRET)
        self.add_app(APPID_2, SECRET_2)
        self.add_app(CORPID, AGENT_SECRET, kind=WECOM, agent=AGENT)
        self.add_app(CORPID, AGENT_SECRET_2, kind=WECOM, agent=AGENT_2)

    def add_app(
        self, appid: str, secret: str, *, kind: Kind = OFFICIAL, agent: str = AGENT
    ) -> None:
        """Add an app or change its secret; for wecom, add an agent to the corp ``appid``."""
        app = self._world.apps.setdefault(appid, App(appid, "", kind))
        if app.kind != kind:
            raise ValueError(f"{appid} is an app of kind {app.kind}")
        if kind == WECOM:
            app.agents[agent] = secret
        else:
            app.secret = secret

    def revoke(
        self,
        appid: str,
        *,
        family: FamilyName | None = None,
        token: str = "",
        insist: bool = False,
    ) -> int:
        """End the app's good tokens, or those of one family, or one token; how many.

        With ``insist``, stable_token and gettoken go on handing out the dead token.
        """
        self._app(appid)
        return self._world.tokens.kill(
            appid, now=self._world.now, family=_family(family), value=token, insist=insist
        )

    def expire_in(self, appid: str, seconds: float, *, family: FamilyName | None = None) -> int:
        """Let the app's good tokens, or those of one family, end so soon; how many."""
        self._app(appid)
        return self._world.tokens.shorten(
            appid, now=self._world.now, remaining_s=seconds, family=_family(family)
        )

    def set_life(self, appid: str, seconds: int) -> None:
        """Give new tokens this ``expires_in``. stable renews in the last 24th of it."""
        self._app(appid).life_s = seconds

    def set_quota(self, appid: str, per_day: int) -> None:
        """Allow this many classic fetches a day, from now on."""
        self._app(appid).classic_quota = Quota(per_day, DAY_S)

    def set_new_each_time(self, appid: str, on: bool) -> None:
        """Let each gettoken make a new token; the older ones live on."""
        self._app(appid).new_each_time = on

    def advance(self, seconds: float) -> None:
        """Move WeChat's clock forward."""
        self._world.offset_s += seconds

    def add_fault(self, fault: Fault) -> None:
        """Put a fault behind those that there are; the first that matches a request acts."""
        self._faults.append((fault, fault.times))

    def fault(self, path: str, **what: Any) -> None:
        """``add_fault(Fault(path=path, …))``."""
        self.add_fault(Fault(path=path, **what))

    @property
    def faults(self) -> list[Fault]:
        """The faults that are still to act."""
        return [fault for fault, _ in self._faults]

    def clear_faults(self) -> None:
        """Drop every fault."""
        self._faults.clear()

    def reset(self) -> None:
        """Forget tokens, calls, faults, counters and settings; the apps stay."""
        apps = self._world.apps.values()
        self._world = World(self._clock)
        for app in apps:
            self._world.apps[app.appid] = App(app.appid, app.secret, app.kind, app.agents)
        self._faults.clear()
        self.calls.clear()

    def token(self, appid: str, *, family: FamilyName = "stable", agent: str = "") -> str:
        """The family's latest token, good or not; "" where none was issued."""
        token = self._world.tokens.current(appid, Family(family), agent)
        return token.value if token else ""

    def token_calls(self, appid: str) -> TokenCalls:
        """How often any token endpoint was called for an appid, refusals and faults included."""
        counts = [c for (owner, _), c in self._world.token_calls.items() if owner == appid]
        return TokenCalls(sum(c.fetches for c in counts), sum(c.forced for c in counts))

    def seen(self, path: str) -> list[Seen]:
        """The calls whose decoded path begins so, oldest first."""
        return [call for call in self.calls if call.path.startswith(path)]

    def stats(self) -> dict[str, Any]:
        """Counters, for people and for tests in other languages."""
        endpoints: dict[str, dict[str, Any]] = {}
        for (appid, path), counts in self._world.token_calls.items():
            figures = {"fetches": counts.fetches, "forced": counts.forced}
            endpoints.setdefault(appid, {})[path] = figures
        return {
            "uptime_s": round(self._world.now, 3),
            "token_calls": endpoints,
            "path_calls": dict(self._world.path_calls),
            "messages": self._world.messages,
            "faults": len(self._faults),
        }

    def take_fault(self, path: str) -> Fault | None:
        """The fault that acts on a request to this path; its count goes down by one."""
        for index, (fault, left) in enumerate(self._faults):
            if path.startswith(fault.path):
                if left == 1:
                    del self._faults[index]
                elif left is not None:
                    self._faults[index] = (fault, left - 1)
                return fault
        return None

    def answer(self, call: Call, fault: Fault | None) -> Reply:
        """WeChat's answer to a call, or what the fault makes of it."""
        tokens.count(self._world, call)
        if fault is None:
            return answer(self._world, call)
        return shaped(
            fault,
            refusal=lambda errcode: refusal(self._world, call, errcode),
            own=lambda: answer(self._world, call),
        )

    @property
    def now(self) -> float:
        """Seconds on WeChat's clock since the start."""
        return self._world.now

    def _app(self, appid: str) -> App:
        try:
            return self._world.apps[appid]
        except KeyError:
            raise ValueError(f"no app {appid}; add_app adds one") from None


def _family(name: FamilyName | None) -> Family | None:
    return Family(name) if name else None
