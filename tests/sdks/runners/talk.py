"""What the Python runners share: the conversation on standard input and output."""

import json
import os
import sys
from collections.abc import Callable, Mapping

SIDECAR = os.environ["SIDECAR"]
APPID, CORPID = os.environ["APPID"], os.environ["CORPID"]
AGENT, AGENT_SECRET = os.environ["AGENT"], os.environ["AGENT_SECRET"]
OPENID = os.environ["OPENID"]

PICTURE = b"\xff\xd8\xff picture \xff\xd9"
MENU = {"button": [{"type": "click", "name": "今日歌曲", "key": "SONG"}]}
DAY = "2026-11-01"


def is_picture(data: bytes) -> bool:
    """Whether this is the sandbox's picture, whole."""
    return data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9" and len(data) > 16384


def answer(actions: Mapping[str, Callable[[], object]]) -> None:
    """Do what is asked for, a line each; an action that returns a false value has failed."""
    for line in sys.stdin:
        try:
            done = bool(actions[line.strip()]())
            error = "" if done else "the reply is not what was asked for"
        except Exception as exc:
            done, error = False, f"{type(exc).__name__}: {str(exc)[:200]}"
        print(json.dumps({"ok": done, "error": error}), flush=True)
