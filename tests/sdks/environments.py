"""Installs each SDK apart from all else, once."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.sdks.rows import Row

ROOT = Path(__file__).parent.parent.parent
_FOLDER = ROOT / ".venv-sdks"
_RUNNERS = Path(__file__).parent / "runners"
_PROGRAMS = {"pip": sys.executable, "npm": "npm", "curl": "bash", "php": "php"}


class Unavailable(Exception):
    """The SDK cannot be had on this machine; says why."""


def prepare(row: Row) -> tuple[list[str], dict[str, str]]:
    """Install what the row needs; the command that runs it, and what it adds to the environment.

    Raises:
        Unavailable: a program is missing, or the installation failed.
    """
    for program in {_PROGRAMS[row.source], row.source} - {"pip"}:
        if shutil.which(program) is None:
            raise Unavailable(f"no {program} on this machine")
    folder = _FOLDER / row.environment
    runner = [str(_RUNNERS / row.runner), *row.arguments]
    if row.source == "pip":
        _once(folder, [sys.executable, "-m", "venv", str(folder)], _pip(folder, row.package))
        return [str(folder / "bin" / "python"), *runner], {"PYTHONPATH": str(ROOT)}
    if row.source == "npm":
        _once(folder, ["npm", "install", "--silent", "--prefix", str(folder), row.package])
        return ["node", "--no-deprecation", *runner], {"NODE_PATH": str(folder / "node_modules")}
    return [_PROGRAMS[row.source], *runner], {}


def _pip(folder: Path, package: str) -> list[str]:
    return [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", package]


def _once(folder: Path, *commands: list[str]) -> None:
    """Run the commands that fill a folder, unless they have run to their end before."""
    done = folder / "installed"
    if done.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for command in commands:
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode:
            raise Unavailable(f"{' '.join(command)}: {ended.stderr.strip()[-500:]}")
    done.touch()
