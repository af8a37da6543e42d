"""Upstash over its REST API, for places that cannot keep a connection open, such as Lambda.

Commands are posted as JSON arrays; strings in replies are in Base64. A look-up is a script, because
scripts run on the primary, while a replica that answers a command may lag behind a fence.
"""

import asyncio
from base64 import b64decode
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import httpx
import msgspec

from bitespeed.caches.engine import LOOK_UP, Reply, UnknownScript, Word, run
from bitespeed.caches.refusals import Refusals, reason_of
from bitespeed.errors import CacheUnavailable, InvalidInput

MAX_CONNECTIONS = 10  # more than one, so that a fence does not wait for a look-up

_FORM = "UPSTASH_REDIS_REST_URL must be an https:// address, and UPSTASH_REDIS_REST_TOKEN its token"


class _Reply(msgspec.Struct):
    result: Any = None
    error: str | None = None


_reply = msgspec.json.Decoder(_Reply)


class UpstashEngine:
    """An `Engine` that sends each command in an HTTPS request."""

    read_timeout = 0.1  # seconds, as a TLS handshake may be needed
    write_timeout = 1.0

    def __init__(self, url: str, token: str | None) -> None:
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL:
            raise InvalidInput(_FORM) from None
        if self._url.scheme not in {"https", "http"} or not self._url.host or not token:
            raise InvalidInput(_FORM)
        self._refusals = Refusals()
        self._look_ups: set[asyncio.Task[Any]] = set()  # asyncio itself does not keep tasks alive
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
        """See `Engine.server`. Upstash gives its servers no ids, so this is always the same."""
        return "upstash"

    async def wait_until_connected(self) -> None:
        """See `Engine.wait_until_connected`. Returns at once."""

    def look_up(self, keys: Sequence[bytes], on_reply: Callable[[Reply], None]) -> None:
        """See `Engine.look_up`."""
        task = asyncio.ensure_future(run(self, LOOK_UP, keys, timeout=self.read_timeout))
        self._look_ups.add(task)
        task.add_done_callback(partial(self._on_done, on_reply))

    def _on_done(self, on_reply: Callable[[Reply], None], task: asyncio.Task[Any]) -> None:
        self._look_ups.discard(task)
        error = task.exception()
        on_reply(task.result() if not isinstance(error, Exception) else error)

    async def call(self, *command: Word, timeout: float | None = None) -> Any:
        """See `Engine.call`."""
        words = [word.decode() if isinstance(word, bytes) else word for word in command]
        try:
            response = await self._client.post(
                self._url, content=msgspec.json.encode(words), timeout=timeout or self.write_timeout
            )
            reply = _reply.decode(response.content)
        except httpx.TimeoutException as error:
            raise CacheUnavailable("The cache did not answer in time") from error
        except httpx.HTTPError as error:
            raise self._refused(reason_of(error)) from error
        except msgspec.DecodeError as error:
            raise self._refused("The address of the cache is not one of Upstash's") from error
        if response.status_code == 401:
            raise self._refused("The cache refuses the token")
        if reply.error is not None:
            if "NOSCRIPT" in reply.error:
                raise UnknownScript("The cache does not know a script yet")
            raise self._refused(f"The cache refuses a command: {_code(reply.error)}")
        self._refusals.forget()
        return _decoded(reply.result)

    def _refused(self, reason: str) -> CacheUnavailable:
        self._refusals.report(reason)
        return CacheUnavailable(reason)

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._client.aclose()


def _code(error: str) -> str:
    """The code of an error, such as ``NOPERM``. What follows may quote a key."""
    code = error.partition(" ")[0]
    return code if code.isalpha() and code.isupper() else "ERR"


def _decoded(result: Any) -> Any:
    """The reply with its strings as bytes, except ``OK``, which is not in Base64."""
    if isinstance(result, list):
        return [_decoded(item) for item in result]  # pyright: ignore[reportUnknownVariableType] - JSON
    if isinstance(result, str) and result != "OK":
        return b64decode(result)
    return result
