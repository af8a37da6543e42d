"""The data that benchmarks run on: customers, filled databases, files to import."""

import asyncio
import csv
import itertools
from pathlib import Path

import pytest

from bench import (
    data,
    importing,
    workloads,
)
from bench.failure import BenchmarkFailed
from bitespeed.jobs.import_file import Tally, import_rows, read_rows
from bitespeed.service.service import Service
from bitespeed.stores import open_store
from support.benchmarks import fill_by_service, rows_of, violations


def test_no_two_runs_share_a_new_customer() -> None:
    firsts = [workloads.arguments_of(w, run)[-1] for run in range(1, 500) for w in ("new",)]
    assert all(later - first >= 10**8 for first, later in itertools.pairwise(firsts))
    assert len({len(phone) for first in firsts for _, phone in [data.customer(first)]}) == 1


def test_import_rows_have_fixed_shares_and_depend_on_seed() -> None:
    rows = list(data.mixed_rows(10_000, seed=7))
    assert rows == list(data.mixed_rows(10_000, seed=7))
    emails, phones = ({row[position] for row in rows} for position in (0, 1))
    assert len(phones) == pytest.approx(7_000, rel=0.05)
    assert len(emails) == pytest.approx(8_000, rel=0.05)
    assert len(set(rows)) == len(emails)


@pytest.mark.parametrize(
    "query",
    [
        "select id, tenant, root_id, primary_id, contacts, version from identity order by id",
        """select id, tenant, identity_id, email, phone, raw_email, raw_phone, deleted_at
           from contact_record order by id""",
        "select tenant, kind, value, identity_id from identifier order by 1, 2, 3",
        """select seq, tenant, kind, identity_id, version, contact_id, merged_id, primary_id,
           value, other, merged_primary_id, size, merged_size
           from event order by seq""",
        "select name, seq from sqlite_sequence order by name",
    ],
)
def test_filled_database_equals_one_written_by_the_service(tmp_path: Path, query: str) -> None:
    data.fill(tmp_path / "filled.db", 40)
    asyncio.run(fill_by_service(data.url(tmp_path / "served.db"), 40))
    assert rows_of(tmp_path / "filled.db", query) == rows_of(tmp_path / "served.db", query)


def test_filled_database_keeps_the_invariants(tmp_path: Path) -> None:
    filled = data.filled(tmp_path, 1_000)
    assert asyncio.run(violations(filled.url)) == []
    assert data.filled(tmp_path, 1_000) == filled
    (path,) = tmp_path.iterdir()
    assert rows_of(path, "select count(*) from contact_record") == [(1_000,)]


def test_too_small_disk_is_refused_before_it_fills(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="--work-dir"):
        data.filled(tmp_path, 10**15)


def _imported(folder: Path, rows: int) -> Path:
    file, database = folder / "rows.csv", folder / "imported.db"
    data.write_csv(file, data.mixed_rows(rows, seed=1))
    asyncio.run(_import(file, database))
    return database


async def _import(file: Path, database: Path) -> None:
    store = await open_store(f"sqlite:///{database}")
    with file.open("rb") as stream, read_rows(stream) as read:
        await import_rows(
            Service(store),
            read,
            None,
            Tally(),
            on_reject=lambda _: pytest.fail("rejected"),
            on_chunk=lambda _: None,
        )
    await store.close()


def test_ceiling_of_an_import_writes_the_same_rows(tmp_path: Path) -> None:
    database, copy = _imported(tmp_path, 2_000), tmp_path / "copy.db"
    with importing.Written(database) as written:
        written.copy(copy, commits=7)
        contacts = written.require_copied(copy)
    assert contacts == len(rows_of(database, "select 1 from contact_record"))
    for table in importing.TABLES:
        every = f"select * from {table} order by 1, 2, 3"
        assert rows_of(copy, every) == rows_of(database, every)
    assert asyncio.run(violations(data.url(copy))) == []


def test_import_file_has_the_header_of_an_import(tmp_path: Path) -> None:
    data.write_csv(tmp_path / "rows.csv", data.customers(2))
    with (tmp_path / "rows.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["email", "phoneNumber"]
    assert [tuple(row) for row in rows] == [data.customer(1), data.customer(2)]
