"""What a cache server must offer, and the scripts that run there."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

from bitespeed.errors import CacheUnavailable
from bitespeed.resources import text

Word = bytes | str | int

Reply = list[bytes | None] | Exception
"""The values that a look-up read, or the error that ended it, mostly `CacheUnavailable`."""


class Script:
    """A Lua script that the server runs as one step."""

    def __init__(self, name: str) -> None:
        self.source = text("bitespeed.caches", f"scripts/{name}.lua")

    @cached_property
    def digest(self) -> str:
        """The name under which the server runs the script, once it has received the text."""
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


LOOK_UP = Script("look_up")
LEASE = Script("lease")
FILL = Script("fill")
FENCE = Script("fence")
RELEASE = Script("release")
FORGET = Script("forget")
LEND = Script("lend")


class UnknownScript(CacheUnavailable):
    """The server has not received a script yet, or was restarted since."""


class Engine(Protocol):
    """A client of a cache server. Each call raises `CacheUnavailable` after its timeout."""

    read_timeout: float
    """Seconds for a look-up: little more than one takes, since the store is hardly slower."""
    write_timeout: float
    """Seconds for other commands: longer, since a fence that fails suspends the cache."""

    @property
    def server(self) -> str | None:
        """An id of the server, which a restart changes; None while there is no connection."""
        ...

    async def wait_until_connected(self) -> None:
        """Return when there is a connection."""
        ...

    def look_up(self, keys: Sequence[bytes], on_reply: Callable[[Reply], None]) -> None:
        """Read the values under the keys, from the server that takes writes.

        Calls ``on_reply``, which must not raise, with the values or with an error, at a later turn
        of the event loop and within ``read_timeout``.
        """
        ...

    def call(self, *command: Word, timeout: float | None = None) -> Awaitable[Any]:
        """Run one command, within ``timeout`` seconds, by default ``write_timeout``."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


async def run(
    engine: Engine,
    script: Script,
    keys: Sequence[bytes],
    arguments: Sequence[Word] = (),
    timeout: float | None = None,
) -> Any:
    """Run a script by its digest, or by its text if the server does not know it yet."""
    rest = (len(keys), *keys, *arguments)
    try:
        return await engine.call("EVALSHA", script.digest, *rest, timeout=timeout)
    except UnknownScript:
        return await engine.call("EVAL", script.source, *rest, timeout=timeout)
