"""The one place that builds the parts of a sidecar and wires them; start and stop order."""

import asyncio
import gc
import logging
import random
import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import aiohttp
from aiohttp import web

from wxproxy import __version__
from wxproxy.accounts import Account, AccountBook
from wxproxy.body import BodyKeeper
from wxproxy.clock import Clock, SystemClock
from wxproxy.config import build_accounts, build_secrets
from wxproxy.credentials import SecretSource
from wxproxy.errors import ConfigError, WxProxyError
from wxproxy.events import Event, RefreshFinished, SecretReloaded
from wxproxy.exchange import ProxyLimits, Served
from wxproxy.keeper import KeeperSettings, KeeperStatus, TokenKeeper
from wxproxy.listening import BACKLOG, listen
from wxproxy.local import LocalRoutes, LocalSettings
from wxproxy.logs import Redactor, on_event, on_loop_error
from wxproxy.metrics import Gauges, Metrics
from wxproxy.ops import OpsState, build_ops_app
from wxproxy.proxy import Proxy
from wxproxy.resolver import StaleResolver
from wxproxy.routing import Router
from wxproxy.server import ProxyServer
from wxproxy.settings import ErrorStatus, ForceRefresh, ForeignToken, IpFamily, Settings
from wxproxy.socket_file import SocketFile, refuse_if_taken
from wxproxy.tasks import spawn
from wxproxy.upstream import UpstreamPool
from wxproxy.upstream_connection import Connector
from wxproxy.values import Address
from wxproxy.wechat import TokenClient, TokenConnector

logger = logging.getLogger("wxproxy")

_TICK_SECONDS = 0.25
_SWEEP_SECONDS = 1.0
_SECRET_POLL_SECONDS = 10.0

_FAMILIES = {
    IpFamily.AUTO: socket.AF_UNSPEC,
    IpFamily.V4: socket.AF_INET,
    IpFamily.V6: socket.AF_INET6,
}


