"""Files of unix sockets: not taken from who still listens there, nor from a successor."""

import errno
import os
import socket
from contextlib import suppress


def refuse_if_taken(path: str) -> None:
    """Binding would succeed, and silently take the path from whoever listens there.

    Raises:
        OSError: somebody does.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(path) == 0:
            raise OSError(errno.EADDRINUSE, "another process listens there")


class SocketFile:
    """The file of a socket that this process has just bound."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = _identity(path)

    def remove(self) -> None:
        """Remove it, unless another process has bound the path since."""
        if self._identity is not None and _identity(self._path) == self._identity:
            with suppress(OSError):
                os.unlink(self._path)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
