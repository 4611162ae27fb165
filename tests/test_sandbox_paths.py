"""The simulator's business paths: documented shapes, refusals, content types."""

import hashlib
import hmac
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.sandbox_client import Client, raw
from wxproxy.sandbox import Sandbox
from wxproxy.sandbox.api import OPENIDS
from wxproxy.sandbox.knobs import (
    AGENT,
    AGENT_2,
    APPID,
    COMPONENT_APPID,
    COMPONENT_SECRET,
    SECRET,
)
from wxproxy.sandbox.replies import PICTURE
from wxproxy.sandbox.wecom import WEBHOOK_KEY

JSON = "application/json; encoding=utf-8"
LOGIN = f"appid={APPID}&secret={SECRET}&grant_type=authorization_code"


@pytest.fixture
async def wechat() -> AsyncIterator[Client]:
    """A sandbox and a client of it."""
    sandbox = Sandbox()
    await sandbox.start()
    async with aiohttp.ClientSession() as session:
        yield Client(sandbox, session)
    await sandbox.stop()


@pytest.mark.parametrize(
    ("path", "body", "members"),
    [
        ("/cgi-bin/getcallbackip", None, {"ip_list"}),
        ("/cgi-bin/get_api_domain_ip", None, {"ip_list"}),
        ("/cgi-bin/user/get", None, {"total", "count", "data", "next_openid"}),
        ("/cgi-bin/user/info/batchget", {"user_list": [{"openid": "oX"}]}, {"user_info_list"}),
        ("/cgi-bin/menu/create", {"button": [{"name": "菜单"}]}, {"errcode", "errmsg"}),
        ("/cgi-bin/menu/delete", None, {"errcode", "errmsg"}),
        ("/cgi-bin/message/custom/send", {"touser": "oX"}, {"errcode", "errmsg"}),
        ("/cgi-bin/message/template/send", {"touser": "oX"}, {"errcode", "errmsg", "msgid"}),
        ("/cgi-bin/message/subscribe/send", {"touser": "oX"}, {"errcode", "errmsg", "msgid"}),
        (
            "/datacube/getusersummary",
            {"begin_date": "2025-01-01", "end_date": "2025-01-01"},
            {"list"},
        ),
        (
            "/cgi-bin/openapi/quota/get",
            {"cgi_path": "/cgi-bin/user/get"},
            {"errcode", "errmsg", "quota", "rate_limit", "component_rate_limit"},
        ),
        ("/cgi-bin/material/get_material", {"media_id": "sandbox-news-1"}, {"news_item"}),
        ("/wxa/msg_sec_check", {"content": "a"}, {"errcode", "errmsg", "detail", "result",
                                                  "trace_id"}),
        ("/cgi-bin/clear_quota", {"appid": APPID}, {"errcode", "errmsg"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_documented_shapes(wechat: Client, path: str, body: Any, members: set[str]) -> None:
    """Each endpoint answers HTTP 200 in WeChat's JSON type, with the documented members."""
    status, content_type, reply = await wechat.call(
        f"{path}?access_token={await wechat.token()}",
        None if body is None else json.dumps(body, ensure_ascii=False).encode(),
    )

    assert (status, content_type) == (200, JSON)
    assert members == set(json.loads(reply))


@pytest.mark.parametrize(
    ("path", "body", "errcode"),
    [
        ("/cgi-bin/user/info", None, 40003),
        ("/cgi-bin/user/info/batchget", {"user_list": []}, 40097),
        ("/cgi-bin/user/info/batchget", {"user_list": [{"openid": "x"}]}, 40003),
        ("/cgi-bin/menu/create", b'{"button":[{"name":"\\u83dc"}]}', 40033),
        ("/cgi-bin/menu/create", {"button": []}, 40016),
        ("/cgi-bin/menu/create", b"", 44002),
        ("/cgi-bin/menu/create", b"\xff{", 47001),
        ("/cgi-bin/menu/create", b'{"a":"' + b"x" * 1_100_000 + b'"}', 45002),
        ("/cgi-bin/menu/create", None, 43002),
        ("/cgi-bin/menu/get", {}, 43001),
        ("/cgi-bin/menu/get", None, 46003),
        ("/cgi-bin/message/custom/send", {"touser": 1}, 47001),
        ("/cgi-bin/message/custom/send", {"touser": "x"}, 40003),
        ("/datacube/getusersummary", {"begin_date": "2025-01-01"}, 61500),
        ("/cgi-bin/openapi/quota/get", {"cgi_path": "x"}, 76021),
        ("/cgi-bin/openapi/rid/get", {"rid": "x"}, 76001),
        ("/cgi-bin/material/get_material", {"media_id": "x"}, 40007),
        ("/wxa/getwxacodeunlimit", {"scene": ""}, 40129),
        ("/wxa/msg_sec_check", {}, 44002),
        ("/cgi-bin/ticket/getticket", None, 40097),
        ("/cgi-bin/clear_quota", {"appid": "wxother"}, 48001),
        ("/cgi-bin/media/get", None, 40007),
        ("/cgi-bin/media/upload", b"", 40004),
        ("/sandbox/bytes", None, 40097),
        ("/wxaapi/nothing", None, 40066),
        ("/cgi-bin/midas/getbalance", {"mp_sig": "x", "access_token": "y"}, 90009),
    ],
)
async def test_refusals(wechat: Client, path: str, body: Any, errcode: int) -> None:
    """A good token does not save a bad call: HTTP 200 and the documented code."""
    status, _, reply = await wechat.call(f"{path}?access_token={await wechat.token()}", body)

    assert (200, errcode) == (status, json.loads(reply)["errcode"])


async def test_user_info_tells_followers_from_others(wechat: Client) -> None:
    """Followers come with their details, others as subscribe 0, each under its own item."""
    token = await wechat.token()
    one = await wechat.json(f"/cgi-bin/user/info?access_token={token}&openid={OPENIDS[0]}")
    body = {"user_list": [{"openid": OPENIDS[1]}, {"openid": "oNobody"}]}
    many = await wechat.json(f"/cgi-bin/user/info/batchget?access_token={token}", body)

    assert (1, OPENIDS[0]) == (one["subscribe"], one["openid"])
    assert [user["subscribe"] for user in many["user_info_list"]] == [1, 0]


async def test_menu_is_kept_until_deleted(wechat: Client) -> None:
    """menu/get gives what menu/create was given; after menu/delete, 46003."""
    query = f"access_token={await wechat.token()}"
    menu = {"button": [{"name": "菜单"}]}
    await wechat.json(
        f"/cgi-bin/menu/create?{query}", json.dumps(menu, ensure_ascii=False).encode()
    )

    assert {"menu": menu} == await wechat.json(f"/cgi-bin/menu/get?{query}")
    await wechat.json(f"/cgi-bin/menu/delete?{query}")
    assert (await wechat.json(f"/cgi-bin/menu/get?{query}"))["errcode"] == 46003


async def test_message_ids_need_64_bits(wechat: Client) -> None:
    """Message ids differ and do not fit a float: a proxy that re-encodes JSON breaks them."""
    path = f"/cgi-bin/message/template/send?access_token={await wechat.token()}"
    first, second = [(await wechat.json(path, {"touser": "oX"}))["msgid"] for _ in range(2)]

    assert first + 1 == second
    assert int(float(second)) != second or int(float(first)) != first
    assert wechat.sandbox.stats()["messages"] == 2


async def test_rid_leads_to_the_refused_call(wechat: Client) -> None:
    """The rid of an errmsg gives the recorded request, for the support."""
    query = f"access_token={await wechat.token()}"
    refused = await wechat.json(f"/cgi-bin/user/info?{query}&openid=x")
    rid = refused["errmsg"].rpartition(" ")[2]
    found = await wechat.json(f"/cgi-bin/openapi/rid/get?{query}", {"rid": rid})

    assert "openid=x" in found["request"]["request_url"]
    assert refused == json.loads(found["request"]["response_body"])


async def test_clear_quota_gives_the_fetches_back_ten_times(wechat: Client) -> None:
    """clear_quota/v2 takes appid and secret, revives classic fetches, and ends with 48006."""
    wechat.sandbox.set_quota(APPID, 1)
    await wechat.classic()
    path, body = "/cgi-bin/clear_quota/v2", {"appid": APPID, "appsecret": SECRET}
    codes = [(await wechat.json(path, body))["errcode"] for _ in range(11)]

    assert codes == [0] * 10 + [48006]
    assert "access_token" in await wechat.classic()
    assert (await wechat.json(path, {**body, "appsecret": "x"}))["errcode"] == 40125
    assert (await wechat.json(path, {"appid": "x"}))["errcode"] == 40013


def _form(filename: str, size: int = 10, name: str = "media") -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field(name, io.BytesIO(b"x" * size), filename=filename, content_type="image/jpeg")
    return form


async def test_media_goes_up_and_comes_down(wechat: Client) -> None:
    """An upload gives a media_id under which a picture comes back as a download."""
    query = f"access_token={await wechat.token()}"
    up = await wechat.json(f"/cgi-bin/media/upload?{query}&type=image", _form("a.jpg"))
    path = f"/cgi-bin/media/get?{query}&media_id={up['media_id']}"
    async with wechat.session.get(wechat.sandbox.url + path) as reply:
        disposition, picture = reply.headers["Content-disposition"], await reply.read()

    assert {"type", "media_id", "created_at"} == set(up)
    assert f'attachment; filename="{up["media_id"]}.jpg"' == disposition
    assert picture == PICTURE
    body = {"media_id": up["media_id"]}
    material = await wechat.call(f"/cgi-bin/material/get_material?{query}", body)
    assert material == (200, "image/jpeg", PICTURE)


@pytest.mark.parametrize(
    ("form", "errcode"),
    [
        pytest.param(_form("a"), 40113, id="no extension"),
        pytest.param(_form("a.jpg", name="file"), 41005, id="other part"),
        pytest.param(_form("a.jpg", 11 * 1024 * 1024), 45001, id="too large"),
    ],
)
async def test_bad_uploads(wechat: Client, form: aiohttp.FormData, errcode: int) -> None:
    """An upload without extension, without the part media, or above 10 MB is refused."""
    path = f"/cgi-bin/media/upload?access_token={await wechat.token()}&type=image"

    assert errcode == (await wechat.json(path, form))["errcode"]


async def test_media_errors_are_text(wechat: Client) -> None:
    """Errors of media/get are JSON in text/plain."""
    _, content_type, body = await wechat.call("/cgi-bin/media/get?access_token=2")

    assert content_type == "text/plain"
    assert json.loads(body)["errcode"] == 40001


async def test_code_image_or_json_error(wechat: Client) -> None:
    """getwxacodeunlimit gives a JPEG, its refusals are JSON."""
    path = "/wxa/getwxacodeunlimit?access_token="
    good = await wechat.call(path + await wechat.token(), {"scene": "a=1"})
    bad = await wechat.call(path + "2", {"scene": "a=1"})

    assert good == (200, "image/jpeg", PICTURE)
    assert bad[:2] == (200, JSON)


def test_picture_is_a_whole_jpeg() -> None:
    """The picture begins and ends as a JPEG does, its segments' lengths lead to its scan."""
    position = 2
    while (marker := PICTURE[position : position + 2]) != b"\xff\xda":
        assert marker[0] == 0xFF
        position += 2 + int.from_bytes(PICTURE[position + 2 : position + 4])

    assert PICTURE.startswith(b"\xff\xd8")
    assert PICTURE.endswith(b"\xff\xd9")


async def test_msg_sec_check_judges(wechat: Client) -> None:
    """A text with the word risky does not pass."""
    path = f"/wxa/msg_sec_check?access_token={await wechat.token()}"

    assert (await wechat.json(path, {"content": "fine"}))["result"]["suggest"] == "pass"
    assert (await wechat.json(path, {"content": "risky"}))["result"]["suggest"] == "risky"


async def test_tickets_are_kept_for_their_life(wechat: Client) -> None:
    """A ticket is the same until it expires, whatever the token; kinds have their own."""
    path = "/cgi-bin/ticket/getticket?type={}&access_token={}"
    first = await wechat.json(path.format("jsapi", await wechat.token()))
    wechat.sandbox.advance(100)
    forced = (await wechat.stable(force=True))["access_token"]
    second = await wechat.json(path.format("jsapi", forced))
    card = await wechat.json(path.format("wx_card", forced))
    wechat.sandbox.advance(7100)
    third = await wechat.json(path.format("jsapi", await wechat.token()))

    assert {"errcode", "errmsg", "ticket", "expires_in"} == set(first)
    assert first["ticket"] == second["ticket"]
    assert second["expires_in"] < first["expires_in"]
    assert len({first["ticket"], card["ticket"], third["ticket"]}) == 3


async def test_midas_takes_a_body_signed_with_its_own_token(wechat: Client) -> None:
    """A signed body passes when the token in it is that of the query."""
    token = await wechat.token()
    signature = hmac.new(b"key", token.encode(), hashlib.sha256).hexdigest()
    body = {"openid": "oX", "access_token": token, "mp_sig": signature}

    reply = await wechat.json(f"/cgi-bin/midas/getbalance?access_token={token}", body)
    assert reply["errcode"] == 0


async def test_a_login_code_works_once(wechat: Client) -> None:
    """jscode2session gives a session as text/plain; the code's second use gets 40163."""
    path = f"/sns/jscode2session?{LOGIN}&js_code=abc"
    _, content_type, body = await wechat.call(path)

    assert content_type == "text/plain"
    assert {"session_key", "openid"} == set(json.loads(body))
    assert (await wechat.json(path))["errcode"] == 40163


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ("", 41002),
        ("appid=wxnobody", 40013),
        (f"appid={APPID}", 41004),
        (f"appid={APPID}&secret=x", 40125),
        (f"appid={APPID}&secret={SECRET}", 40002),
        (LOGIN, 41008),
        (f"{LOGIN}&js_code=bad1&code=bad1", 40029),
    ],
)
@pytest.mark.parametrize("path", ["/sns/jscode2session", "/sns/oauth2/access_token"])
async def test_login_refusals(wechat: Client, path: str, query: str, errcode: int) -> None:
    """Both logins check appid, secret, grant_type and code, and refuse in /sns's wording."""
    _, content_type, body = await wechat.call(f"{path}?{query}")

    assert content_type == "text/plain"
    assert errcode == json.loads(body)["errcode"]
    assert b", rid: " in body


async def test_user_tokens_are_not_app_tokens(wechat: Client) -> None:
    """A web login's token opens userinfo and auth, and no app path; an app's token the reverse."""
    login = await wechat.json(f"/sns/oauth2/access_token?{LOGIN}&code=abc")
    user = f"access_token={login['access_token']}&openid={login['openid']}"
    app = f"access_token={await wechat.token()}&openid={login['openid']}"

    assert {"access_token", "expires_in", "refresh_token", "openid", "scope"} == set(login)
    assert login["openid"] == (await wechat.json(f"/sns/userinfo?{user}"))["openid"]
    assert (await wechat.json(f"/sns/auth?{user}"))["errcode"] == 0
    assert (await wechat.json(f"/sns/auth?{user}x"))["errcode"] == 40003
    assert (await wechat.json(f"/sns/userinfo?{app}"))["errcode"] == 40001
    assert (await wechat.json("/sns/userinfo"))["errcode"] == 41001
    assert await wechat.verdict(login["access_token"]) == 40001
    wechat.sandbox.expire_in(APPID, 0, family="user")
    assert (await wechat.json(f"/sns/auth?{user}"))["errcode"] == 42001


async def test_user_tokens_are_refreshed(wechat: Client) -> None:
    """The refresh token gives a new user token without the secret; another gets 40030."""
    login = await wechat.json(f"/sns/oauth2/access_token?{LOGIN}&code=abc")
    path = f"/sns/oauth2/refresh_token?appid={APPID}&grant_type=refresh_token&refresh_token="
    again = await wechat.json(path + login["refresh_token"])

    assert login["openid"] == again["openid"]
    assert login["access_token"] != again["access_token"]
    assert (await wechat.json(path + "x"))["errcode"] == 40030
    wrong = f"/sns/oauth2/refresh_token?appid={APPID}"
    assert (await wechat.json(wrong))["errcode"] == 40002


@pytest.mark.parametrize("name", ["component_access_token", "access_token"])
async def test_component_chain(wechat: Client, name: str) -> None:
    """A platform's token, under either name, gives a merchant's token that opens app paths."""
    platform = await wechat.json(
        "/cgi-bin/component/api_component_token",
        {
            "component_appid": COMPONENT_APPID,
            "component_appsecret": COMPONENT_SECRET,
            "component_verify_ticket": "t",
        },
    )
    body = {"authorizer_appid": APPID, "authorizer_refresh_token": "r"}
    path = f"/cgi-bin/component/api_authorizer_token?{name}="
    merchant = await wechat.json(path + platform["component_access_token"], body)

    assert platform["expires_in"] == 7200
    assert merchant["authorizer_refresh_token"] == "r"
    assert await wechat.verdict(merchant["authorizer_access_token"]) == 0
    assert (await wechat.json(path + await wechat.token(), body))["errcode"] == 40001


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"component_appid": "x"}, 61011),
        ({"component_appsecret": "x"}, 40125),
        ({"component_verify_ticket": ""}, 61006),
    ],
)
async def test_component_refusals(wechat: Client, change: dict[str, str], errcode: int) -> None:
    """The platform's own endpoint checks appid, secret and ticket."""
    good = {
        "component_appid": COMPONENT_APPID,
        "component_appsecret": COMPONENT_SECRET,
        "component_verify_ticket": "t",
    }
    reply = await wechat.json("/cgi-bin/component/api_component_token", {**good, **change})

    assert errcode == reply["errcode"]


