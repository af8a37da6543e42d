"""What is asked of a server, and the scripts that run there."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

from bitespeed.errors import CacheUnavailable
from bitespeed.resources import text

Word = bytes | str | int

Reply = list[bytes | None] | Exception
"""To a look-up; an error where there is none, mostly `CacheUnavailable`."""


class Script:
    """A Lua script that the server runs as one step."""

    def __init__(self, name: str) -> None:
        self.source = text("bitespeed.caches", f"scripts/{name}.lua")

    @cached_property
    def digest(self) -> str:
        """What the server knows it by, once it has seen it."""
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


LOOK_UP = Script("look_up")
LEASE = Script("lease")
FILL = Script("fill")
FENCE = Script("fence")
RELEASE = Script("release")
FORGET = Script("forget")
LEND = Script("lend")


class UnknownScript(CacheUnavailable):
    """The server has not seen a script, or has forgotten it."""


class Engine(Protocol):
    """A way to a server. All of it raises `CacheUnavailable`, at the latest when time is over."""

    read_time: float
    """Seconds for a look-up: little more than one takes, since the store is hardly slower."""
    write_time: float
    """Seconds for anything else, whose failure is dear."""

    @property
    def server(self) -> str | None:
        """What tells the server behind the connection from others, and from itself before a
        restart; None while there is no connection.
        """
        ...

    async def connected(self) -> None:
        """Return when there is a connection, for those who would rather wait than do without."""
        ...

    def look_up(self, keys: Sequence[bytes], tell: Callable[[Reply], None]) -> None:
        """Tell the values under the keys, as they are where writes go, or that they are not to be
        had within ``read_time``; at a later turn of the event loop. ``tell`` must not raise.
        """
        ...

    def call(self, *command: Word, patience: float | None = None) -> Awaitable[Any]:
        """Run one command, within ``write_time`` unless told otherwise."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


async def run(
    engine: Engine,
    script: Script,
    keys: Sequence[bytes],
    arguments: Sequence[Word] = (),
    patience: float | None = None,
) -> Any:
    """Run a script by its digest, or by its text where the server does not know it yet."""
    rest = (len(keys), *keys, *arguments)
    try:
        return await engine.call("EVALSHA", script.digest, *rest, patience=patience)
    except UnknownScript:
        return await engine.call("EVAL", script.source, *rest, patience=patience)
