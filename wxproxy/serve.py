"""``wxproxy serve``: a sidecar from its settings to the end of its process."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from wxproxy import __version__, process
from wxproxy.accounts import Account, TokenApi
from wxproxy.app import App
from wxproxy.errors import ConfigError
from wxproxy.logs import Redactor, configure, log_event
from wxproxy.process import Signals
from wxproxy.settings import Settings

logger = logging.getLogger("wxproxy")

_NAMED_AT_START = 50

_ONE_PROCESS_CAUSE = (
    "each classic fetch kills the older token, and this process keeps its tokens in its own "
    "memory: exactly one process may run for the account, rolling updates included"
)
_ONE_PROCESS_CURE = (
    "set token_api = stable, which gives every process the same token; or run one replica, and "
    "let it end before its successor starts (Kubernetes: strategy Recreate)"
)


def run(settings: Settings, signals: Signals) -> NoReturn:
    """Serve until a signal, and leave the process.

    Raises:
        ConfigError: a secret file or an address cannot be used.
    """
    process.prepare()
    app = build(settings)
    process.run(lambda stopping: serve(app, stopping, on_start=_warn_of_classic), signals)


def build(settings: Settings) -> App:
    """The app, with the process's logs set up to hide its secrets.

    Raises:
        ConfigError: a secret file cannot be used.
    """
    redactor = Redactor()
    configure(
        level=settings.log_level,
        log_format=settings.log_format,
        stream=sys.stderr,
        redactor=redactor,
    )
    return App(settings, redactor=redactor)


async def serve(app: App, stopping: asyncio.Event, *, on_start: Callable[[App], None]) -> int:
    """Run the app until ``stopping``; the exit status, 1 after a failure that has been logged.

    Raises:
        ConfigError: an address cannot be bound; what was bound has been released.
    """
    try:
        await app.start()
        _say_started(app)
        on_start(app)
        await stopping.wait()
        log_event(logger, logging.INFO, "draining", drain_seconds=app.settings.drain_seconds)
        await app.stop()
    except ConfigError:
        await app.close()
        raise
    except Exception:
        logger.exception("failed")
        return 1
    log_event(logger, logging.INFO, "stopped")
    return 0


def _say_started(app: App) -> None:
    log_event(
        logger,
        logging.INFO,
        "started",
        version=__version__,
        listen=app.proxy_addresses,
        ops_listen=app.ops_address,
        accounts=_named(app.accounts),
    )


def _warn_of_classic(app: App) -> None:
    for account in app.accounts:
        if account.token_api is TokenApi.CLASSIC:
            log_event(
                logger,
                logging.WARNING,
                "one_process_only",
                account=account.name,
                cause=_ONE_PROCESS_CAUSE,
                cure=_ONE_PROCESS_CURE,
            )


def _named(accounts: Iterable[Account]) -> list[str]:
    names = [f"{one.name} ({one.kind}, {one.token_api})" for one in accounts]
    more = len(names) - _NAMED_AT_START
    return [*names[:_NAMED_AT_START], f"and {more} more"] if more > 0 else names
