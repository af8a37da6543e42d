"""The server with a cache and random sleeps at every step, or with a mistake in its cache.

    REDIS_URL=redis://... python sleepy_cache_server.py --port 8001 --database postgresql://...

Sleeps come before and after each call of the database and of the cache. The checker of
histories must notice the mistakes.
"""

import argparse
import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import uvicorn
from sleepy_server import CachedAnswers  # beside it

from bitespeed.caches import entries
from bitespeed.caches.answers import AnswerCache
from bitespeed.caches.engine import FILL, RELEASE, Word, run
from bitespeed.caches.redis import _Connection
from bitespeed.model.changes import Changes, Committed
from bitespeed.model.identifiers import Observation
from bitespeed.model.identity import KeptAnswer
from bitespeed.server.app import Application
from bitespeed.server.process import OPTIONS, SHUTDOWN_TIMEOUT
from bitespeed.settings import load_settings
from bitespeed.stores.epochs import CacheState
from bitespeed.stores.postgres.store import PostgresStore

MAX_DELAY = 0.010  # seconds before and after each call
MAX_LATE_DELAY = 0.1  # seconds before a fill, and before the deletion of `delete-after-commit`

Call = Callable[..., Awaitable[Any]]


def sleepy(call: Call) -> Call:
    """The call, with sleeps before and after."""

    async def slowly(*args: Any) -> Any:
        await asyncio.sleep(random.uniform(0, MAX_DELAY))
        try:
            return await call(*args)
        finally:
            await asyncio.sleep(random.uniform(0, MAX_DELAY))

    return lambda *args: asyncio.ensure_future(slowly(*args))


def sleepily(send: Callable[..., None]) -> Callable[..., None]:
    """`_Connection.send` with a delay before the command, and one before its reply."""

    def send_later(
        self: _Connection, command: Sequence[Word], timeout: float, on_reply: Callable[[Any], None]
    ) -> None:
        loop = asyncio.get_running_loop()

        def reply_later(outcome: Any) -> None:
            loop.call_later(random.uniform(0, MAX_DELAY), on_reply, outcome)

        delay = random.uniform(0, MAX_LATE_DELAY if is_fill(command) else MAX_DELAY)
        loop.call_later(delay, send, self, command, timeout, reply_later)

    return send_later


def is_fill(command: Sequence[Word]) -> bool:
    """Whether the command is a fill, by its digest or by its text."""
    return not {FILL.digest, FILL.source}.isdisjoint(command)


async def delete_after_commit(
    self: AnswerCache,
    state: CacheState,
    epoch: str,
    tenant: str,
    changes: Changes,
    values: Collection[str],
) -> Committed:
    """Mistake: no fences. Old answers are deleted after the commit, before callers are answered."""
    committed = await self._store.commit(tenant, changes, state)
    await asyncio.sleep(random.uniform(0, MAX_LATE_DELAY))
    await run(self.engine, RELEASE, self._keys(epoch, tenant, values), ["nobody's"])
    return committed


def has_seen_all(entry: KeptAnswer, observation: Observation) -> bool:
    """Mistake: a hit on two values of one identity, whether or not they were seen together."""
    del entry, observation
    return True


FILL_WITHOUT_TOKEN = """
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[2]) end
return 1
"""


def make(mistake: str | None) -> None:
    """Make the mistake in the classes of the product."""
    if mistake == "delete-after-commit":
        AnswerCache._commit_fenced = delete_after_commit
    elif mistake == "fills-without-tokens":
        FILL.source = FILL_WITHOUT_TOKEN
    elif mistake == "hits-without-pairs":
        entries._has_seen = has_seen_all


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument(
        "--mistake",
        choices=[
            "cached-answers",
            "delete-after-commit",
            "fills-without-tokens",
            "hits-without-pairs",
        ],
    )
    flags = parser.parse_args()
    random.seed(flags.port)
    make(flags.mistake)
    PostgresStore._call = sleepy(PostgresStore._call)
    _Connection.send = sleepily(_Connection.send)
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
