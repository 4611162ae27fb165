"""``wxproxy sandbox``: the simulator as a program."""

import argparse
import asyncio

from wxproxy.sandbox import knobs, wecom
from wxproxy.sandbox.api import OPENIDS
from wxproxy.sandbox.server import Sandbox

DEFAULT_LISTEN = ("127.0.0.1", 5790)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"expected host:port, as 127.0.0.1:5790, not {text!r}")
    return host.strip("[]"), int(port)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    parser.add_argument(
        "--listen",
        type=_address,
        default=DEFAULT_LISTEN,
        metavar="HOST:PORT",
        help="where to listen (127.0.0.1:5790); port 0 takes a free one",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing")


async def serve(args: argparse.Namespace, stop: asyncio.Event) -> None:
    """Run a sandbox until ``stop`` is set or the task is cancelled.

    Raises:
        OSError: the address cannot be bound.
    """
    sandbox = Sandbox()
    host, port = args.listen
    await sandbox.start(host, port)
    try:
        if not args.quiet:
            print(banner(sandbox.url), flush=True)
        await stop.wait()
    finally:
        await sandbox.stop()


def banner(url: str) -> str:
    """What the command prints: what this is, its credentials, and calls to try."""
    return f"""\
A simulated WeChat listens on {url}. Nothing here is real; everything is forgotten at the end.

  official account   appid  {knobs.APPID}   secret {knobs.SECRET}
                     appid  {knobs.APPID_2}   secret {knobs.SECRET_2}
  WeCom              corpid {knobs.CORPID}     agent {knobs.AGENT} secret {knobs.AGENT_SECRET}
                     corpid {knobs.CORPID}     agent {knobs.AGENT_2} secret {knobs.AGENT_SECRET_2}
  WeCom robot        key    {wecom.WEBHOOK_KEY}
  third party        appid  {knobs.COMPONENT_APPID}   secret {knobs.COMPONENT_SECRET}
  followers          {" ".join(OPENIDS)}

Calls to try:
  curl '{url}/cgi-bin/token?grant_type=client_credential&appid={knobs.APPID}&secret={knobs.SECRET}'
  curl '{url}/cgi-bin/user/get?access_token=TOKEN'
  curl '{url}/_sandbox/revoke' -d '{{"appid":"{knobs.APPID}"}}'
  curl '{url}/_sandbox/faults' -d '{{"path":"/cgi-bin/user/get","errcode":45009,"times":3}}'
  curl '{url}/_sandbox/stats'"""
