"""What server.py and upstream.py use of aiohttp below its documented surface.

When one of these fails after an upgrade of aiohttp, those two modules must be read again
before the pin in pyproject.toml moves.
"""

import asyncio
import inspect

import pytest
from aiohttp import TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import BaseConnector, Connection
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import StreamReader
from aiohttp.web import BaseRequest, StreamResponse
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from aiohttp.web_server import Server
from yarl import URL

from wxproxy.accounts import Origin
from wxproxy.egress import proxy_url
from wxproxy.upstream_connection import Route


async def _never(request: BaseRequest) -> StreamResponse:
    raise AssertionError("unreachable")


async def test_a_request_handler_has_the_state_that_our_loop_uses() -> None:
    """The subclass overrides start() and touches these attributes and no others."""
    handler = RequestHandler(Server(_never), loop=asyncio.get_running_loop())

    for name in ("_messages", "_waiter", "_parser", "_upgraded", "_buffer_paused"):
        assert hasattr(handler, name)
    for name in ("_force_close", "_close", "_task_handler"):
        assert hasattr(handler, name)
    for method in ("start", "data_received", "connection_lost", "_resume_reading_if_drained"):
        assert callable(getattr(handler, method))
    assert callable(handler._drain_helper)
    handler._parser = None


async def test_the_parser_pauses_its_queue_until_messages_are_consumed() -> None:
    """message_consumed frees a place in the parser; without it pipelining would stop."""
    assert callable(HttpRequestParser.message_consumed)


def test_a_parser_refusal_is_queued_as_an_error_with_its_exception() -> None:
    """The server answers refusals by the exception's type and never by its text."""
    assert {"status", "exc", "message"} == {field.name for field in _ErrInfo.__attrs_attrs__}


async def test_a_connection_runs_start_in_a_task_of_its_own() -> None:
    """connection_made starts the loop and keeps the task where end() finds it."""
    source = inspect.getsource(RequestHandler.connection_made)

    assert "self.start()" in source
    assert "_task_handler" in source


async def test_a_stream_gives_what_is_in_hand_without_waiting() -> None:
    """read_nowait on an ended stream gives everything, and nothing when there is nothing."""
    protocol = ResponseHandler(asyncio.get_running_loop())
    stream = StreamReader(protocol, 2**16, loop=asyncio.get_running_loop())
    stream.feed_data(b"ab")
    stream.feed_data(b"cd")
    stream.feed_eof()

    assert stream.read_nowait() == b"abcd"
    assert stream.read_nowait() == b""
    assert stream.at_eof()


async def test_set_exception_wakes_whoever_waits_for_a_head_or_a_body() -> None:
    """The sweep ends waits this way."""
    protocol = ResponseHandler(asyncio.get_running_loop())
    waiting = asyncio.ensure_future(protocol.read())
    await asyncio.sleep(0)
    protocol.set_exception(ValueError("over"))
    with pytest.raises(ValueError, match="over"):
        await waiting


async def test_a_prepared_request_has_what_connect_reads() -> None:
    """One ClientRequest for each upstream serves all its connections."""
    request = ClientRequest("GET", URL("https://127.0.0.1:8443"), loop=asyncio.get_running_loop())

    assert request.connection_key.host == "127.0.0.1"
    assert request.is_ssl()
    assert request.proxy is None


async def test_a_tunnel_is_asked_for_with_the_proxys_credentials_alone() -> None:
    """They go to the proxy as its own header, and into no text that may be shown."""
    proxy = proxy_url("egress_proxy")("http://user:a-password@proxy:3128")
    route = Route(Origin.parse("https://[::1]:8443"), proxy, asyncio.get_running_loop())
    connector = TCPConnector()
    connect = connector._update_proxy_auth_header_and_build_proxy_req(route.request)

    assert connect.headers["Proxy-Authorization"].startswith("Basic ")
    assert "Authorization" not in connect.headers
    assert "a-password" not in repr(route.request.connection_key)
    await connector.close()


async def test_the_connector_makes_connections_of_ours_and_leases_them() -> None:
    """Connector.connect() works on these."""
    connector = TCPConnector(limit=0)

    assert hasattr(connector, "_factory")
    assert list(inspect.signature(BaseConnector.connect).parameters) == [
        "self",
        "req",
        "traces",
        "timeout",
    ]
    assert hasattr(Connection, "protocol")
    assert list(inspect.signature(Connection.close).parameters) == ["self"]
    await connector.close()


async def test_should_close_tells_of_stray_bytes_on_an_idle_connection() -> None:
    """A reply nobody asked for must never answer the next caller."""
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.set_response_params(read_until_eof=True)

    assert not protocol.should_close
    protocol.data_received(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert protocol.should_close


async def test_one_response_parser_serves_replies_one_after_the_other() -> None:
    """A parser that read a whole reply stands at the beginning of the next."""
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    for body in (b"one", b"", b"three"):
        protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        message, payload = await protocol.read()
        assert (message.code, payload.read_nowait()) == (200, body)
        assert not protocol.should_close


async def test_a_stream_holds_its_pieces_where_content_in_hand_looks() -> None:
    """An ended body of one piece is taken without waking the parser."""
    stream = StreamReader(ResponseHandler(asyncio.get_running_loop()), 2**16)
    stream.feed_data(b"ab")

    assert list(stream._buffer) == [b"ab"]
    assert stream._buffer_offset == 0
