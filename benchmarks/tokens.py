"""A token endpoint that can be held back; nginx passes the token calls on to it."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from benchmarks.machine import BenchError

_LONGEST_HOLD_SECONDS = 30.0


def token_of(appid: str) -> str:
    """As long as WeChat's tokens, and another one for each appid."""
    return "BENCH_" + hashlib.sha512(appid.encode()).hexdigest()


class TokenEndpoint:
    """Answers ``POST /cgi-bin/stable_token`` from a thread of this process.

    Attributes:
        port: where it listens on 127.0.0.1.
        calls: how many came so far.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._free = threading.Event()
        self._free.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._free.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def check_calls(self, count: int) -> None:
        """Raises BenchError while fewer than so many came."""
        if self.calls < count:
            raise BenchError(f"only {self.calls} of {count} token calls came")

    def hold(self) -> None:
        """Answer nothing until ``release``."""
        self._free.clear()

    def release(self) -> None:
        """Answer what waits, and all later calls at once."""
        self._free.set()

    def _answer(self, body: bytes) -> bytes:
        self.calls += 1
        self._free.wait(_LONGEST_HOLD_SECONDS)
        token = token_of(json.loads(body)["appid"])
        return json.dumps({"access_token": token, "expires_in": 7200}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = endpoint._answer(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/json; encoding=utf-8")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Print no access log."""

        return Handler
