"""A database file that is replaced or removed under a running server: refusals, nothing lost."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bitespeed.errors import StoreUnavailable
from bitespeed.tenant import DEFAULT_TENANT
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


WAYS = [remove_all, restore, put_in_place, remove_log]


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
        assert (ready.status, "was replaced or removed" in ready.error) == (503, True)
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


def test_another_process_that_opens_and_closes_changes_nothing(server: Server) -> None:
    server.identify("same@x.test", "7001")
    for _ in range(3):
        with closing(sqlite3.connect(server.database)) as other:
            other.execute("select count(*) from identity").fetchone()
            other.execute("pragma wal_checkpoint(truncate)")
        assert server.ask("GET", "/ready").status == 200
        server.identify(fresh_email(), "7001")
