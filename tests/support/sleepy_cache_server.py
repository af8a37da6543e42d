"""The server with a cache and random sleeps at every step, or with a mistake in its cache.

    REDIS_URL=redis://... python sleepy_cache_server.py --port 8001 --database postgresql://...

Sleeps come before and after each call of the database and of the cache. The mistakes are what the
checker of histories must notice.
"""

import argparse
import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import uvicorn
from sleepy_server import CachedAnswers  # beside it

from bitespeed.caches.answers import AnswerCache
from bitespeed.caches.engine import FILL, RELEASE, Word, run
from bitespeed.caches.redis import _Link
from bitespeed.model.changes import Changes, Committed
from bitespeed.server.app import Application
from bitespeed.server.process import OPTIONS, SHUTDOWN_TIMEOUT
from bitespeed.settings import load_settings
from bitespeed.stores.postgres.store import PostgresStore

BETWEEN = 0.010  # seconds at most
LATE = 0.1  # seconds at most before a fill, and before a deletion where that is the mistake

Call = Callable[..., Awaitable[Any]]


def sleepy(call: Call) -> Call:
    """The same, with sleeps before and after."""

    async def slowly(*args: Any) -> Any:
        await asyncio.sleep(random.uniform(0, BETWEEN))
        try:
            return await call(*args)
        finally:
            await asyncio.sleep(random.uniform(0, BETWEEN))

    return lambda *args: asyncio.ensure_future(slowly(*args))


def sleepily(ask: Callable[..., None]) -> Callable[..., None]:
    """`_Link.ask`, asked later, with its outcome told later still."""

    def later(
        self: _Link, command: Sequence[Word], patience: float, tell: Callable[[Any], None]
    ) -> None:
        loop = asyncio.get_running_loop()

        def tell_later(outcome: Any) -> None:
            loop.call_later(random.uniform(0, BETWEEN), tell, outcome)

        pause = random.uniform(0, LATE if is_fill(command) else BETWEEN)
        loop.call_later(pause, ask, self, command, patience, tell_later)

    return later


def is_fill(command: Sequence[Word]) -> bool:
    """Is this a fill, by its digest or by its text?"""
    return not {FILL.digest, FILL.source}.isdisjoint(command)


async def delete_after_commit(
    self: AnswerCache, epoch: str, tenant: str, changes: Changes, values: Collection[str]
) -> Committed:
    """Mistake: nothing is fenced; what was overtaken is deleted after the commit, and only then
    is anybody answered.
    """
    committed = await self._store.commit(tenant, changes, epoch)
    await asyncio.sleep(random.uniform(0, LATE))
    await run(self.engine, RELEASE, self._keys(epoch, tenant, values), ["nobody's"])
    return committed


FILL_WITHOUT_TOKEN = """
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[2]) end
return 1
"""


def make(mistake: str | None) -> None:
    """Replace what the mistake is about."""
    if mistake == "delete-after-commit":
        AnswerCache._commit_fenced = delete_after_commit
    elif mistake == "fills-without-tokens":
        FILL.source = FILL_WITHOUT_TOKEN


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument(
        "--mistake", choices=["cached-answers", "delete-after-commit", "fills-without-tokens"]
    )
    flags = parser.parse_args()
    random.seed(flags.port)
    make(flags.mistake)
    PostgresStore._call = sleepy(PostgresStore._call)
    _Link.ask = sleepily(_Link.ask)
    settings = load_settings({"database": flags.database, "port": flags.port})
    application: Any = Application(settings)
    if flags.mistake == "cached-answers":
        application = CachedAnswers(application)
    uvicorn.run(
        application,
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=int(settings.deadline) + SHUTDOWN_TIMEOUT,
        **OPTIONS,
    )


if __name__ == "__main__":
    main()
