"""Secrets are followed as their files change, and never shown."""

from pathlib import Path

import pytest

from wxproxy.credentials import SecretSource
from wxproxy.errors import ConfigError
from wxproxy.redact import Secret

VALUE = "0123456789abcdef0123456789abcdef"

UNUSABLE = {
    "empty": (b"", "empty"),
    "blank": (b" \r\n", "empty"),
    "binary": (VALUE.encode() + b"\xff\xfe", "not text"),
    "utf-16": (VALUE.encode("utf-16"), "not text"),
    "control characters": (VALUE.encode() + b"\0" + VALUE.encode(), "one line"),
    "two lines": (VALUE.encode() + b"\n" + VALUE.encode(), "one line"),
    "too large": (b"x" * 4097, "larger than 4096 bytes"),
}


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A usable secret file."""
    path = tmp_path / "secret"
    path.write_text(VALUE + "\n")
    return path


def test_a_literal_secret_never_changes() -> None:
    """A literal is given as it is, and looking again finds nothing new."""
    source = SecretSource(Secret(VALUE))

    assert source.current().reveal() == VALUE
    assert not source.poll()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", " \n\n", "\t"], ids=repr)
def test_line_ends_are_stripped(secret_file: Path, ending: str) -> None:
    """What editors and shells put after a secret is no part of it, nor is a BOM before it."""
    secret_file.write_bytes(b"\xef\xbb\xbf" + (VALUE + ending).encode())

    assert SecretSource.from_file(secret_file, setting="s").current().reveal() == VALUE


def test_a_changed_file_is_noticed_once(secret_file: Path) -> None:
    """New content is reported by one look and then is the current secret."""
    source = SecretSource.from_file(secret_file, setting="s")
    secret_file.write_text("another-secret")

    assert [source.poll(), source.poll()] == [True, False]
    assert source.current().reveal() == "another-secret"


def test_a_rewritten_file_with_the_same_secret_is_no_change(secret_file: Path) -> None:
    """Content counts, neither time nor line ends."""
    source = SecretSource.from_file(secret_file, setting="s")
    secret_file.unlink()
    secret_file.write_text(VALUE + "\r\n")

    assert not source.poll()


def test_a_swapped_symlink_is_a_change(tmp_path: Path) -> None:
    """Kubernetes updates a mounted Secret by swapping the ..data symlink of its directory."""
    for version, value in (("v1", VALUE), ("v2", "second-secret")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "secret").write_text(value)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "secret").symlink_to("..data/secret")
    source = SecretSource.from_file(tmp_path / "secret", setting="s")

    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").rename(tmp_path / "..data")

    assert source.poll()
    assert source.current().reveal() == "second-secret"


@pytest.mark.parametrize(("content", "cause"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_file_leaves_the_old_secret(
    secret_file: Path, content: bytes, cause: str
) -> None:
    """The last good value stays, the error says why without content, and a good file heals."""
    source = SecretSource.from_file(secret_file, setting="s")
    secret_file.write_bytes(content)

    assert not source.poll()
    assert source.current().reveal() == VALUE
    assert cause in source.error
    assert VALUE not in source.error
    secret_file.write_text(VALUE)
    assert not source.poll()
    assert source.error == ""


def test_a_vanished_file_leaves_the_old_secret(secret_file: Path) -> None:
    """A missing file is an error to show, not a reason to forget the secret."""
    source = SecretSource.from_file(secret_file, setting="s")
    secret_file.unlink()

    assert not source.poll()
    assert source.current().reveal() == VALUE
    assert source.error == "cannot be read: No such file or directory"


@pytest.mark.parametrize(("content", "cause"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_file_at_start_is_a_configuration_error(
    secret_file: Path, content: bytes, cause: str
) -> None:
    """Without a first value nothing can start; the error names setting, file and cause."""
    secret_file.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        SecretSource.from_file(secret_file, setting="WXPROXY_SECRET_FILE (environment)")

    text = str(caught.value)
    assert text.startswith(f"WXPROXY_SECRET_FILE (environment): {secret_file}: ")
    assert cause in text
    assert VALUE not in text


def test_a_missing_file_at_start_is_a_configuration_error(tmp_path: Path) -> None:
    """A path that leads nowhere is told with the system's own words."""
    with pytest.raises(ConfigError, match=r"setting: .*/gone: cannot be read: No such file"):
        SecretSource.from_file(tmp_path / "gone", setting="setting")


def test_a_directory_is_told_as_such(tmp_path: Path) -> None:
    """A mount point given in place of the file within it is a readable mistake."""
    with pytest.raises(ConfigError, match="Is a directory"):
        SecretSource.from_file(tmp_path, setting="setting")


def test_repr_shows_no_secret(secret_file: Path) -> None:
    """A repr says where the secret comes from and no more."""
    assert repr(SecretSource(Secret(VALUE))) == "SecretSource(literal)"
    source = SecretSource.from_file(secret_file, setting="s")
    assert repr(source) == f"SecretSource({secret_file})"
