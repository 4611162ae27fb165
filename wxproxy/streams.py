"""Bodies that have come in: what is used of aiohttp's streams below their documented surface."""

from aiohttp.streams import EMPTY_PAYLOAD, StreamReader


def rest_in_hand(payload: StreamReader) -> bytes:
    """The rest of a body that has come in to its end; raises what broke it, if anything did."""
    if payload is EMPTY_PAYLOAD:
        return b""
    broken = payload.exception()
    if broken is not None:
        raise broken
    # Not read_nowait: that wakes the parser for each piece, for a body that has ended already.
    pieces = payload._buffer
    if len(pieces) == 1 and not payload._buffer_offset:
        return pieces[0]
    return payload.read_nowait() if pieces else b""
