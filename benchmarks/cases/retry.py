"""What a call costs whose token WeChat refuses, against the simulator."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks.bench import Bench
from benchmarks.client import Address, ask, connect, request, timed_ms
from benchmarks.machine import BenchError, Program, free_port
from benchmarks.proxies import Command
from benchmarks.table import Row, Table

_APPID = "wxsandbox0000000001"
_SECRET = "sandbox-secret-1"
_CALL = request("/sandbox/echo")
# A burst of 20 rejections may ask for a token at once; more would measure the budget.
_RETRIES = 15


def retry(bench: Bench) -> Iterator[Table]:
    """A call as usual, and one whose first token was revoked: three calls in place of one."""
    if "wxproxy" not in bench.found:
        return
    sandbox, own = free_port(), free_port()
    python = bench.found["wxproxy"]
    upstream = ("127.0.0.1", sandbox)
    with ExitStack() as stack:
        simulator = stack.enter_context(_sandbox(bench, python, sandbox))
        simulator.wait_until(lambda: connect(upstream).close())
        proxy = stack.enter_context(bench.start("wxproxy retry", _sidecar(python, sandbox, own)))
        address = ("127.0.0.1", own)
        proxy.wait_until(lambda: _plain(address))
        usual = [_plain(address) for _ in range(_RETRIES)]
        retried = [_retried(address, upstream) for _ in range(_RETRIES)]
    table = Table(
        "A retry, against the simulator",
        ("ms",),
        [
            Row("a call", "", {"ms": usual}),
            Row("a call whose token was revoked", "", {"ms": retried}),
            Row("ratio", "", {"ms": [median(retried) / median(usual)]}),
        ],
    )
    table.notes.append("A retry is three calls: the refused one, the token's, the repeated one.")
    yield table


def _sandbox(bench: Bench, python: str, port: int) -> Program:
    argv = [python, "-m", "wxproxy", "sandbox", "--quiet", "--listen", f"127.0.0.1:{port}"]
    log = bench.own_directory("sandbox") / "sandbox.log"
    return Program(argv, cores=bench.cores.others, log=log)


def _sidecar(python: str, sandbox: int, port: int) -> Command:
    environment = {
        "WXPROXY_APPID": _APPID,
        "WXPROXY_SECRET": _SECRET,
        "WXPROXY_UPSTREAM": f"http://127.0.0.1:{sandbox}",
        "WXPROXY_LISTEN": f"127.0.0.1:{port}",
        "WXPROXY_OPS_LISTEN": "127.0.0.1:0",
    }
    return Command([python, "-m", "wxproxy", "serve"], environment)


def _plain(address: Address) -> float:
    with connect(address) as connection:
        return timed_ms(lambda: ask(connection, _CALL))


def _retried(address: Address, sandbox: Address) -> float:
    body = json.dumps({"appid": _APPID}).encode()
    with connect(sandbox) as control:
        ask(control, request("/_sandbox/revoke", method="POST", length=len(body)) + body)
    with connect(address) as connection:
        replies: list[bytes] = []
        took_ms = timed_ms(lambda: replies.append(ask(connection, _CALL)))
    if b"X-Wxproxy-Attempts: 2" not in replies[0]:
        raise BenchError("a call with a revoked token was not retried")
    return took_ms
