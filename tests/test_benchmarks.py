"""The benchmarks' arithmetic, and that each figure is of what its row says."""

import asyncio
import socket
from pathlib import Path

import pytest

from benchmarks import relay, watched
from benchmarks.bench import find_peers
from benchmarks.client import missing_bytes, request
from benchmarks.figures import by_package, parse_import_times, parse_wrk, quantile
from benchmarks.load import accounts_script
from benchmarks.machine import BenchError, free_port
from benchmarks.proxies import PEERS, Site
from benchmarks.table import Row, Table, as_data, cell, document, markdown, number
from benchmarks.upstream import Target

REPORT = """\
Running 3s test @ http://127.0.0.1:5780/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.24ms    0.91ms  21.70ms   93.21%
    Req/Sec    26.41k     2.10k   29.31k    80.00%
  Latency Distribution
     50%  843.00us
     75%    1.31ms
     90%    1.90ms
     99%    1.20s
  79213 requests in 3.01s, 20.99MB read
Requests/sec:  26316.52
Transfer/sec:      6.97MB
"""


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 50.0), (0.99, 99.0), (0.995, 100.0), (1.0, 100.0), (0.0, 1.0)],
    ids=["median", "p99", "between", "all", "none"],
)
def test_quantile_is_the_sample_that_the_share_does_not_exceed(
    share: float, expected: float
) -> None:
    """The p99 of 100 samples is the 99th, not the largest."""
    samples = [float(one) for one in range(100, 0, -1)]

    assert quantile(samples, share) == expected


def test_quantile_of_nothing_is_an_error() -> None:
    """No sample gives no figure, rather than a good one."""
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.99)


def test_wrk_report_is_read_in_milliseconds() -> None:
    """wrk writes a latency in the unit that fits it; all become milliseconds."""
    # After a unit of one letter, wrk fills up with a blank.
    report = parse_wrk(REPORT.replace("1.20s", "1.20s "))

    assert (report.requests, report.per_second) == (79213, 26316.52)
    assert report.p50_ms == pytest.approx(0.843)
    assert report.p99_ms == pytest.approx(1200)
    assert (report.failed, report.broken) == (0, 0)


def test_wrk_errors_are_counted() -> None:
    """Replies that are no success and connections that broke do not pass unseen."""
    report = parse_wrk(
        REPORT
        + "  Socket errors: connect 1, read 2, write 3, timeout 4\n"
        + "  Non-2xx or 3xx responses: 17\n"
    )

    assert (report.failed, report.broken) == (17, 10)


@pytest.mark.parametrize(
    "text", ["", "unable to connect to 127.0.0.1:1", REPORT.replace("50%", "5%")]
)
def test_another_text_is_no_wrk_report(text: str) -> None:
    """What wrk says when it fails is no measurement."""
    with pytest.raises(ValueError, match="wrk printed no"):
        parse_wrk(text)


def test_import_times_are_summed_by_package_without_counting_twice() -> None:
    """A package's share is its modules' own time; log lines in between are skipped."""
    report = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:      1500 |       1500 |     aiohttp.http\n"
        "import time:       500 |       2000 |   aiohttp\n"
        '{"event":"started"}\n'
        "import time:      3000 |       5000 | wxproxy.app\n"
    )

    assert by_package(parse_import_times(report)) == {"wxproxy": 3.0, "aiohttp": 2.0}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(26316.6, "26,317"), (100.4, "100"), (12.34, "12.3"), (0.843, "0.84"), (-3.2, "-3.20")],
)
def test_numbers_have_about_three_digits(value: float, expected: str) -> None:
    """No figure pretends to be more exact than it is."""
    assert number(value) == expected


def test_cell_shows_the_median_and_its_ratio_to_the_reference() -> None:
    """One bad round moves neither the figure nor the ratio."""
    row = Row("req", "req/s", {"envoy": [100, 1, 200], "wxproxy": [120, 130, 9999]})

    assert cell(row, "wxproxy", "envoy") == "130 (1.30)"
    assert cell(row, "envoy", "envoy") == "100"
    assert cell(row, "haproxy", "envoy") == "–"


def test_cell_without_a_reference_figure_has_no_ratio() -> None:
    """A missing or zero reference gives no ratio, rather than a made-up one."""
    assert (
        cell(Row("grown", "MB", {"envoy": [0.0], "wxproxy": [1.5]}), "wxproxy", "envoy") == "1.50"
    )
    assert cell(Row("grown", "MB", {"wxproxy": [1.5]}), "wxproxy", "envoy") == "1.50"


