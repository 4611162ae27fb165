"""corpwechatbot, for WeCom, which keeps its tokens in a file in its own package."""

import logging

from corpwechatbot.app import AppMsgSender

from tests.sdks.runners.talk import AGENT, AGENT_SECRET, CORPID, SIDECAR, answer
from wxproxy.clients.requests import install_globally

install_globally(SIDECAR)
sender = AppMsgSender(CORPID, AGENT_SECRET, AGENT, log_level=logging.CRITICAL)


def custom() -> object:
    return sender.send_text("你好", touser=["zhang"])["errcode"] == 0


answer({"custom": custom})
