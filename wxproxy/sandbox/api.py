"""Business endpoints of api.weixin.qq.com, in the shapes of WeChat's documentation; pure."""

import hashlib
import re
import time

from wxproxy.sandbox.calls import Call
from wxproxy.sandbox.replies import JPEG, PICTURE, Refused, Reply, json_reply, ok
from wxproxy.sandbox.state import World

_MAX_MEDIA_BYTES = 10 * 1024 * 1024
_MEDIA_TYPES = ("image", "voice", "video", "thumb")
_TICKET_LIFE_S = 7200
_DISPOSITION = re.compile(
    rb'Content-Disposition:\s*form-data;[^\r\n]*\bname="?media"?[^\r\n]*', re.I
)
_FILENAME = re.compile(rb'filename="?([^"\r\n;]+)', re.I)
_ESCAPE = re.compile(rb"\\u[0-9a-fA-F]{4}")

OPENIDS = tuple(f"oSandbox{n:020d}" for n in range(1, 4))


def ip_list(_world: World, _call: Call) -> Reply:
    """getcallbackip and get_api_domain_ip."""
    return json_reply({"ip_list": ["192.0.2.10", "192.0.2.11", "198.51.100.0/24"]})


def user_get(_world: World, _call: Call) -> Reply:
    """The three followers that every app has."""
    return json_reply(
        {
            "total": len(OPENIDS),
            "count": len(OPENIDS),
            "data": {"openid": list(OPENIDS)},
            "next_openid": OPENIDS[-1],
        }
    )


def _user(openid: str, lang: str) -> dict[str, object]:
    if openid not in OPENIDS:
        return {"subscribe": 0, "openid": openid}
    return {
        "subscribe": 1,
        "openid": openid,
        "language": lang,
        "subscribe_time": 1_700_000_000,
        "unionid": f"u{openid}",
        "remark": "",
        "groupid": 0,
        "tagid_list": [],
        "subscribe_scene": "ADD_SCENE_QR_CODE",
        "qr_scene": 98765,
        "qr_scene_str": "",
    }


def user_info(_world: World, call: Call) -> Reply:
    """One user; 40003 for an openid that is none."""
    openid = call.params.get("openid", "")
    if not openid.startswith("o"):
        raise Refused(40003)
    return json_reply(_user(openid, call.params.get("lang", "zh_CN")))


def user_info_batchget(_world: World, call: Call) -> Reply:
    """Up to 100 users, those that do not follow as ``subscribe: 0``."""
    wanted = call.json().get("user_list")
    if not isinstance(wanted, list) or not 0 < len(wanted) <= 100:
        raise Refused(40097)
    users = []
    for item in wanted:
        if not isinstance(item, dict) or not str(item.get("openid", "")).startswith("o"):
            raise Refused(40003)
        users.append(_user(item["openid"], item.get("lang", "zh_CN")))
    return json_reply({"user_info_list": users})


def menu_create(world: World, call: Call) -> Reply:
    r"""Keep a menu. \uXXXX escapes are refused, as WeChat does on several paths: 40033."""
    if _ESCAPE.search(call.body):
        raise Refused(40033)
    menu = call.json()
    if not isinstance(menu.get("button"), list) or not 0 < len(menu["button"]) <= 3:
        raise Refused(40016)
    world.menus[call.appid] = menu
    return ok()


def menu_get(world: World, call: Call) -> Reply:
    """The menu that was created, or 46003."""
    if call.appid not in world.menus:
        raise Refused(46003)
    return json_reply({"menu": world.menus[call.appid]})


def menu_delete(world: World, call: Call) -> Reply:
    """Forget the menu."""
    world.menus.pop(call.appid, None)
    return ok()


def message_custom(world: World, call: Call) -> Reply:
    """A customer-service message."""
    _sent(world, call)
    return ok()


def message_with_id(world: World, call: Call) -> Reply:
    """A template or subscription message; its msgid needs 64 bits."""
    return ok(msgid=3_000_000_000_000_000_000 + _sent(world, call))


def _sent(world: World, call: Call) -> int:
    if not call.text("touser").startswith("o"):
        raise Refused(40003)
    world.messages += 1
    return world.messages


def user_summary(_world: World, call: Call) -> Reply:
    """One day of follower figures."""
    if not call.text("begin_date") or not call.text("end_date"):
        raise Refused(61500)
    day = {"ref_date": call.text("begin_date"), "user_source": 0}
    return json_reply({"list": [{**day, "new_user": 3, "cancel_user": 1}]})


def quota_get(world: World, call: Call) -> Reply:
    """How often a path was called; 76021 for what is no path."""
    path = call.text("cgi_path")
    if not path.startswith("/"):
        raise Refused(76021)
    used = world.path_calls[path]
    return ok(
        quota={"daily_limit": 100_000, "used": used, "remain": max(0, 100_000 - used)},
        rate_limit={"call_count": 10_000, "refresh_second": 60},
        component_rate_limit={"call_count": 0, "refresh_second": 0},
    )


def rid_get(world: World, call: Call) -> Reply:
    """The recorded call of a rid, access_token in its URL included, as WeChat shows it."""
    record = world.rids.get(call.text("rid"))
    if record is None:
        raise Refused(76001)
    return ok(request=record)


