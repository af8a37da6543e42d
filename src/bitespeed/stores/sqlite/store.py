"""The store in one SQLite file.

Reads of small identities take microseconds and run on the event loop. Commits write on the event
loop too; only what is large, or may wait for another process's lock or for the disk, runs in a
thread.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

from bitespeed.errors import InvalidInput
from bitespeed.model.api_keys import ApiKey
from bitespeed.model.changes import Changes, Committed, Tombstones
from bitespeed.model.facts import Fact, Happening, Value
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Snapshot
from bitespeed.model.records import IdentityRecords, SequenceRecord
from bitespeed.stores.availability import Availability
from bitespeed.stores.feed import EventPage, Position
from bitespeed.stores.recent import MAX_CONTACTS, Recent
from bitespeed.stores.sqlite.database import (
    LOCK_TIMEOUT,
    Lane,
    begin_when_free,
    connect,
    create,
    require_folder,
    roll_back,
    translated,
)
from bitespeed.stores.sqlite.erased_log import ErasedLog
from bitespeed.stores.sqlite.explain import facts, history, merges, partners
from bitespeed.stores.sqlite.faults import faults
from bitespeed.stores.sqlite.feed import events
from bitespeed.stores.sqlite.keys import keys, put_key
from bitespeed.stores.sqlite.load import Loading, size
from bitespeed.stores.sqlite.migrate import migrate, require_migrated
from bitespeed.stores.sqlite.opened_file import OpenedFile
from bitespeed.stores.sqlite.read import Reader, secret
from bitespeed.stores.sqlite.records import records, tombstones
from bitespeed.stores.sqlite.scan import scan, sequences
from bitespeed.stores.sqlite.write import write


class SqliteStore:
    """A `Store` in one file. Reads never wait for writes; writes wait for each other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = OpenedFile(path)
        with ExitStack() as opened:
            opened.callback(self._file.close)  # after the connections, which it would unlock
            self._connections = [
                opened.enter_context(closing(connect(path, lock_timeout)))
                for lock_timeout in (0, LOCK_TIMEOUT, 0)
            ]
            self._opened = opened.pop_all()
        reading, waiting, self._writer = self._connections
        self._reader = Reader(reading, Recent())
        # It reads what is large, so that a large identity replaces few small ones.
        self._waiting_reader = Reader(waiting, Recent(max_identity=MAX_CONTACTS))
        self._reading = Lane("read")
        self._writing = Lane("write")
        self._write_turn = asyncio.Lock()
        self._erased_log = ErasedLog(self._writer, self._writing, self._write_turn)
        self._availability = Availability()

    @classmethod
    async def open(cls, path: str, *, creates: bool = True) -> "SqliteStore":
        """Open or create the file and bring its schema to this version.

        Unless it ``creates``, raise `InvalidInput` for a missing file, and `StoreDamaged` for one
        that is not prepared or behind this version; neither is changed.
        """
        if not creates:
            _require_file(Path(path))
        else:
            create(Path(path))
        store = cls(Path(path))
        try:
            await store._writing.run(store._migrate if creates else store._require_migrated)
            with translated():
                await store._reading.run(store._waiting_reader.ping)  # from now on its logs stay
            store._file.remember()
            if creates:
                await store._erased_log.watch()
        except BaseException:
            await store.close()
            raise
        return store

    def _migrate(self) -> None:
        connection = connect(self._path)
        with closing(connection), translated():
            migrate(connection)

    def _require_migrated(self) -> None:
        with translated():
            require_migrated(self._connections[1])

    async def read(
        self,
        tenant: str,
        *,
        emails: Collection[Email] = (),
        phones: Collection[Phone] = (),
        contact: int | None = None,
        members: bool = True,
        max_contacts: int | None = None,
    ) -> Snapshot:
        """See `Store.read`."""
        wanted = tenant, list(emails), list(phones), contact
        max_members = max_contacts if members else 0
        with self._availability.reads, translated():
            self._file.require_sometimes()
            if max_members is not None:
                # Locked by a recovery or by the last close of another process; or a real failure,
                # which the second attempt raises again.
                with suppress(sqlite3.OperationalError):
                    return self._reader.snapshot(*wanted, max_members)
            return await self._reading.run(
                lambda: self._waiting_reader.snapshot(*wanted, max_members)
            )

    async def commit(self, tenant: str, changes: Changes) -> Committed:
        """See `Store.commit`."""
        async with self._write_turn:
            with self._availability.writes, translated():
                self._file.require()
                try:
                    await self._begin()
                    committed = write(self._writer, tenant, changes)
                    await self._writing.run(lambda: self._writer.execute("commit"))
                except BaseException:
                    await self._writing.run(lambda: roll_back(self._writer))
                    raise
                self._file.require()  # or it is acknowledged into a file that is no longer there
        if changes.erasure is not None:
            await self._erased_log.empty_soon()
        return committed

    async def records(
        self, tenant: str, values: Collection[Email | Phone], contact: int | None = None
    ) -> list[IdentityRecords]:
        """See `Store.records`."""
        work = partial(records, self._connections[1], tenant, values, contact)
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(work)

    async def tombstones(self, tenant: str, pseudonyms: Collection[str] = ()) -> Tombstones:
        """See `Store.tombstones`."""
        work = partial(tombstones, self._connections[1], tenant, pseudonyms)
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(work)

    async def facts(
        self,
        tenant: str,
        values: Collection[Value],
        *,
        contacts: Collection[int] = (),
        as_of: int | None = None,
        limit: int,
    ) -> list[Fact] | None:
        """See `Store.facts`."""
        work = partial(facts, self._connections[1], tenant, values, contacts, as_of, limit)
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(work)

    async def history(
        self, tenant: str, contact: int, *, after: int, limit: int
    ) -> list[Happening]:
        """See `Store.history`."""
        work = partial(history, self._connections[1], tenant, contact, after, limit)
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(work)

    async def merges(self, tenant: str, *, before: int, since: int, limit: int) -> list[Happening]:
        """See `Store.merges`."""
        work = partial(merges, self._connections[1], tenant, before, since, limit)
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(work)

    async def partners(self, tenant: str, values: Sequence[Value], *, limit: int) -> list[int]:
        """See `Store.partners`."""
        work = partial(partners, self._connections[1], tenant, values, limit)
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(work)

    async def events(self, after: Position, limit: int) -> EventPage:
        """See `Store.events`."""
        work = partial(events, self._connections[1], after, limit)
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(work)

    async def _begin(self) -> None:
        """Take the write lock; wait for it in the thread if another process has it."""
        try:
            self._writer.execute("begin immediate")
        except sqlite3.OperationalError:
            await self._writing.run(lambda: begin_when_free(self._writer))

    async def secret(self) -> str:
        """See `Store.secret`."""
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(lambda: secret(self._connections[1]))

    async def ping(self) -> None:
        """See `Store.ping`."""
        with self._availability.reads, translated():
            self._file.require()
            await self._reading.run(self._waiting_reader.ping)

    async def scan(self) -> AsyncGenerator[list[IdentityRecords]]:
        """See `ScannableStore.scan`."""
        lane = Lane("scan")
        with closing(connect(self._path)) as connection, closing(lane), translated():
            pages = scan(connection)
            try:
                while page := await lane.run(lambda: next(pages, None)):
                    yield page
            finally:
                await lane.run(pages.close)

    async def faults(self) -> list[str]:
        """See `ScannableStore.faults`."""
        with self._availability.reads, translated():
            return await self._reading.run(lambda: faults(self._connections[1]))

    async def sequences(self) -> list[SequenceRecord]:
        """See `ScannableStore.sequences`."""
        with translated():
            return await self._reading.run(lambda: sequences(self._connections[1]))

    async def load(self, pages: AsyncIterable[list[IdentityRecords]]) -> None:
        """See `BulkStore.load`."""
        lane = Lane("load")
        with closing(connect(self._path)) as connection, closing(lane), translated():
            loading = Loading(connection)
            try:
                await lane.run(loading.begin)
                async for page in pages:
                    await lane.run(partial(loading.add, page))
                await lane.run(loading.commit)
            except BaseException:
                await lane.run(lambda: roll_back(connection))
                raise

    async def keys(self, ids: Collection[str] | None = None) -> list[ApiKey]:
        """See `KeyStore.keys`."""
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(lambda: keys(self._connections[1], ids))

    async def put_key(self, key: ApiKey) -> None:
        """See `KeyStore.put_key`."""
        with self._availability.writes, translated():
            self._file.require()
            await self._reading.run(lambda: put_key(self._connections[1], key))

    async def size(self) -> int:
        """See `BulkStore.size`."""
        with self._availability.reads, translated():
            self._file.require()
            return await self._reading.run(lambda: size(self._connections[1]))

    async def vacuum(self) -> None:
        """See `BulkStore.vacuum`. Does nothing: a commit that erases overwrites the rows."""

    async def close(self) -> None:
        """See `Store.close`."""
        await self._erased_log.close()
        async with self._write_turn:
            self._reading.close()
            self._writing.close()
            self._opened.close()


def _require_file(path: Path) -> None:
    require_folder(path)
    if not path.is_file():
        raise InvalidInput(f"There is no database file {path}; bitespeed migrate creates it")