def test_document_names_versions_tables_and_what_is_missing() -> None:
    """The page says what was measured, with what, and what was not."""
    table = Table("Side by side", ("envoy", "wxproxy"), [Row("req", "", {"wxproxy": [1]})], "envoy")

    page = document({"date": "2026-01-02"}, [table], ["haproxy is missing"])

    assert "- date: 2026-01-02\n" in page
    assert "| req | – | 1.00 |" in markdown(table)
    assert markdown(table) in page
    assert page.endswith("- haproxy is missing\n")


def test_data_keeps_every_sample() -> None:
    """Programs that read the results can take another figure than the median."""
    table = Table("T", ("a", "b"), [Row("req", "req/s", {"a": [3, 1, 2], "b": []})])

    row = as_data({}, [table], [])["tables"][0]["rows"][0]

    assert row["medians"] == {"a": 2}
    assert row["samples"] == {"a": [3, 1, 2], "b": []}


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", 3),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX: y\r\n\r\nab", 0),
    ],
    ids=["in the head", "in the body", "whole"],
)
def test_client_knows_when_a_reply_is_whole(received: bytes, expected: int) -> None:
    """A latency ends with the reply's last byte."""
    assert missing_bytes(received) == expected


@pytest.mark.parametrize(
    "received",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["refused", "without a length"],
)
def test_client_takes_no_other_reply_for_a_success(received: bytes) -> None:
    """A proxy that answers errors quickly is not fast."""
    with pytest.raises(BenchError, match="was not 200 with a length"):
        missing_bytes(received)


def test_request_with_a_body_tells_its_length() -> None:
    """Bodies are never chunked, as WeChat refuses that."""
    sent = request("/cgi-bin/media/upload", method="POST", length=7)

    assert sent.startswith(b"POST /cgi-bin/media/upload HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 7\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")


def test_accounts_take_turns(tmp_path: Path) -> None:
    """The load on many accounts names each of them."""
    script = accounts_script(tmp_path, ["first", "second"], "/cgi-bin/x").read_text()

    assert 'local names = {"first", "second"}' in script
    assert '["X-Wxproxy-Account"] = name' in script


@pytest.mark.parametrize("name", ["envoy", "nginx", "haproxy"])
def test_peers_verify_a_tls_upstream(name: str, tmp_path: Path) -> None:
    """No proxy is faster for trusting everybody; on a plain upstream none is told to."""
    ca_file = tmp_path / "ca.pem"
    site = Site("/bin/true", 5780, Target(8443, True, ca_file), tmp_path)

    PEERS[name].command(site)

    written = "".join(file.read_text() for file in tmp_path.iterdir())
    assert str(ca_file) in written
    assert "localhost" in written
    assert "8443" in written


def test_a_peer_that_is_not_installed_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing proxy is neither guessed nor passed over."""
    monkeypatch.setenv("PATH", "")

    found, missing = find_peers(["mitmproxy", "wxproxy"], [tmp_path])

    assert list(found) == ["wxproxy"]
    assert missing == ["mitmproxy is missing: install the Python package mitmproxy"]


@pytest.mark.parametrize("feature", sorted(watched.FEATURES))
def test_features_left_out_are_still_where_they_are_sought(
    feature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of a feature is never that of something else."""
    replaced: list[str] = []
    monkeypatch.setattr(
        watched, "setattr", lambda _owner, name, _value: replaced.append(name), raising=False
    )

    watched.leave_out(feature)

    assert len(replaced) == len(watched.FEATURES[feature])


async def test_relay_delays_a_connection_by_two_round_trips_and_later_calls_by_one() -> None:
    """The handshake, which cannot be delayed, is made up for by the first bytes."""
    round_trip_s = 0.05
    ended = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()
        ended.set()

    upstream = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = free_port()
    serving = asyncio.create_task(
        relay.serve(port, upstream.sockets[0].getsockname()[1], round_trip_s)
    )
    try:
        async with asyncio.timeout(10):
            took = await _echo_seconds(port, calls=2)
            await ended.wait()
    finally:
        serving.cancel()
        upstream.close()

    assert took[0] >= 2 * round_trip_s * 0.95
    assert took[1] >= round_trip_s * 0.95
    assert took[1] < took[0]


async def _echo_seconds(port: int, *, calls: int) -> list[float]:
    reader, writer = await _connected(port)
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(calls):
        started = loop.time()
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        took.append(loop.time() - started)
    writer.close()
    return took


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.005)


def test_a_free_port_is_free() -> None:
    """A proxy can be told where to listen before it starts."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        assert listener.getsockname()[1] > 0
