"""The command line: commands, help, and the exit status of what cannot be run."""

import sys
from pathlib import Path

import pytest

from tests.commands import run, running
from wxproxy import __version__
from wxproxy.config import describe

COMMANDS = ("serve", "demo", "sandbox", "check", "status", "wait")
ACCOUNT = {"WXPROXY_APPID": "wx0123456789abcdef", "WXPROXY_SECRET": "a-secret-of-nobody"}
REPOSITORY = Path(__file__).parent.parent


async def test_help_lists_every_command_with_a_line() -> None:
    """A newcomer sees what there is."""
    ended = await run("--help")

    assert ended.status == 0
    listed = {line.split()[0] for line in ended.out.splitlines() if line.startswith("    ")}
    assert set(COMMANDS) <= listed


@pytest.mark.parametrize("command", COMMANDS)
async def test_each_command_explains_itself(command: str) -> None:
    """The command's own help starts without its settings being right."""
    ended = await run(command, "--help", env={"WXPROXY_LISTEN": "nonsense"})

    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"usage: wxproxy {command}")


async def test_help_of_serve_lists_every_setting_with_its_default() -> None:
    """No setting is to be found in the source only."""
    ended = await run("serve", "--help")

    words = " ".join(ended.out.split())
    missing = [
        doc.key
        for doc in describe()
        if (doc.environment or doc.key) not in words or doc.default not in words
    ]
    assert missing == []


async def test_version_is_printed() -> None:
    """Bug reports need it."""
    ended = await run("--version")

    assert (ended.status, ended.out) == (0, f"wxproxy {__version__}\n")


@pytest.mark.parametrize(
    "argv",
    [(), ("nope",), ("serve", "--nope"), ("status", "extra")],
    ids=["no command", "unknown command", "unknown flag", "extra word"],
)
async def test_a_wrong_usage_is_2(argv: tuple[str, ...]) -> None:
    """Scripts can tell a typing error from a failure."""
    ended = await run(*argv)

    assert ended.status == 2
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "argv", [("--secret=an-app-secret",), ("--secret", "an-app-secret"), ("an-app-secret",)]
)
async def test_a_secret_on_the_command_line_is_not_repeated(argv: tuple[str, ...]) -> None:
    """The usage error says what to do instead, and shows no value."""
    ended = await run("serve", *argv)

    assert ended.status == 2
    assert "an-app-secret" not in ended.out + ended.err
    assert ("WXPROXY_SECRET_FILE" in ended.err.splitlines()[-1]) == argv[0].startswith("--secret")


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1"])
async def test_a_wait_without_an_end_is_refused(seconds: str) -> None:
    """`wait` always ends."""
    ended = await run("wait", "--timeout", seconds)

    assert ended.status == 2


@pytest.mark.parametrize("command", ["serve", "check"])
async def test_without_credentials_it_says_what_to_set(command: str) -> None:
    """The first start leads on: to the settings, and to the demo."""
    ended = await run(command)

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("wxproxy: no account is configured: set WXPROXY_APPID")
    assert "`wxproxy demo`" in ended.err


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"WXPROXY_LISTEN": "nowhere"}, "WXPROXY_LISTEN"),
        ({"WXPROXY_NOPE": "1"}, "WXPROXY_NOPE"),
        ({"WXPROXY_CONFIG": "/nowhere/wxproxy.toml"}, "/nowhere/wxproxy.toml"),
        ({"WXPROXY_SECRET": "", "WXPROXY_SECRET_FILE": "/nowhere/secret"}, "/nowhere/secret"),
        ({"WXPROXY_UPSTREAM_CA_FILE": "/nowhere/ca.pem"}, "upstream_ca_file"),
    ],
    ids=["value", "name", "file", "secret file", "ca file"],
)
async def test_a_wrong_configuration_is_2_and_one_line(
    command: str, settings: dict[str, str], named: str
) -> None:
    """The line names the setting and quotes no secret."""
    ended = await run(command, env={**ACCOUNT, **settings})

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("wxproxy: ")
    assert ended.err.count("\n") == 1
    assert named in ended.err
    assert ACCOUNT["WXPROXY_SECRET"] not in ended.err


@pytest.mark.parametrize("argv", [("status", "--help"), ("wait", "--help")], ids=lambda one: one[0])
async def test_probing_commands_do_not_load_the_server(argv: tuple[str, ...]) -> None:
    """They run every few seconds in scripts and probes, and must start quickly."""
    command = (sys.executable, "-X", "importtime", "-m", "wxproxy")
    async with running(*argv, program=command) as started:
        ended = await started.ended()

    loaded = {line.rpartition("|")[2].strip() for line in ended.err.splitlines()}
    assert "wxproxy.status" in loaded
    assert not {"aiohttp", "asyncio", "uvloop", "cachetools", "wxproxy.config"} & loaded


@pytest.mark.skipif(sys.platform == "win32", reason="make is not at home there")
@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ({}, "demo"),
        ({"WXPROXY_APPID": "wx0123456789abcdef"}, "serve"),
        ({"WXPROXY_CONFIG": "/etc/wxproxy.toml"}, "serve"),
        ({"WXPROXY_APPID": "", "WXPROXY_CONFIG": ""}, "demo"),
    ],
    ids=["nothing set", "appid", "file", "empty"],
)
async def test_make_run_serves_where_an_account_is_set_and_else_the_demo(
    settings: dict[str, str], command: str, tmp_path: Path
) -> None:
    """`make run` works on a fresh checkout and on a configured one."""
    program = tmp_path / "bin" / "wxproxy"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "ran $*"\n')
    program.chmod(0o755)
    for made in (tmp_path / "bin" / "python", tmp_path / ".run"):
        made.touch()
    make = ("make", "-s", "-C", str(REPOSITORY), "run", f"VENV={tmp_path}")

    async with running(program=make, env=settings) as started:
        ended = await started.ended()

    assert (ended.status, ended.out) == (0, f"ran {command}\n")