async def test_wecom_paths(wechat: Client) -> None:
    """An agent's token opens WeCom's member, message and ticket paths, in WeCom's JSON type."""
    query = f"access_token={(await wechat.gettoken())['access_token']}"
    _, content_type, body = await wechat.call(f"/cgi-bin/user/get?{query}&userid=zhang")
    message = {"touser": "zhang", "msgtype": "text", "agentid": int(AGENT)}
    sent = await wechat.json(f"/cgi-bin/message/send?{query}", message)
    other = await wechat.json(f"/cgi-bin/message/send?{query}", {**message, "agentid": AGENT_2})
    corp = await wechat.json(f"/cgi-bin/get_jsapi_ticket?{query}")
    agent = await wechat.json(f"/cgi-bin/ticket/get?{query}&type=agent_config")

    assert content_type == "application/json; charset=UTF-8"
    assert (json.loads(body)["errcode"], json.loads(body)["userid"]) == (0, "zhang")
    assert (sent["errcode"], other["errcode"]) == (0, 301002)
    assert {"errcode", "errmsg", "ticket", "expires_in"} == set(corp) == set(agent)
    assert corp["ticket"] != agent["ticket"]
    assert (await wechat.json(f"/cgi-bin/ticket/get?{query}"))["errcode"] == 40097
    assert (await wechat.json(f"/cgi-bin/user/get?{query}"))["errcode"] == 60111


