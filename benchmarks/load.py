"""wrk, as the cases use it."""

import subprocess
from pathlib import Path

from benchmarks.figures import WrkReport, parse_wrk
from benchmarks.machine import BenchError, clean_environment


def wrk(
    url: str, *, connections: int, seconds: int, script: Path | None = None, program: str = "wrk"
) -> WrkReport:
    """One run on keep-alive connections.

    Raises:
        BenchError: replies failed or connections broke.
    """
    argv = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    argv += ["-s", str(script)] if script else []
    done = subprocess.run(
        [*argv, url],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
        env=clean_environment(),
    )
    try:
        report = parse_wrk(done.stdout)
    except ValueError as exc:
        raise BenchError(f"{exc}; it said {done.stderr[-200:]!r}") from None
    if not report.requests or report.failed or report.broken:
        raise BenchError(
            f"wrk saw {report.requests} replies, {report.failed} of them no success,"
            f" and {report.broken} broken or late connections"
        )
    return report


def post_script(directory: Path, body: str) -> Path:
    """A script for wrk that posts JSON."""
    script = directory / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = [[{body}]]\n"
        'wrk.headers["Content-Type"] = "application/json"\n'
    )
    return script


def accounts_script(directory: Path, names: list[str], path: str) -> Path:
    """A script for wrk that goes through the accounts; the same work for one as for many."""
    script = directory / f"accounts-{len(names)}.lua"
    listed = ", ".join(f'"{name}"' for name in names)
    script.write_text(
        f"local names = {{{listed}}}\n"
        "local requests = {}\n"
        "local turn = 0\n"
        "function init(args)\n"
        "  for i, name in ipairs(names) do\n"
        f'    requests[i] = wrk.format("GET", "{path}", {{["X-Wxproxy-Account"] = name,'
        ' ["Host"] = "localhost"})\n'
        "  end\n"
        "end\n"
        "function request()\n"
        "  turn = turn % #requests + 1\n"
        "  return requests[turn]\n"
        "end\n"
    )
    return script