class App:
    """A running sidecar.

    Attributes:
        proxy_addresses: where the proxy listeners really listen, once started.
        ops_address: where the ops listener really listens, once started.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, redactor: Redactor | None = None
    ) -> None:
        self.settings = settings
        self.accounts = build_accounts(settings)
        self.proxy_addresses: list[str] = []
        self.ops_address = ""
        self.state = OpsState()
        self._clock = clock or SystemClock()
        self._redactor = redactor or Redactor()
        self._book = AccountBook(self.accounts)
        self._secrets = build_secrets(settings)
        self._tls = trust(settings.upstream_ca_file)
        self._listeners: list[asyncio.AbstractServer] = []
        self._socket_files: list[SocketFile] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._started_at = time.monotonic()
        self._egress = _egress(settings)
        self._about: dict[str, object] = {"version": __version__, "egress": self._egress}
        for name, secret in self._secrets.items():
            self._redactor.add(secret.current().reveal(), lasting=True)
            self._redactor.add(self._book.named(name)[0].placeholder, lasting=True)
        for hidden in settings.hidden:
            self._redactor.add(hidden, lasting=True)

    # -- building ------------------------------------------------------------------------------

    def _build(self) -> None:
        settings = self.settings
        limits = settings.limits
        family = _FAMILIES[settings.ip_family]
        self.metrics = Metrics(
            [account.name for account in self.accounts],
            keepers=self.statuses,
            gauges=Gauges(
                in_flight=lambda: self.proxy.in_flight,
                client_connections=lambda: len(self.server.connections_open),
                upstream_in_use=lambda: self.pool.in_use,
                upstream_idle=lambda: self.pool.idle,
            ),
            max_routes=limits.routes,
        )
        self._session = token_session(settings, self._tls)
        client = TokenClient(
            self._session,
            semaphore=asyncio.Semaphore(limits.token_fetches),
            timeout_s=limits.token_call_seconds,
            proxy=settings.token_proxy,
        )
        keeper_settings = KeeperSettings(
            refresh_lead_s=settings.refresh_lead_seconds,
            token_wait_s=settings.token_wait_seconds,
            force_refresh=settings.force_refresh is ForceRefresh.AUTO,
            classic_fetches_per_day=settings.classic_fetches_per_day,
        )
        self.keepers = {
            account.name: self._keeper(account, client, keeper_settings)
            for account in self.accounts
        }
        self.pool = UpstreamPool(
            Connector(family=family, tls=self._tls, proxy=settings.egress_proxy),
            connect_s=limits.connect_seconds,
            idle_s=limits.upstream_idle_seconds,
            limit=limits.upstream_connections,
        )
        self.bodies = BodyKeeper(
            memory_each=limits.replay_memory_bytes,
            memory_all=limits.replay_memory_total_bytes,
            spool_each=limits.spool_bytes,
            spool_all=limits.spool_total_bytes,
            spool_dir=str(settings.spool_dir) if settings.spool_dir else None,
        )
        router = Router(
            self._book,
            foreign_token=settings.foreign_token.value,
            allow_origins=frozenset(settings.allow_origins),
        )
        self.proxy = Proxy(
            router=router,
            served={account.name: self._served(account) for account in self.accounts},
            bodies=self.bodies,
            local=LocalRoutes(
                book=self._book,
                router=router,
                keepers=self.keepers,
                secrets=self._secrets,
                metrics=self.metrics,
                clock=self._clock,
                settings=LocalSettings(
                    token_endpoint=settings.token_endpoint.value,
                    expires_in_s=settings.token_endpoint_expires_in,
                    expose_token=settings.expose_token,
                    pass_foreign_appids=settings.foreign_token is ForeignToken.PASS,
                ),
            ),
            metrics=self.metrics,
            clock=self._clock,
            limits=ProxyLimits(
                body_gap_s=limits.client_body_gap_seconds,
                reply_head_s=limits.reply_head_seconds,
                reply_gap_s=limits.reply_gap_seconds,
                body_bytes=limits.body_bytes,
                interim_replies=limits.interim_replies,
                error_status_http=settings.error_status is ErrorStatus.HTTP,
            ),
        )
        self.server = ProxyServer(
            self.proxy.handle,
            self.proxy.answer_error,
            idle_s=limits.client_idle_seconds,
            head_s=limits.client_head_seconds,
            write_stall_s=limits.client_stall_seconds,
            max_connections=limits.client_connections,
        )

    def _keeper(
        self, account: Account, client: TokenClient, settings: KeeperSettings
    ) -> TokenKeeper:
        def remember(token: str) -> None:
            self._redactor.add(token)
            self._book.remember(account, token)

        return TokenKeeper(
            account,
            client=client,
            secret=self._secrets[account.name],
            clock=self._clock,
            emit=self._emit,
            jitter=random.random,
            settings=settings,
            remember=remember,
        )

    def _served(self, account: Account) -> Served:
        return Served(
            keeper=self.keepers[account.name],
            secret=self._secrets[account.name],
            upstreams=tuple(self.pool.upstream(origin) for origin in account.upstreams),
        )

    def _emit(self, event: Event) -> None:
        if isinstance(event, RefreshFinished) and event.refused_ip:
            self._egress["ip"] = event.refused_ip
        self.metrics.on_event(event)
        on_event(event)

    def statuses(self) -> list[KeeperStatus]:
        """What each keeper holds and does, in the order of the configuration."""
        return [keeper.status() for keeper in self.keepers.values()]

    # -- running -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind every listener, then fetch the first tokens behind them.

        Raises:
            ConfigError: an address cannot be bound.
        """
        asyncio.get_running_loop().set_exception_handler(on_loop_error)
        self._build()
        self._runner = web.AppRunner(
            build_ops_app(
                state=self.state, metrics=self.metrics, statuses=self.statuses, about=self._about
            ),
            access_log=None,
            handle_signals=False,
        )
        await self._runner.setup()
        await self._listen_ops()
        for account_settings in self.settings.accounts:
            if account_settings.listen is not None:
                own = self._book.named(account_settings.name)[0]
                await self._listen_proxy(account_settings.listen, own)
        await self._listen_proxy(self.settings.listen, None)
        for keeper in self.keepers.values():
            keeper.start()
        self._tasks = [
            spawn(self._tick(), name="wxproxy-tick"),
            spawn(self._sweep(), name="wxproxy-sweep"),
            spawn(self._watch_secrets(), name="wxproxy-secrets"),
        ]
        self._describe()
        self.state.started = True
        gc.collect()
        gc.freeze()  # what was built so far stays: no collection need look at it again

    async def stop(self) -> None:
        """Drain and close; takes at most the shutdown delay, the drain limit and a second."""
        self.state.draining = True
        await asyncio.sleep(self.settings.shutdown_delay_seconds)
        for listener in self._listeners:
            listener.close()
        for keeper in self.keepers.values():
            keeper.drain()
        self.server.drain()
        await self.server.wait_until_empty(self.settings.drain_seconds)
        await self.close()

    async def close(self) -> None:
        """Release everything at once; what is in flight is aborted."""
        for listener in self._listeners:
            listener.close()
        for task in self._tasks:
            task.cancel()
        self.server.end()
        for keeper in self.keepers.values():
            await keeper.stop()
        await self.pool.close()
        await self._session.close()
        with suppress(TimeoutError):
            # aiohttp waits for its own shutdown_timeout twice; probes need no more than this.
            async with asyncio.timeout(0.5):
                await self._runner.cleanup()
        self._remove_sockets()

    def _remove_sockets(self) -> None:
        for file in self._socket_files:
            file.remove()

    async def _listen_ops(self) -> None:
        address = self.settings.ops_listen
        site: web.BaseSite
        if address.path:
            site = web.UnixSite(self._runner, address.path)
        else:
            site = web.TCPSite(self._runner, address.host or None, address.port, backlog=BACKLOG)
        try:
            if address.path:
                refuse_if_taken(address.path)
            await site.start()
        except OSError as exc:
            raise _cannot_bind("ops_listen", address, exc) from None
        if address.path:
            self._socket_files.append(SocketFile(address.path))
        self.ops_address = _shown(address, self._runner.addresses)

    async def _listen_proxy(self, address: Address, account: Account | None) -> None:
        try:
            if address.path:
                refuse_if_taken(address.path)
            servers, names = await listen(address, self.server.factory(account))
        except OSError as exc:
            setting = f"listen of the account {account.name}" if account else "listen"
            raise _cannot_bind(setting, address, exc) from None
        if address.path:
            self._socket_files.append(SocketFile(address.path))
        self._listeners.extend(servers)
        self.proxy_addresses.append(_shown(address, names))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            for keeper in self.keepers.values():
                keeper.tick()
            if not self.state.startup_settled:
                waited = time.monotonic() - self._started_at
                self.state.startup_settled = waited >= self.settings.startup_wait_seconds or all(
                    keeper.settled for keeper in self.keepers.values()
                )

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.server.sweep()
            self.pool.sweep()

    async def _watch_secrets(self) -> None:
        # Each look is a thread's work, which a thousand literal secrets need not cost.
        watched = [item for item in self._secrets.items() if item[1].may_change]
        while True:
            await asyncio.sleep(_SECRET_POLL_SECONDS)
            for name, secret in watched:
                await self._poll_secret(name, secret)

    async def _poll_secret(self, name: str, secret: SecretSource) -> None:
        error_before = secret.error
        if await asyncio.to_thread(secret.poll):
            self._redactor.add(secret.current().reveal(), lasting=True)
            self._emit(SecretReloaded(name, ok=True))
            self.keepers[name].secret_changed()
        elif secret.error and secret.error != error_before:
            self._emit(SecretReloaded(name, ok=False, cause=secret.error))

    def _describe(self) -> None:
        """Fill what /status says of the process; it reads this at each request."""
        settings = self.settings
        self._about["listeners"] = {"proxy": self.proxy_addresses, "ops": self.ops_address}
        self._about["settings"] = {
            "token_endpoint": settings.token_endpoint.value,
            "foreign_token": settings.foreign_token.value,
            "force_refresh": settings.force_refresh.value,
            "error_status": settings.error_status.value,
            "ip_family": settings.ip_family.value,
            "store": "memory",
        }


