"""A blocking HTTP/1.1 client: single calls, many connections at once, large bodies.

It reads replies with a Content-Length only, which is what the upstream sends.
"""

import re
import select
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter

from benchmarks.machine import BenchError

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_TIMEOUT_SECONDS = 60.0
_BUFFER_BYTES = 1 << 20

Address = tuple[str, int]


def request(
    path: str, *, method: str = "GET", length: int = 0, headers: Sequence[str] = ()
) -> bytes:
    """The head of a request; ``length`` is that of a body sent apart."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if length:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def connect(address: Address) -> socket.socket:
    """A connection that sends at once; the caller closes it."""
    connection = socket.create_connection(address, _TIMEOUT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def missing_bytes(received: bytes) -> int:
    """How many bytes the reply still lacks, 1 while its head is not whole.

    Raises:
        BenchError: it is not a 200 with a length.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return 1
    length = _LENGTH.search(received, 0, end + 2)
    if received[9:12] != b"200" or length is None:
        line = received.partition(b"\r\n")[0].decode("latin-1")
        raise BenchError(f"a reply was not 200 with a length, but: {line}")
    return end + 4 + int(length[1]) - len(received)


def read_reply(connection: socket.socket) -> bytes:
    """The next reply, head and body."""
    received = b""
    while missing_bytes(received) > 0:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionResetError("closed before the reply was whole")
        received += chunk
    return received


def ask(connection: socket.socket, sent: bytes) -> bytes:
    """Send a whole request and give its reply."""
    connection.sendall(sent)
    return read_reply(connection)


def ask_once(address: Address, sent: bytes, *, tls: ssl.SSLContext | None = None) -> bytes:
    """The reply to one request on a connection of its own."""
    with ExitStack() as stack:
        connection = stack.enter_context(connect(address))
        if tls is not None:
            connection = stack.enter_context(
                tls.wrap_socket(connection, server_hostname="localhost")
            )
        return ask(connection, sent)


def timed_ms(call: Callable[[], object]) -> float:
    """How long a call takes, in milliseconds."""
    started = perf_counter()
    call()
    return (perf_counter() - started) * 1e3


@contextmanager
def many(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """That many open connections, closed on leaving."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(address)) for _ in range(count)]


def send_to_all(connections: Sequence[socket.socket], sent: bytes) -> None:
    """Send a request on each connection."""
    for connection in connections:
        connection.sendall(sent)


def replies_at(connections: Sequence[socket.socket]) -> list[float]:
    """When each connection's reply was whole, on ``perf_counter``, in that order."""
    waiting = {connection.fileno(): connection for connection in connections}
    received = dict.fromkeys(waiting, b"")
    ended: list[float] = []
    with select.epoll() as poll:
        for number in waiting:
            poll.register(number, select.EPOLLIN)
        while waiting:
            ready = poll.poll(_TIMEOUT_SECONDS)
            if not ready:
                raise BenchError(f"{len(waiting)} of {len(connections)} replies never came")
            for number, _ in ready:
                chunk = waiting[number].recv(65536)
                if not chunk:
                    raise BenchError("a connection was closed before its reply was whole")
                received[number] += chunk
                if missing_bytes(received[number]) <= 0:
                    ended.append(perf_counter())
                    poll.unregister(number)
                    del waiting[number]
    return ended


def download_mb_per_s(address: Address, path: str) -> float:
    """Speed of one download, from the request to the last byte."""
    buffer = bytearray(_BUFFER_BYTES)
    with connect(address) as connection:
        started = perf_counter()
        connection.sendall(request(path))
        head = b""
        while b"\r\n\r\n" not in head:
            head += _some(connection, buffer)
        left = missing_bytes(head)
        total = left + len(head)
        while left > 0:
            left -= len(_some(connection, buffer))
        return total / 1e6 / (perf_counter() - started)


def _some(connection: socket.socket, buffer: bytearray) -> memoryview:
    size = connection.recv_into(buffer)
    if not size:
        raise BenchError("the download was cut off")
    return memoryview(buffer)[:size]


def upload_mb_per_s(address: Address, path: str, size: int) -> float:
    """Speed of one upload, from the request to the end of the reply."""
    chunk = memoryview(bytes(_BUFFER_BYTES))
    with connect(address) as connection:
        started = perf_counter()
        connection.sendall(request(path, method="POST", length=size))
        for begin in range(0, size, len(chunk)):
            connection.sendall(chunk[: size - begin])
        read_reply(connection)
        return size / 1e6 / (perf_counter() - started)
