"""A database file that is replaced, removed or overwritten while a server has it open."""

import asyncio
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bitespeed.errors import StoreUnavailable
from bitespeed.tenant import DEFAULT_TENANT
from support.invariants import assert_clean
from support.server import Server, fresh_email, serve
from support.stores import decide, store_at, who, write


def back_up(path: Path) -> Path:
    backup = path.with_name("backup")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("vacuum into ?", (str(backup),))
    return backup


def remove_all(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def restore(path: Path) -> None:
    remove_all(path)
    shutil.copy(path.with_name("backup"), path)


def put_in_place(path: Path) -> None:
    path.with_name("backup").replace(path)


def remove_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def overwrite(path: Path) -> None:
    shutil.copyfile(path.with_name("backup"), path)


def empty_log_and_overwrite(path: Path) -> None:
    run_program(path, "pragma wal_checkpoint(truncate)")
    overwrite(path)


def begin_to_overwrite(path: Path) -> None:
    os.truncate(path, 0)


def run_program(path: Path, *statements: str) -> None:
    """Another program executes the statements."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


WAYS = [
    remove_all,
    restore,
    put_in_place,
    remove_log,
    overwrite,
    empty_log_and_overwrite,
    begin_to_overwrite,
]


@pytest.mark.parametrize("way", WAYS)
def test_server_on_a_replaced_file_acknowledges_nothing(
    tmp_path: Path, way: Callable[[Path], None]
) -> None:
    with serve(tmp_path) as server:
        known = fresh_email()
        server.identify(known, "1")
        back_up(server.database)
        assert server.ask("GET", "/ready").status == 200
        way(server.database)
        ready = server.ask("GET", "/ready")
        assert (ready.status, "while it was open" in ready.error) == (503, True)
        for body in ({"email": fresh_email()}, {"email": known}):
            assert server.post("/identify", body).status == 503
        assert server.ask("GET", "/health").status == 200


def test_commit_during_which_the_file_goes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "people.db"

    async def main() -> None:
        async with store_at(path) as store:
            await write(store, ("a@x.test", "1"))
            changes = await decide(store, ("b@x.test", "2"))
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("begin immediate")
                commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
                await asyncio.sleep(0.1)
                path.rename(tmp_path / "elsewhere")
                other.execute("rollback")
            with pytest.raises(StoreUnavailable, match="replaced or removed"):
                await commit
            (tmp_path / "elsewhere").rename(path)
            assert (await who(store, "a@x.test")).primary_id == 1

    asyncio.run(main())


@pytest.mark.parametrize("way", [overwrite, empty_log_and_overwrite])
def test_overwritten_file_stays_refused(tmp_path: Path, way: Callable[[Path], None]) -> None:
    path = tmp_path / "people.db"

    async def main() -> None:
        async with store_at(path) as store:
            await write(store, ("a@x.test", "1"))
            back_up(path)
            await write(store, ("b@x.test", "2"))
            changes = await decide(store, ("c@x.test", "3"))
            whole = path.read_bytes()
            way(path)
            with pytest.raises(StoreUnavailable, match="overwritten while it was open"):
                await store.commit(DEFAULT_TENANT, changes)
            path.write_bytes(whole)
            for refused in (store.ping(), store.commit(DEFAULT_TENANT, changes)):
                with pytest.raises(StoreUnavailable, match="restore the backup again"):
                    await refused

    asyncio.run(main())


def back_up_by_sqlite(path: Path) -> None:
    with (
        closing(sqlite3.connect(path)) as connection,
        closing(sqlite3.connect(path.with_name("backup"))) as backup,
    ):
        connection.backup(backup)


def copy_closed(path: Path) -> None:
    shutil.copy(path, path.with_name("backup"))


@pytest.mark.parametrize("make_backup", [back_up, back_up_by_sqlite, copy_closed])
def test_file_overwritten_by_any_kind_of_backup_is_refused(
    tmp_path: Path, make_backup: Callable[[Path], object]
) -> None:
    path = tmp_path / "people.db"

    async def main() -> None:
        async with store_at(path) as store:
            await write(store, ("a@x.test", "1"))
        make_backup(path)
        async with store_at(path) as store:
            await write(store, *[(f"b{n}@x.test", f"5{n}") for n in range(100)])
            run_program(path, "pragma wal_checkpoint(truncate)")
            await store.ping()
            overwrite(path)
            with pytest.raises(StoreUnavailable, match="overwritten while it was open"):
                await store.ping()

    asyncio.run(main())


def vacuum(path: Path) -> None:
    run_program(path, "vacuum", "pragma wal_checkpoint(truncate)")


def restore_by_sqlite(path: Path) -> None:
    with (
        closing(sqlite3.connect(path.with_name("backup"))) as backup,
        closing(sqlite3.connect(path)) as connection,
    ):
        backup.backup(connection)
    run_program(path, "pragma wal_checkpoint(truncate)")


def write_and_empty_log(path: Path) -> None:
    run_program(
        path, "create table theirs (value)", "drop table theirs", "pragma wal_checkpoint(truncate)"
    )


@pytest.mark.parametrize("way", [vacuum, restore_by_sqlite, write_and_empty_log])
def test_file_that_others_write_through_sqlite_is_served(
    tmp_path: Path, way: Callable[[Path], None]
) -> None:
    path = tmp_path / "people.db"

    async def main() -> None:
        async with store_at(path) as store:
            for _ in range(3):
                await write(store, ("a@x.test", "1"))
                back_up(path)
                await write(store, *[(f"b{n}@x.test", f"5{n}") for n in range(100)])
                run_program(path, "pragma wal_checkpoint(truncate)")
                way(path)
                await store.ping()
                await write(store, ("c@x.test", "3"))
                path.with_name("backup").unlink()
            await assert_clean(store)

    asyncio.run(main())


def test_closed_store_leaves_the_locks_of_another(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    opens_and_closes = f"import sqlite3; sqlite3.connect({str(path)!r}).execute('vacuum')"

    async def main() -> None:
        async with store_at(path) as store:
            async with store_at(path) as other:
                await write(other, ("a@x.test", "1"))
            await asyncio.to_thread(
                subprocess.run, [sys.executable, "-c", opens_and_closes], check=True
            )
            await write(store, ("b@x.test", "1"))  # refused, if the log were gone

    asyncio.run(main())


def test_another_process_that_opens_and_closes_changes_nothing(server: Server) -> None:
    server.identify("same@x.test", "7001")
    for _ in range(3):
        with closing(sqlite3.connect(server.database)) as other:
            other.execute("select count(*) from identity").fetchone()
            other.execute("pragma wal_checkpoint(truncate)")
        assert server.ask("GET", "/ready").status == 200
        server.identify(fresh_email(), "7001")


def test_disk_that_cannot_be_read_is_a_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def main() -> None:
        async with store_at(tmp_path / "people.db") as store:
            monkeypatch.setattr(os, "pread", failing)
            with pytest.raises(StoreUnavailable, match="disk"):
                await write(store, ("a@x", "1"))
            monkeypatch.undo()
            await write(store, ("a@x", "1"))

    asyncio.run(main())
