"""The benchmarks on PostgreSQL: their databases, and every part measured once, briefly."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import psycopg
import pytest

from bench import (
    results,
)
from bench.failure import BenchmarkFailed
from bench.parts import PARTS
from bench.postgres import databases, merge
from bench.postgres import report as postgres_report
from bench.postgres.databases import Databases
from bench.scale import Scale
from support.benchmarks import fill_by_service, has_pgbench, violations
from support.postgres_server import Postgres
from support.postgres_server import server as postgres_server

ROOT = Path(__file__).parents[2]
NOWHERE = "postgresql://postgres@127.0.0.1:1/postgres"


def _bench(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [(NOWHERE, "There is no PostgreSQL server to measure"), ("here", "takes a URL such as")],
)
def test_missing_server_is_reported_before_anything_is_measured(url: str, message: str) -> None:
    done = _bench("imports", "postgres-merge", "--quick", "--postgres", url)
    assert done.returncode == 1
    assert f"bench: {message}" in done.stderr.replace("--postgres takes", "takes")
    assert "Traceback" not in done.stderr
    assert "imports ..." not in done.stderr


def test_unknown_part_is_refused_by_name() -> None:
    done = _bench("postgres-sise")
    assert (done.returncode, "no part postgres-sise" in done.stderr) == (1, True)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def made(server: Postgres) -> Iterator[Databases]:
    with databases.databases(server.url(), keep=False) as made:
        yield made


def _fail_in_a_new_database(server: Postgres, urls: list[str]) -> None:
    with databases.databases(server.url(), keep=False) as made:
        urls.append(made.fresh())
        with databases.connect(urls[0]) as connection:
            connection.execute("select from nowhere")


def test_databases_are_dropped_after_a_failure(server: Postgres) -> None:
    urls: list[str] = []
    with pytest.raises(BenchmarkFailed, match="PostgreSQL refused: relation"):
        _fail_in_a_new_database(server, urls)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        databases.connect(urls[0])


def test_filled_database_is_kept_when_the_run_wants_it(server: Postgres) -> None:
    contacts = 10 * (os.getpid() % 1000 + 1)  # others may test on the same server
    with databases.databases(server.url(), keep=True) as made:
        kept = made.filled(contacts)
    try:
        assert f"/{databases.PREFIX}contacts_{contacts}_" in kept.url
        databases.connect(kept.url).close()
    finally:
        with databases.databases(server.url(), keep=False) as made:
            assert made.filled(contacts).url == kept.url
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        databases.connect(kept.url)


@pytest.fixture(scope="module")
def filled_and_served(made: Databases) -> tuple[str, str]:
    filled, served = made.filled(40).url, made.fresh()
    asyncio.run(fill_by_service(served, 40))
    return filled, served


def _rows_on_server(url: str, query: str) -> list[tuple[object, ...]]:
    with databases.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize(
    "query",
    [
        """select id, tenant, root_id, primary_id, contacts, version
           from bitespeed.identity order by id""",
        """select id, tenant, identity_id, email, phone, raw_email, raw_phone, deleted_at
           from bitespeed.contact_record order by id""",
        "select tenant, kind, value, identity_id from bitespeed.identifier order by 1, 2, 3",
        """select seq, is_published, tenant, kind, identity_id, version, contact_id, merged_id,
           primary_id, value, other, merged_primary_id, size, merged_size
           from bitespeed.event order by seq""",
        "select last_value, is_called from bitespeed.contact_id",
        "select nextval('bitespeed.event_seq_seq')",
    ],
)
def test_filled_database_equals_one_written_by_the_service(
    filled_and_served: tuple[str, str], query: str
) -> None:
    filled, served = filled_and_served
    assert _rows_on_server(filled, query) == _rows_on_server(served, query)


def test_filled_database_keeps_the_invariants(made: Databases) -> None:
    assert asyncio.run(violations(made.filled(1_000).url)) == []


def test_merge_case_keeps_the_invariants_before_and_after(made: Databases, tmp_path: Path) -> None:
    scale = replace(Scale(tmp_path), merges=1, merge_contacts=30)
    figures = merge.measure(scale, made)
    url = made.at(made.names[-1])
    assert asyncio.run(violations(url)) == []
    assert [*figures.steps] == [*merge.STEPS]
    assert figures.wal.median > 0
    count = "select count(*) from bitespeed.identity where id <> root_id"
    assert _rows_on_server(url, count) == [(4,)]
    merge.make(url, merge.Case(1_000, 30))
    assert asyncio.run(violations(url)) == []


def test_merge_that_loses_a_contact_leaves_no_figures() -> None:
    case = merge.Case(elder=1, contacts=2)
    contact = {"primaryContatctId": 1, "secondaryContactIds": [2, 3]}
    merge.require_merged(msgspec.json.encode({"contact": contact}), case)
    contact["secondaryContactIds"] = [3]
    with pytest.raises(BenchmarkFailed, match="every contact"):
        merge.require_merged(msgspec.json.encode({"contact": contact}), case)


@pytest.mark.skipif(
    not (shutil.which("wrk") and shutil.which("redis-server") and has_pgbench()),
    reason="needs wrk, pgbench and redis-server, as `make bench`",
)
def test_every_part_on_postgres_is_measured_briefly(server: Postgres, tmp_path: Path) -> None:
    parts = [name for name in PARTS if name.startswith("postgres")]
    done = _bench(
        *(*parts, "--quick", "--rounds", "1", "--big-contacts", "20000", "--merges", "1"),
        *("--postgres", server.url(), "--work-dir", tmp_path / "work"),
        *("--output", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"postgres.{kind}" for kind in ("json", "md", "png")
    }
    found = results.load(tmp_path / "out" / "postgres.json", results.Postgres)
    assert len(postgres_report.rows(found)) == len(done.stdout.splitlines())
    assert all(part is not None for part in msgspec.structs.astuple(found))
