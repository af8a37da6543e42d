"""The server with random sleeps wherever another process may come between, or with a mistake.

    python sleepy_server.py --port 8001 --database sqlite:///file.db --mistake old-snapshots

Sleeps make rare interleavings frequent: before and after each read and commit, and on SQLite
between the statements of each transaction, the write lock held (`support.sleepy_functions` does
that on PostgreSQL). The mistakes are what a checker must notice; they are made by replacing parts
of the SQLite store, so that its own code has no room for them.

On another database than a SQLite file it counts how often others were in the way of a batch, and
prints that at its end, for `support.load_trial`; with --awake it does that and nothing else.
"""

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import uvicorn

from bitespeed.errors import Conflict
from bitespeed.model.changes import Changes, Committed
from bitespeed.model.identity import Snapshot
from bitespeed.server.app import Application
from bitespeed.server.process import OPTIONS, SHUTDOWN_TIMEOUT
from bitespeed.service.attempts import MAX_ATTEMPTS
from bitespeed.settings import Settings
from bitespeed.stores import open_store
from bitespeed.stores.protocols import AnyStore
from bitespeed.stores.sqlite import SqliteStore
from bitespeed.stores.sqlite import write as writing
from bitespeed.stores.sqlite.database import roll_back

BETWEEN_CALLS = 0.020  # seconds at most
BETWEEN_STATEMENTS = 0.002  # seconds at most, with the snapshot or the write lock held
UNTIL_DURABLE = 0.1  # seconds between answer and commit, where that is the mistake


class SleepyStore(SqliteStore):
    """The SQLite store, slow at every point where it matters who is first."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for connection in self._connections:
            connection.set_trace_callback(lambda _: time.sleep(_up_to(BETWEEN_STATEMENTS)))

    async def read(self, tenant: str, **wanted: Any) -> Snapshot:
        await _sleep()
        snapshot = await super().read(tenant, **wanted)
        await _sleep()
        return snapshot

    async def commit(self, tenant: str, changes: Changes) -> Committed:
        await _sleep()
        try:
            return await super().commit(tenant, changes)
        finally:
            await _sleep()


def _up_to(most: float) -> float:
    return random.uniform(0, most)


async def _sleep() -> None:
    await asyncio.sleep(_up_to(BETWEEN_CALLS))


class Counting:
    """Any store, and how often others were in the way of a commit; perhaps slow as well."""

    def __init__(self, store: AnyStore, *, is_sleepy: bool) -> None:
        self._store = store
        self._is_sleepy = is_sleepy
        self._commits = 0
        self._conflicts: Counter[int] = Counter()  # by which of its batch they were
        self._of_batch: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, tenant: str, **wanted: Any) -> Snapshot:
        await self._doze()
        snapshot = await self._store.read(tenant, **wanted)
        await self._doze()
        return snapshot

    async def commit(self, tenant: str, changes: Changes) -> Committed:
        batch = asyncio.current_task()
        assert batch is not None
        await self._doze()
        try:
            committed = await self._store.commit(tenant, changes)
        except Conflict:
            turn = self._of_batch.pop(batch, 0) + 1
            self._conflicts[turn] += 1
            if turn < MAX_ATTEMPTS:
                self._of_batch[batch] = turn
            raise
        finally:
            await self._doze()
        self._of_batch.pop(batch, None)
        self._commits += 1
        return committed

    async def _doze(self) -> None:
        if self._is_sleepy:
            await _sleep()

    async def close(self) -> None:
        print("contention", json.dumps([self._commits, self._conflicts]), flush=True)
        await self._store.close()


class OldSnapshots(SqliteStore):
    """Mistake: what was read once is believed until a commit that rests on it fails."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._believed: dict[tuple[frozenset[str], frozenset[str]], Snapshot] = {}

    async def read(
        self,
        tenant: str,
        *,
        emails: Collection[Any] = (),
        phones: Collection[Any] = (),
        **wanted: Any,
    ) -> Snapshot:
        key = frozenset(emails), frozenset(phones)
        if key not in self._believed:
            fresh = await super().read(tenant, emails=emails, phones=phones, **wanted)
            self._believed[key] = fresh
        return self._believed[key]

    async def commit(self, tenant: str, changes: Changes) -> Committed:
        try:
            return await super().commit(tenant, changes)
        except Conflict:
            touched = {change.id for change in changes.identities}
            values = {value for c in changes.contacts for value in (c.email, c.phone)}
            self._believed = {
                key: snapshot
                for key, snapshot in self._believed.items()
                if touched.isdisjoint(snapshot.identities) and values.isdisjoint(key[0] | key[1])
            }
            raise


class UnsafeCommits(SleepyStore):
    """Mistake: a commit does not compare the versions of the identities that it changes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        statement = writing._SQL["advance_identity"]
        unsafe = statement.replace("and stamp = :stamp", "and :stamp > 0")
        assert unsafe != statement
        writing._SQL["advance_identity"] = unsafe


class EarlyAnswers(SqliteStore):
    """Mistake: a commit is acknowledged before it is durable."""

    async def commit(self, tenant: str, changes: Changes) -> Committed:
        await self._write_turn.acquire()
        try:
            await self._begin()
            committed = writing.write(self._writer, tenant, changes)
        except BaseException:
            roll_back(self._writer)
            self._write_turn.release()
            raise
        self._late = asyncio.create_task(self._commit_late())
        return committed

    async def _commit_late(self) -> None:
        await asyncio.sleep(UNTIL_DURABLE)
        self._writer.execute("commit")
        self._write_turn.release()


class CachedAnswers:
    """Mistake: answers are kept for each request and given again, as in the reference design."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._kept: dict[bytes, list[Any]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/identify":
            await self._application(scope, receive, send)
            return
        request = await receive()
        if request["body"] not in self._kept:
            answer: list[Any] = []

            async def again() -> Any:
                return request

            async def keep(message: Any) -> None:
                answer.append(message)

            await self._application(scope, again, keep)
            if answer[0]["status"] == 200:
                self._kept[request["body"]] = answer
        else:
            answer = self._kept[request["body"]]
        for message in answer:
            await send(message)


STORES: dict[str | None, type[SqliteStore]] = {
    None: SleepyStore,
    "old-snapshots": OldSnapshots,
    "unsafe-commits": UnsafeCommits,
    "early-answers": EarlyAnswers,
    "cached-answers": SqliteStore,
}


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mistake", choices=[name for name in STORES if name])
    parser.add_argument("--awake", action="store_true")
    flags = parser.parse_args()
    random.seed(f"{flags.seed} {flags.port}")
    settings = Settings(database=flags.database, port=flags.port)

    async def opened(_: Settings) -> Any:
        if settings.database.startswith("sqlite:///"):
            return await STORES[flags.mistake].open(settings.database.removeprefix("sqlite:///"))
        store = await open_store(settings.database, settings.options)
        return Counting(store, is_sleepy=not flags.awake)

    application: Any = Application(settings, open_=opened)
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
