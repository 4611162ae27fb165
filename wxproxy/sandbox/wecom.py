"""Business endpoints of qyapi.weixin.qq.com; pure."""

from wxproxy.sandbox.api import ticket_of
from wxproxy.sandbox.calls import Call
from wxproxy.sandbox.replies import Refused, Reply, ok
from wxproxy.sandbox.state import World

WEBHOOK_KEY = "sandbox-webhook-key"


def user_get(_world: World, call: Call) -> Reply:
    """A member; 60111 without a userid."""
    userid = call.params.get("userid")
    if not userid:
        raise Refused(60111)
    return ok(userid=userid, name="沙箱", department=[1], position="", status=1)


def message_send(world: World, call: Call) -> Reply:
    """A message from the token's own agent; another agent's gets 301002."""
    data = call.json()
    if str(data.get("agentid", "")) != call.agent:
        raise Refused(301002)
    world.messages += 1
    return ok(invaliduser="", invalidparty="", invalidtag="", msgid=f"sandbox-{world.messages}")


def corp_ticket(world: World, call: Call) -> Reply:
    """The corp's JS-SDK ticket."""
    return ok(**ticket_of(world, f"{call.appid} corp"))


def agent_ticket(world: World, call: Call) -> Reply:
    """The agent's JS-SDK ticket."""
    if call.params.get("type") != "agent_config":
        raise Refused(40097)
    return ok(**ticket_of(world, f"{call.appid} {call.agent}"))


def webhook_send(world: World, call: Call) -> Reply:
    """A group robot's message: a key, no token."""
    if call.params.get("key") != WEBHOOK_KEY:
        raise Refused(93000)
    if not call.text("msgtype"):
        raise Refused(40097)
    world.messages += 1
    return ok()
