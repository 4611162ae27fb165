"""wxproxy.socket_file: restarts that overlap take no socket from each other."""

import socket
from pathlib import Path

import pytest

from wxproxy.socket_file import SocketFile, refuse_if_taken


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_a_path_where_somebody_listens_is_refused(tmp_path: Path) -> None:
    """A second sidecar says so instead of taking the path silently."""
    path = tmp_path / "s"
    with _listen(path), pytest.raises(OSError, match="another process listens there"):
        refuse_if_taken(str(path))


def test_a_file_that_was_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    """After a kill the file is there and nobody listens."""
    path = tmp_path / "s"
    _listen(path).close()

    refuse_if_taken(str(path))
    refuse_if_taken(str(tmp_path / "none"))


def test_ones_own_file_is_removed_and_a_successors_is_not(tmp_path: Path) -> None:
    """What is at the path by now may be another process's socket."""
    path = tmp_path / "s"
    with _listen(path):
        file = SocketFile(str(path))
        path.rename(tmp_path / "old")
        with _listen(path):
            file.remove()
            assert path.exists()
        path.unlink()
        (tmp_path / "old").rename(path)
        file.remove()

    assert not path.exists()
