"""Which paths get a metric label of their own; pure.

Anybody who reaches the proxy can make up paths, so a label is earned: by being one of WeChat's
common paths, or by being plain and succeeding three times. Made-up paths that come once each
earn none, even where everything is answered with 200, and the cap holds in any case.
"""

import re

from cachetools import LRUCache

from wxproxy.metric_table import OTHER

_SUCCESSES_TO_EARN = 3
_CANDIDATES = 256
_LONGEST = 64
# Words with at most two digits each: an id, a token or a secret that strayed into a path does
# not match.
_PLAIN = re.compile(r"(?:/[a-z_-]{1,32}[0-9]{0,2}[a-z_-]{0,8}){2,6}")

# So that the first call of a common API shows under its own name; a path that is missing here
# earns its label by use, and one too many costs nothing.
_COMMON = """
    /_wxproxy/jssdk /_wxproxy/refresh /_wxproxy/token
    /cgi-bin/token /cgi-bin/stable_token /cgi-bin/gettoken
    /cgi-bin/ticket/getticket /cgi-bin/ticket/get /cgi-bin/get_jsapi_ticket
    /cgi-bin/get_api_domain_ip /cgi-bin/getcallbackip /cgi-bin/openapi/quota/get
    /sns/jscode2session /sns/oauth2/access_token /sns/oauth2/refresh_token /sns/userinfo
    /cgi-bin/message/send /cgi-bin/message/custom/send /cgi-bin/message/custom/typing
    /cgi-bin/message/template/send /cgi-bin/message/subscribe/send
    /cgi-bin/message/subscribe/bizsend /cgi-bin/message/mass/send /cgi-bin/message/mass/sendall
    /cgi-bin/menu/create /cgi-bin/menu/get /cgi-bin/menu/delete /cgi-bin/qrcode/create
    /cgi-bin/user/get /cgi-bin/user/info /cgi-bin/user/info/batchget /cgi-bin/user/list
    /cgi-bin/user/getuserinfo /cgi-bin/auth/getuserinfo /cgi-bin/department/list
    /cgi-bin/tags/get /cgi-bin/tags/members/batchtagging /cgi-bin/externalcontact/list
    /cgi-bin/media/get /cgi-bin/media/upload /cgi-bin/media/uploadimg
    /cgi-bin/material/add_material /cgi-bin/material/get_material
    /cgi-bin/material/batchget_material /cgi-bin/draft/add /cgi-bin/freepublish/submit
    /cgi-bin/wxaapp/createwxaqrcode /wxa/getwxacode /wxa/getwxacodeunlimit
    /wxa/generatescheme /wxa/generate_urllink /wxa/genwxashortlink /wxa/checksession
    /wxa/msg_sec_check /wxa/img_sec_check /wxa/media_check_async
    /wxa/business/getuserphonenumber
"""
COMMON_PATHS = frozenset(_COMMON.split())


class RouteLabels:
    """Hands out at most ``max_routes`` labels besides ``other``.

    Attributes:
        given: the paths that have their label.
    """

    def __init__(self, max_routes: int) -> None:
        self.given: set[str] = set()
        self._max_routes = max_routes
        self._successes: LRUCache[str, int] = LRUCache(_CANDIDATES)

    def label(self, path: str, *, succeeded: bool) -> str:
        """The label of a request's path; ``succeeded``: WeChat itself answered it with 2xx."""
        if path in self.given:
            return path
        if len(self.given) >= self._max_routes or not self._has_earned(path, succeeded=succeeded):
            return OTHER
        self.given.add(path)
        return path

    def _has_earned(self, path: str, *, succeeded: bool) -> bool:
        if path in COMMON_PATHS:
            return True
        if not succeeded or len(path) > _LONGEST or not _PLAIN.fullmatch(path):
            return False
        self._successes[path] = self._successes.get(path, 0) + 1
        return self._successes[path] >= _SUCCESSES_TO_EARN