def _egress(settings: Settings) -> dict[str, object]:
    """How calls leave, as /status shows it; ``ip`` is what WeChat last named in a refusal."""
    proxy, token_proxy = settings.egress_proxy, settings.token_proxy
    origins = [origin for account in settings.accounts for origin in account.upstream]
    return {
        "proxy": str(proxy) if proxy else None,
        "token_proxy": str(token_proxy) if token_proxy else None,
        "direct": sorted({str(one) for one in origins if not (proxy and proxy.serves(one))}),
        "ip": None,
    }


def token_session(settings: Settings, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """A session for token calls, apart from the pool of forwarded ones."""
    return aiohttp.ClientSession(
        connector=TokenConnector(
            ssl=tls,
            family=_FAMILIES[settings.ip_family],
            resolver=StaleResolver(),
            limit=settings.limits.token_fetches,
            force_close=True,  # calls are minutes apart: a kept connection would only be stale
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Verification of upstreams against these authorities, or OpenSSL's own store.

    Raises:
        ConfigError: the file holds none.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            f"upstream_ca_file: {ca_file} is no readable file of PEM certificates"
        ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _cannot_bind(setting: str, address: Address, exc: OSError) -> WxProxyError:
    return ConfigError(
        f"{setting}: cannot listen on {address}: {exc.strerror or 'the address is not usable'}"
    )


def _shown(address: Address, names: Iterable[object]) -> str:
    if address.path:
        return str(address)
    first = next(iter(names))
    assert isinstance(first, tuple)
    host = "127.0.0.1" if first[0] in ("0.0.0.0", "::") else first[0]  # noqa: S104 - compared
    return f"http://[{host}]:{first[1]}" if ":" in host else f"http://{host}:{first[1]}"
