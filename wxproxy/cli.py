"""The command line: commands, flags and exit statuses.

0 is fine, 1 failed, 2 usage or configuration. Each command's own modules are imported when it
is chosen: ``status`` and ``wait`` start without the server's.
"""

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from wxproxy import __version__
from wxproxy.errors import ConfigError

if TYPE_CHECKING:
    import asyncio

_Run = Callable[[argparse.Namespace], int]


class _Command(NamedTuple):
    summary: str
    prepare: Callable[[argparse.ArgumentParser], _Run]
    """Adds the command's flags and gives what runs it."""


def main() -> NoReturn:
    """Run the command that the process was started with, and leave."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Run one command; its exit status."""
    parser = _parser(chosen=argv[0] if argv else "")
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(_unknown(unknown))
    try:
        status: int = arguments.run(arguments)
    except ConfigError as exc:
        print(f"wxproxy: {exc.message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser(chosen: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wxproxy", description="Sidecar reverse proxy for WeChat's server API."
    )
    parser.add_argument("--version", action="version", version=f"wxproxy {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        own = commands.add_parser(
            name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == chosen:
            own.set_defaults(run=command.prepare(own))
    return parser


def _unknown(arguments: list[str]) -> str:
    """What is wrong with arguments that nobody takes; never a value, it may be a secret."""
    flag = next((one.partition("=")[0] for one in arguments if one.startswith("-")), "")
    if flag == "--secret":
        return "a secret is not for the command line: set WXPROXY_SECRET_FILE or WXPROXY_SECRET"
    return f"there is no flag {flag}; see --help" if flag else "an argument is one too many"


def _serve(parser: argparse.ArgumentParser) -> _Run:
    from wxproxy import config
    from wxproxy.process import Signals

    _add_settings(parser, "serve")

    def run(arguments: argparse.Namespace) -> int:
        signals = Signals()
        settings = config.load(config.given_flags(arguments), os.environ)
        from wxproxy import serve

        serve.run(settings, signals)

    return run


def _demo(parser: argparse.ArgumentParser) -> _Run:
    for flag, default in (("--listen", "127.0.0.1:5780"), ("--ops-listen", "127.0.0.1:5781")):
        parser.add_argument(
            flag, metavar="VALUE", default=argparse.SUPPRESS, help=f"default: {default}"
        )

    def run(arguments: argparse.Namespace) -> int:
        from wxproxy.process import Signals

        signals = Signals()
        from wxproxy import config, demo

        demo.run(config.given_flags(arguments), os.environ, signals)

    return run


def _sandbox(parser: argparse.ArgumentParser) -> _Run:
    from wxproxy import process, sandbox

    sandbox.add_arguments(parser)

    def run(arguments: argparse.Namespace) -> int:
        async def serve(stopping: "asyncio.Event") -> int:
            try:
                await sandbox.serve(arguments, stopping)
            except OSError as exc:
                reason = exc.strerror or "the address is not usable"
                raise ConfigError(f"--listen: cannot listen there: {reason}") from None
            return 0

        process.prepare()
        process.run(serve, process.Signals())

    return run


def _check(parser: argparse.ArgumentParser) -> _Run:
    from wxproxy import config

    _add_settings(parser, "check")
    parser.add_argument(
        "--fetch-classic",
        action="store_true",
        help="fetch tokens of classic accounts too, which kills those in use within 5 minutes",
    )

    def run(arguments: argparse.Namespace) -> int:
        settings = config.load(config.given_flags(arguments), os.environ)
        from wxproxy import check

        return check.run(settings, fetch_classic=arguments.fetch_classic)

    return run


def _status(parser: argparse.ArgumentParser) -> _Run:
    from wxproxy import status

    status.add_status_arguments(parser)
    return lambda arguments: status.status(arguments, os.environ)


def _wait(parser: argparse.ArgumentParser) -> _Run:
    from wxproxy import status

    status.add_wait_arguments(parser)
    return lambda arguments: status.wait(arguments, os.environ)


def _add_settings(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the settings' flags, and what has none to the end of the help."""
    from wxproxy import config

    parser.usage = f"wxproxy {command} [--config FILE] [--SETTING VALUE ...]"
    config.add_flags(parser)
    flags = parser.format_help()
    lines = ["environment; in the file each is a key (in [limits], in [[accounts]]):"]
    for doc in config.describe():
        has_flag = f"--{doc.key.replace('_', '-')} " in flags
        default = f"(default: {doc.default})" if doc.default else ""
        meaning = "" if has_flag else doc.meaning
        lines.append(f"  {doc.environment or doc.key:34} {meaning} {default}".rstrip())
    parser.epilog = "\n".join(lines)


_COMMANDS = {
    "serve": _Command("run the sidecar", _serve),
    "demo": _Command("run a simulated WeChat and a sidecar for it; needs no credentials", _demo),
    "sandbox": _Command("run the simulated WeChat alone, for an application's own tests", _sandbox),
    "check": _Command("validate the configuration and try to have each account's token", _check),
    "status": _Command("print what a running sidecar holds and does", _status),
    "wait": _Command("block until a sidecar has started", _wait),
}