def clear_quota(world: World, call: Call) -> Reply:
    """Give the token's app its daily calls back; 10 a month, else 48006."""
    if call.text("appid") != call.appid:
        raise Refused(48001)
    return _cleared(world, call.appid)


def clear_quota_v2(world: World, call: Call) -> Reply:
    """The same, by appid and secret in place of a token."""
    app = world.app(call.text("appid"))
    if app is None:
        raise Refused(40013)
    if call.text("appsecret") != app.secret:
        raise Refused(40125)
    return _cleared(world, app.appid)


def _cleared(world: World, appid: str) -> Reply:
    app = world.apps[appid]
    if not app.clear_quota.take(world.now):
        raise Refused(48006)
    app.classic_quota.used = 0
    world.path_calls.clear()
    return ok()


def media_upload(world: World, call: Call) -> Reply:
    """Take a file in the part ``media``; its content is not kept.

    41005 without the part, 40113 where its file name has no extension. Source:
    https://developers.weixin.qq.com/doc/service/api/material/temporary/api_uploadtempmedia
    """
    kind = call.params.get("type", "")
    if kind not in _MEDIA_TYPES:
        raise Refused(40004)
    part = _DISPOSITION.search(call.body)
    filename = _FILENAME.search(part[0]) if part else None
    if filename is None:
        raise Refused(41005)
    if b"." not in filename[1]:
        raise Refused(40113)
    if call.seen.body_length > _MAX_MEDIA_BYTES + 4096:
        raise Refused(45001)
    media_id = f"{kind}-{hashlib.sha256(call.rid.encode()).hexdigest()[:56]}"
    world.media[media_id] = kind
    return json_reply({"type": kind, "media_id": media_id, "created_at": int(time.time())})


def media_get(world: World, call: Call) -> Reply:
    """A picture under an uploaded media_id."""
    media_id = call.params.get("media_id", "")
    if media_id not in world.media:
        raise Refused(40007)
    disposition = f'attachment; filename="{media_id}.jpg"'
    return Reply(PICTURE, JPEG, headers=(("Content-disposition", disposition),))


def get_material(world: World, call: Call) -> Reply:
    """News as JSON for ``sandbox-news-1``, a picture for an uploaded media_id."""
    media_id = call.text("media_id")
    if media_id == "sandbox-news-1":
        article = {"title": "Sandbox", "author": "wxproxy", "digest": "", "content": "<p>1</p>"}
        return json_reply({"news_item": [article]})
    if media_id not in world.media:
        raise Refused(40007)
    return Reply(PICTURE, JPEG)


def wxacode(_world: World, call: Call) -> Reply:
    """A Mini Program code as a JPEG; errors are JSON."""
    if not 0 < len(call.text("scene")) <= 32:
        raise Refused(40129)
    return Reply(PICTURE, JPEG)


def msg_sec_check(_world: World, call: Call) -> Reply:
    """Lets every text pass but those with the word ``risky``."""
    content = call.text("content")
    if not content:
        raise Refused(44002)
    suggest, label = ("risky", 20001) if "risky" in content else ("pass", 100)
    return ok(detail=[], result={"suggest": suggest, "label": label}, trace_id=call.rid)


def ticket(world: World, call: Call) -> Reply:
    """The app's JS-SDK or card ticket, the same one until it expires."""
    kind = call.params.get("type", "")
    if kind not in ("jsapi", "wx_card"):
        raise Refused(40097)
    return ok(**ticket_of(world, f"{call.appid} {kind}"))


def ticket_of(world: World, key: str) -> dict[str, object]:
    """Ticket and remaining seconds under this key; a new ticket once the last has expired."""
    value, expires_at = world.tickets.get(key, ("", 0.0))
    if world.now >= expires_at:
        expires_at = world.now + _TICKET_LIFE_S
        value = hashlib.shake_256(f"{key} {expires_at}".encode()).hexdigest(43)
        world.tickets[key] = (value, expires_at)
    return {"ticket": value, "expires_in": int(expires_at - world.now)}


def midas_balance(_world: World, call: Call) -> Reply:
    """A virtual-payment call: the body is signed together with the token in it.

    Only what a proxy can break is checked: the token of the body is that of the query.
    """
    if not call.text("mp_sig") or call.text("access_token") != call.seen.token:
        raise Refused(90009)
    return ok(balance=100, gen_balance=0, first_save=0, save_amt=100, save_sum=100, cost_sum=0)


def echo(_world: World, call: Call) -> Reply:
    """What arrived: method, target, headers, length and SHA-256 of the body."""
    seen = call.seen
    return json_reply(
        {
            "method": seen.method,
            "target": seen.target,
            "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in seen.headers],
            "body_sha256": seen.body_sha256,
            "body_length": seen.body_length,
        }
    )


def sink(_world: World, call: Call) -> Reply:
    """Length and SHA-256 of an upload of any size."""
    return json_reply({"sha256": call.seen.body_sha256, "length": call.seen.body_length})


def sized(_world: World, call: Call) -> Reply:
    """``n`` bytes, made as they are sent."""
    n = call.params.get("n", "")
    if not (n.isascii() and n.isdigit()):
        raise Refused(40097)
    return Reply(content_type="application/octet-stream", size=int(n))