async def test_wecom_paths_without_a_token(wechat: Client) -> None:
    """A robot wants its key, a suite its three members; neither wants a token."""
    robot = "/cgi-bin/webhook/send?key="
    suite = "/cgi-bin/service/get_suite_token"
    members = {"suite_id": "s", "suite_secret": "s", "suite_ticket": "t"}

    assert (await wechat.json(robot + WEBHOOK_KEY, {"msgtype": "text"}))["errcode"] == 0
    assert (await wechat.json(robot + WEBHOOK_KEY, {}))["errcode"] == 40097
    assert (await wechat.json(robot + "x", {"msgtype": "text"}))["errcode"] == 93000
    assert (await wechat.json(suite, members))["expires_in"] == 7200
    assert (await wechat.json(suite, {"suite_id": "s"}))["errcode"] == 40085


async def test_one_platforms_token_does_not_open_the_others_paths(wechat: Client) -> None:
    """On shared paths the token tells the platform; on the other's own paths it is a bad one."""
    agent = (await wechat.gettoken())["access_token"]

    assert await wechat.verdict(agent, "/cgi-bin/getcallbackip?") == 0
    assert await wechat.verdict(agent, "/wxa/getwxacodeunlimit?") == 40066
    assert await wechat.verdict(await wechat.token(), "/cgi-bin/message/send?") == 40066


