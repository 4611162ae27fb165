"""The stand-in for WeChat: nginx, plain and with TLS, with a certificate made on the spot."""

import os
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Address, ask_once, request
from benchmarks.machine import BenchError, Program, free_port

SMALL = "/cgi-bin/user/info?openid=oBench000000000000000000000001&lang=zh_CN"
SMALL_REPLY = '{"errcode":0,"errmsg":"ok","msgid":200228332,"a":"bcdefghij"}'
IMAGE = "/wxa/getwxacodeunlimit"
VIDEO = "/cgi-bin/media/get"
UPLOAD = "/cgi-bin/media/upload"

IMAGE_BYTES = 200_000
VIDEO_BYTES = 300_000_000
UPLOAD_BYTES = 64_000_000
# Longer than any proxy here needs between two rounds, short enough to wait for.
KEEPALIVE_SECONDS = 20

_CONF = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type "application/json; encoding=utf-8";
    keepalive_requests 1000000000;
    keepalive_timeout {keepalive}s;
    client_max_body_size 0;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{plain} backlog=8192;
        listen 127.0.0.1:{tls} ssl backlog=8192;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{ return 200 '{reply}'; }}
        location = /cgi-bin/stable_token {{ proxy_pass http://127.0.0.1:{tokens}; }}
        location = {image} {{ default_type image/jpeg; alias {directory}/image; }}
        location = {video} {{ default_type video/mp4; alias {directory}/video; }}
        # Read to its end before the reply, which "return" would not wait for.
        location = {upload} {{
            client_body_buffer_size 65m;
            proxy_pass http://127.0.0.1:{plain}/;
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a proxy forwards to.

    Attributes:
        ca_file: whom to trust when ``tls``; the certificate is for localhost and 127.0.0.1.
    """

    port: int
    tls: bool
    ca_file: Path

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def address(self) -> Address:
        return ("127.0.0.1", self.port)


def trust(ca_file: Path) -> ssl.SSLContext:
    """A client's TLS settings that trust this authority only."""
    return ssl.create_default_context(cafile=str(ca_file))


class Upstream:
    """nginx in one process.

    Attributes:
        plain: where it listens without TLS.
        tls: where it listens with TLS.
    """

    def __init__(self, nginx: str, directory: Path, *, token_port: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        ca_file = directory / "ca.pem"
        self.plain = Target(free_port(), False, ca_file)
        self.tls = Target(free_port(), True, ca_file)
        self._directory = directory
        self._nginx = nginx
        self._token_port = token_port

    def start(self, cores: Sequence[int]) -> Program:
        """Write its files and run it; the caller leaves the program's ``with`` block."""
        make_certificate(self._directory)
        for name, size in (("image", IMAGE_BYTES), ("video", VIDEO_BYTES)):
            with (self._directory / name).open("wb") as file:
                file.truncate(size)
        conf = self._directory / "nginx.conf"
        conf.write_text(
            _CONF.format(
                directory=self._directory,
                keepalive=KEEPALIVE_SECONDS,
                plain=self.plain.port,
                tls=self.tls.port,
                tokens=self._token_port,
                reply=SMALL_REPLY,
                image=IMAGE,
                video=VIDEO,
                upload=UPLOAD,
            )
        )
        argv = [self._nginx, "-c", str(conf), "-p", str(self._directory)]
        return Program(argv, cores=cores, log=self._directory / "upstream.log")

    def target(self, scheme: str) -> Target:
        """The one named plain or tls."""
        return self.tls if scheme == "tls" else self.plain


def check_reply(address: Address) -> None:
    """Ask for the small reply.

    Raises:
        BenchError: another reply came.
        OSError: none came.
    """
    reply = ask_once(address, request(SMALL))
    if not reply.endswith(SMALL_REPLY.encode()):
        raise BenchError("it answers something else")


def make_certificate(directory: Path) -> None:
    """Write ca.pem, server.pem and server.key, good for a month."""
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-noenc", "-days", "30"]
    ca = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=wxproxy benchmark authority"]
    ca += ["-addext", "keyUsage=critical,keyCertSign"]
    server = ["-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=localhost"]
    server += ["-CA", "ca.pem", "-CAkey", "ca.key"]
    server += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    server += ["-addext", "basicConstraints=critical,CA:false"]
    server += ["-addext", "keyUsage=critical,digitalSignature"]
    for argv in ([*made, *ca], [*made, *server]):
        subprocess.run(argv, cwd=directory, check=True, capture_output=True, env=os.environ)
