"""wxproxy.listening: how newcomers get in."""

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from wxproxy.listening import listen
from wxproxy.values import Address

NEWCOMERS = 32


class _Accepted(asyncio.Protocol):
    def __init__(self, count: list[int]) -> None:
        self._count = count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._count[0] += 1


@pytest.mark.parametrize("kind", ["TCP", "unix"])
async def test_newcomers_are_accepted_several_a_turn(kind: str, tmp_path: Path) -> None:
    """Behind a hundred clients a turn takes 10 ms; one a turn would keep the last for seconds."""
    accepted = [0]
    address = Address("127.0.0.1", 0) if kind == "TCP" else Address(path=f"{tmp_path}/socket")
    servers, names = await listen(address, lambda: _Accepted(accepted))
    with ExitStack() as stack:
        for _ in range(NEWCOMERS):
            family = socket.AF_INET if kind == "TCP" else socket.AF_UNIX
            client = stack.enter_context(socket.socket(family))
            client.connect(names[0])
        turns = 0
        while accepted[0] < NEWCOMERS:
            await asyncio.sleep(0)
            turns += 1
    for server in servers:
        server.close()
        await server.wait_closed()

    assert turns < NEWCOMERS / 2


async def test_an_address_is_free_once_its_servers_are_closed() -> None:
    """No handle is left behind that would keep taking connections in."""
    servers, [name] = await listen(Address("127.0.0.1", 0), lambda: _Accepted([0]))
    for server in servers:
        server.close()
        await server.wait_closed()

    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(name)
