"""The sockets that clients connect to."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from wxproxy.values import Address

BACKLOG = 1024

# What one read may bring, which Linux takes twice: uvloop reads 256 KiB at once where the kernel
# has them. Seen with 200 uploads of 1 MB at once: 160 MiB more memory without this, 60 with it.
_SOCKET_BUFFER_BYTES = 1 << 16

# libuv accepts one connection a turn of the loop (libuv pull request 3696). A turn that serves a
# hundred clients takes 10 ms, so a newcomer behind 150 others waited 1.5 s; so many handles on
# the same socket accept as many a turn.
_ACCEPTS_A_TURN = 8


async def listen(
    address: Address, factory: Callable[[], asyncio.Protocol]
) -> tuple[list[asyncio.Server], list[Any]]:
    """Listen at an address; gives what is to be closed and the names of the sockets.

    Raises:
        OSError: it cannot be listened at.
    """
    loop = asyncio.get_running_loop()
    if address.path:
        server = await loop.create_unix_server(factory, address.path, backlog=BACKLOG)
    else:
        host = address.host or None
        server = await loop.create_server(factory, host, address.port, backlog=BACKLOG)
    servers = [server]
    for one in server.sockets:
        # Connections inherit it; a unix socket is bounded by its sender.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
    if not isinstance(loop, asyncio.BaseEventLoop):  # asyncio's own accepts all that wait
        numbers = [one.fileno() for one in server.sockets] * (_ACCEPTS_A_TURN - 1)
        try:
            for number in numbers:
                servers.append(await _twin(loop, number, factory))
        except OSError:
            for begun in servers:
                begun.close()
            raise
    return servers, [one.getsockname() for one in server.sockets]


async def _twin(
    loop: asyncio.AbstractEventLoop, number: int, factory: Callable[[], asyncio.Protocol]
) -> asyncio.Server:
    """One more handle on a socket that is listened at."""
    twin = socket.socket(fileno=os.dup(number))
    if twin.family == socket.AF_UNIX:
        return await loop.create_unix_server(factory, sock=twin, backlog=BACKLOG)
    return await loop.create_server(factory, sock=twin, backlog=BACKLOG)