async def test_paths_outside_wechats_families_are_not_found(wechat: Client) -> None:
    """A path that WeChat's API has no family for gets a bare 404."""
    assert (await wechat.call("/nothing/here"))[:2] == (404, "text/plain")


async def test_echo_shows_the_request_as_it_arrived(wechat: Client) -> None:
    """Target, header pairs and body come back unchanged; paths below echo do the same."""
    token = await wechat.token()
    target = f"/sandbox/echo/a%2Fb?x=%7e&access_token={token}&y"
    request = (
        f"PUT {target} HTTP/1.1\r\nHost: h\r\nX-Odd-CASE: 1\r\nx-odd-case: 2\r\n"
        "Content-Length: 3\r\nConnection: close\r\n\r\nabc"
    )
    _, _, body = (await raw(wechat.sandbox, request.encode())).partition(b"\r\n\r\n")
    shown = json.loads(body)

    assert ("PUT", target) == (shown["method"], shown["target"])
    assert shown["headers"][:3] == [["Host", "h"], ["X-Odd-CASE", "1"], ["x-odd-case", "2"]]
    assert (3, hashlib.sha256(b"abc").hexdigest()) == (shown["body_length"], shown["body_sha256"])


async def test_compressed_bodies_are_seen_as_sent(wechat: Client) -> None:
    """A body with Content-Encoding is hashed as it came, not inflated."""
    path = f"/sandbox/echo?access_token={await wechat.token()}"
    shown = await wechat.json(path, b"no gzip", headers={"Content-Encoding": "gzip"})

    assert shown["body_length"] == 7


