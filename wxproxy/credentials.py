"""Secrets from a literal or from a file that may change while we run."""

from pathlib import Path

from wxproxy import values
from wxproxy.errors import ConfigError
from wxproxy.redact import Secret

_FILE_MAX_BYTES = 4096


class SecretSource:
    """An account's secret as it is now.

    A file is compared by its content, so a swapped symlink counts, as Kubernetes makes for a
    mounted Secret. A file that cannot be used leaves the last good value in place.

    Attributes:
        error: why the file could not be used at the last look, or "".
    """

    __slots__ = ("_path", "_secret", "error")

    def __init__(self, secret: Secret, path: Path | None = None) -> None:
        self._secret = secret
        self._path = path
        self.error = ""

    @classmethod
    def from_file(cls, path: Path, *, setting: str) -> "SecretSource":
        """Read the file for the first time; ``setting`` says who named it.

        Raises:
            ConfigError: it cannot be used.
        """
        try:
            return cls(_read(path), path)
        except ValueError as exc:
            raise ConfigError(f"{setting}: {path}: {exc}") from None

    @property
    def may_change(self) -> bool:
        """Whether it comes from a file."""
        return self._path is not None

    def current(self) -> Secret:
        """The last good value."""
        return self._secret

    def poll(self) -> bool:
        """Read the file again; True when the secret has changed. Blocks: call it in a thread."""
        if self._path is None:
            return False
        try:
            secret = _read(self._path)
        except ValueError as exc:
            self.error = str(exc)
            return False
        self.error = ""
        changed = secret != self._secret
        self._secret = secret
        return changed

    def __repr__(self) -> str:
        return f"SecretSource({self._path or 'literal'})"


def _read(path: Path) -> Secret:
    """Raises ValueError with the cause, never with content."""
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_MAX_BYTES + 1)
    except OSError as exc:
        raise ValueError(f"cannot be read: {exc.strerror}") from None
    if len(content) > _FILE_MAX_BYTES:
        raise ValueError(f"larger than {_FILE_MAX_BYTES} bytes: expected the secret alone")
    if not content.strip():
        raise ValueError("empty: expected the secret")
    try:
        # Editors on Windows put a BOM before UTF-8.
        return Secret(values.secret(content.decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise ValueError("not text: expected the secret in UTF-8") from None
    except ValueError as exc:
        raise ValueError(f"expected {exc}") from None
