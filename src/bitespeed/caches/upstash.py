"""Upstash over its REST API, for places from which no connection can be kept.

Commands are JSON arrays that are posted, replies come with their strings in Base64. Look-ups go as
a script too: scripts run where writes go, and a replica elsewhere may lag behind a fence.
"""

import asyncio
from base64 import b64decode
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import httpx
import msgspec

from bitespeed.caches.engine import LOOK_UP, Reply, UnknownScript, Word, run
from bitespeed.errors import CacheUnavailable, InvalidInput

MAX_CONNECTIONS = 10  # a fence need not wait for a look-up

_FORM = "UPSTASH_REDIS_REST_URL must be an https:// address, and UPSTASH_REDIS_REST_TOKEN its token"


class _Reply(msgspec.Struct):
    result: Any = None
    error: str | None = None


_reply = msgspec.json.Decoder(_Reply)


class UpstashEngine:
    """An `Engine` by HTTPS; each command is a request of its own."""

    read_time = 0.1  # a handshake may be needed
    write_time = 1.0

    def __init__(self, url: str, token: str | None) -> None:
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL:
            raise InvalidInput(_FORM) from None
        if self._url.scheme not in {"https", "http"} or not self._url.host or not token:
            raise InvalidInput(_FORM)
        self._look_ups: set[asyncio.Task[Any]] = set()  # keeps them from being lost
        self._client = httpx.AsyncClient(
            headers={
                "Authorization": f"Bearer {token}",
                "Upstash-Encoding": "base64",
                "Content-Type": "application/json",
            },
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            trust_env=False,
        )

    @property
    def server(self) -> str:
        """See `Engine.server`. Upstash does not tell one server from another."""
        return "upstash"

    async def connected(self) -> None:
        """See `Engine.connected`. There is none to wait for."""

    def look_up(self, keys: Sequence[bytes], tell: Callable[[Reply], None]) -> None:
        """See `Engine.look_up`."""
        task = asyncio.ensure_future(run(self, LOOK_UP, keys, patience=self.read_time))
        self._look_ups.add(task)
        task.add_done_callback(partial(self._on_reply, tell))

    def _on_reply(self, tell: Callable[[Reply], None], task: asyncio.Task[Any]) -> None:
        self._look_ups.discard(task)
        error = task.exception()
        tell(task.result() if not isinstance(error, Exception) else error)

    async def call(self, *command: Word, patience: float | None = None) -> Any:
        """See `Engine.call`."""
        words = [word.decode() if isinstance(word, bytes) else word for word in command]
        try:
            response = await self._client.post(
                self._url, content=msgspec.json.encode(words), timeout=patience or self.write_time
            )
            reply = _reply.decode(response.content)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise CacheUnavailable("The cache cannot be reached") from error
        if response.status_code == 401:
            raise CacheUnavailable("The cache refuses the token")
        if reply.error is not None:
            if "NOSCRIPT" in reply.error:
                raise UnknownScript("The cache does not know a script yet")
            raise CacheUnavailable("The cache refuses a command")
        return _decoded(reply.result)

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._client.aclose()


def _decoded(result: Any) -> Any:
    """Strings as bytes; only ``OK`` comes as it is."""
    if isinstance(result, list):
        return [_decoded(item) for item in result]  # pyright: ignore[reportUnknownVariableType] - JSON
    if isinstance(result, str) and result != "OK":
        return b64decode(result)
    return result
