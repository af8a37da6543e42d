"""The REST protocol of Upstash in front of a real Redis, as its documentation has it.

A command is a JSON array that is posted; the answer is ``{"result": ...}``, or ``{"error": ...}``
with 400, or with 401 where the token is wrong. With ``Upstash-Encoding: base64`` every string of
a result but ``OK`` comes in Base64.
"""

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

import hiredis

from support.redis_server import RedisServer

TOKEN = "a-token-of-upstash"


class Upstash(NamedTuple):
    """Where it is, and what lets one in."""

    url: str
    token: str


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    redis: RedisServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Unauthorized"})
            return
        try:
            result = self.redis.ask(*json.loads(body))
        except (OSError, AssertionError):
            self._answer(500, {"error": "the database cannot be reached"})
            return
        if isinstance(result, hiredis.ReplyError):
            self._answer(400, {"error": str(result)})
        else:
            self._answer(200, {"result": _encoded(result)})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def _encoded(result: Any) -> Any:
    if isinstance(result, list):
        return [_encoded(item) for item in result]
    if isinstance(result, bytes):
        return "OK" if result == b"OK" else b64encode(result).decode()
    return result


@contextmanager
def upstash_server(redis: RedisServer) -> Iterator[Upstash]:
    """It, until the block is left."""
    handler = type("Handler", (_Handler,), {"redis": redis})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Upstash(f"http://127.0.0.1:{server.server_port}", TOKEN)
        finally:
            server.shutdown()
            thread.join()