async def test_uploads_and_downloads_of_any_size(wechat: Client) -> None:
    """sink hashes what it is sent, bytes sends as many as it is asked for."""
    query = f"access_token={await wechat.token()}"
    data = bytes(range(256)) * 12_000
    sunk = await wechat.json(f"/sandbox/sink?{query}", data)
    _, content_type, got = await wechat.call(f"/sandbox/bytes?{query}&n={len(data) - 7}")

    assert {"sha256": hashlib.sha256(data).hexdigest(), "length": len(data)} == sunk
    assert ("application/octet-stream", data[:-7]) == (content_type, got)


async def test_head_has_the_gets_length_and_no_body(wechat: Client) -> None:
    """HEAD is taken where GET is, also for a sized download."""
    path = f"/sandbox/bytes?access_token={await wechat.token()}&n=70000"
    async with wechat.session.head(wechat.sandbox.url + path) as reply:
        assert (reply.headers["Content-Length"], await reply.read()) == ("70000", b"")
    path = path.replace("/sandbox/bytes", "/cgi-bin/user/get")
    assert (await wechat.call(path, method="HEAD"))[::2] == (200, b"")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("POST {} HTTP/1.1\r\nTransfer-Encoding: chunked", id="chunked POST"),
        pytest.param("GET {} HTTP/1.1\r\nTransfer-Encoding: chunked", id="chunked GET"),
        pytest.param("POST {} HTTP/1.1", id="no length"),
    ],
)
async def test_bodies_without_a_length_get_412(wechat: Client, head: str) -> None:
    """WeChat refuses chunked bodies and posts without a length, whatever the token."""
    head = head.format(f"/cgi-bin/user/get?access_token={await wechat.token()}")
    body = "0\r\n\r\n" if "chunked" in head else ""
    request = f"{head}\r\nHost: h\r\nConnection: close\r\n\r\n{body}"

    assert (await raw(wechat.sandbox, request.encode())).startswith(b"HTTP/1.1 412 ")


async def test_absolute_targets_are_read_and_recorded_as_sent(wechat: Client) -> None:
    """A target in absolute form is served by its path, and recorded whole."""
    target = "http://api.weixin.qq.com/cgi-bin/user/get?access_token=2"
    request = f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    reply = await raw(wechat.sandbox, request.encode())

    assert b'"errcode":40001' in reply
    assert [target] == [seen.target for seen in wechat.sandbox.seen("/cgi-bin/user/get")]


async def test_calls_record_what_was_seen(wechat: Client) -> None:
    """A record has method, target, headers, token, body, its hash, and the answer's codes."""
    await wechat.call("/cgi-bin/menu/create?access_token=2", b"abc", headers={"X-A": "b"})
    seen = wechat.sandbox.calls[-1]

    assert (seen.method, seen.target) == ("POST", "/cgi-bin/menu/create?access_token=2")
    assert (
        seen.token,
        seen.header("x-a"),
        seen.body,
        seen.body_length,
    ) == ("2", "b", b"abc", 3)
    assert hashlib.sha256(b"abc").hexdigest() == seen.body_sha256
    assert (seen.status, seen.errcode, seen.fault) == (200, 40001, False)
