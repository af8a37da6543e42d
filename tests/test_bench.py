"""The benchmarks' own parts, as far as they need neither load nor time; and all that is measured on
PostgreSQL, once, in a rush.
"""

import asyncio
import csv
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
import psycopg
import pytest
from bench import (
    ceilings,
    constant,
    data,
    importing,
    pages,
    processes,
    production,
    report,
    results,
    size,
    soak,
    workloads,
    wrk,
)
from bench.asked import ASKED, at_least
from bench.failure import BenchmarkFailed
from bench.figures import ratios, slope, summarise
from bench.parts import PARTS
from bench.postgres import cache, databases, merge, pgbench, workers
from bench.postgres import ceilings as postgres_ceilings
from bench.postgres import report as postgres_report
from bench.postgres.databases import Databases
from bench.scale import Scale
from bench.workloads import WORKLOADS

from bitespeed import wire
from bitespeed.jobs.check import check
from bitespeed.jobs.import_file import Tally, import_rows, read_rows
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.service.service import Service
from bitespeed.stores import open_store
from support.postgres_server import Postgres
from support.postgres_server import server as postgres_server

ROOT = Path(__file__).parent.parent
NOWHERE = "postgresql://postgres@127.0.0.1:1/postgres"

WRK = """\
Running 1s test @ http://127.0.0.1:8201/identify
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.41ms    1.09ms  16.42ms   88.41%
    Req/Sec    13.53k     1.02k   14.86k    80.00%
  13479 requests in 1.00s, 3.10MB read
Requests/sec:  13466.41
Transfer/sec:      3.09MB
RESULT {"requests":13479,"microseconds":1000935,"bytes":3248439,"p50":2240,"p99":6120,\
"status":0,"connect":0,"read":0,"write":0,"timeout":0}
"""


def test_the_figures_of_wrk_are_understood() -> None:
    load = wrk.parse(WRK)
    assert (load.requests, load.p50, load.p99) == (13479, 2240, 6120)
    assert load.rate == pytest.approx(13466.4, abs=0.1)


@pytest.mark.parametrize("failure", ["status", "connect", "read", "write", "timeout"])
def test_a_single_failure_leaves_no_figures(failure: str) -> None:
    with pytest.raises(BenchmarkFailed, match=f"1 x {failure}"):
        wrk.parse(WRK.replace(f'"{failure}":0', f'"{failure}":1'))


def test_wrk_that_saw_no_answer_leaves_no_figures() -> None:
    with pytest.raises(BenchmarkFailed, match="none was"):
        wrk.parse(WRK.replace('"requests":13479', '"requests":0'))


def test_wrk_that_did_not_start_is_quoted() -> None:
    with pytest.raises(BenchmarkFailed, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_missing_wrk_is_told_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchmarkFailed, match="apt-get install wrk"):
        wrk.require()


PGBENCH = """\
pgbench (15.20 (Debian 15.20-0+deb12u1))
transaction type: select.pgbench
scaling factor: 1
query mode: simple
number of clients: 32
number of threads: 1
maximum number of tries: 1
duration: 1 s
number of transactions actually processed: 37130
number of failed transactions: 0 (0.000%)
latency average = 0.771 ms
initial connection time = 109.010 ms
tps = 41531.761328 (without initial connection time)
"""

PGBENCH_13 = """\
number of transactions actually processed: 37130
latency average = 0.862 ms
tps = 37129.153219 (including connections establishing)
tps = 41531.761328 (excluding connections establishing)
"""


@pytest.mark.parametrize("output", [PGBENCH, PGBENCH_13])
def test_the_rate_of_pgbench_is_that_without_the_time_to_connect(output: str) -> None:
    assert pgbench.parse(output) == pytest.approx(41531.76, abs=0.01)


def test_a_single_failed_transaction_leaves_no_figures() -> None:
    with pytest.raises(BenchmarkFailed, match="Not every transaction"):
        pgbench.parse(PGBENCH.replace("transactions: 0 (0.000%)", "transactions: 1 (0.003%)"))


@pytest.mark.parametrize(
    "output", [PGBENCH.replace("tps = 41531.761328", "tps = 0.000000"), "connection refused"]
)
def test_pgbench_that_did_nothing_is_quoted(output: str) -> None:
    with pytest.raises(BenchmarkFailed, match=r"initial connection time|connection refused"):
        pgbench.parse(output)


def test_pgbench_that_fails_is_quoted() -> None:
    if not _has_pgbench():
        pytest.skip("needs pgbench")
    with pytest.raises(BenchmarkFailed, match=r"pgbench failed:.*127\.0\.0\.1"):
        pgbench.run("repeats", NOWHERE, seconds=1)


def test_missing_pgbench_is_told_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(pgbench, "DEBIAN", tmp_path)
    with pytest.raises(BenchmarkFailed, match="apt-get install postgresql"):
        pgbench.require()
    for version in ("9.6", "15", "14"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "pgbench").touch()
    assert pgbench.require() == tmp_path / "15" / "bin" / "pgbench"


def _has_pgbench() -> bool:
    try:
        pgbench.require()
    except BenchmarkFailed:
        return False
    return True


def _bench(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("url", "told"),
    [(NOWHERE, "There is no PostgreSQL server to measure"), ("here", "takes a URL such as")],
)
def test_a_missing_server_is_told_before_anything_is_measured(url: str, told: str) -> None:
    done = _bench("imports", "postgres-merge", "--quick", "--postgres", url)
    assert done.returncode == 1
    assert f"bench: {told}" in done.stderr.replace("--postgres takes", "takes")
    assert "Traceback" not in done.stderr
    assert "imports ..." not in done.stderr


def test_an_unknown_part_is_told() -> None:
    done = _bench("postgres-sise")
    assert (done.returncode, "no part postgres-sise" in done.stderr) == (1, True)


def test_few_values_are_summarised_by_their_extremes() -> None:
    summary = summarise([3.0, 1.0, 2.0])
    assert (summary.median, summary.low, summary.high, summary.count) == (2.0, 1.0, 3.0, 3)


def test_many_values_are_summarised_by_their_middle_half() -> None:
    summary = summarise([float(n) for n in range(1, 10)])
    assert (summary.median, summary.low, summary.high) == (5.0, 3.0, 7.0)
    assert (summary.least, summary.most) == (1.0, 9.0)


def test_ratios_compare_neighbours_alone() -> None:
    assert ratios([1.0, 10.0], [2.0, 20.0]) == [0.5, 0.5]


def test_slope_is_that_of_the_line() -> None:
    assert slope([0.0, 1.0, 2.0], [5.0, 7.0, 9.0]) == pytest.approx(2.0)


def _identify(server: processes.Server, key: str | None) -> tuple[bytes, str]:
    """The answer, and the id of the request."""
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    body = b'{"email":"c10000010000@example.com","phoneNumber":"10000010000"}'
    with urlopen(Request(server.url, body, headers)) as response:
        return response.read(), response.headers["x-request-id"]


def test_the_bare_service_gives_the_same_answers_and_goes_without_what_it_is_compared_with(
    tmp_path: Path,
) -> None:
    found: dict[str, tuple[bytes, str, str]] = {}
    for name, serve in (("bare", processes.bare_service), ("whole", processes.service)):
        database = data.url(tmp_path / f"{name}.db")
        key = processes.create_key(database)
        with serve(database, tmp_path) as server:
            answer, id_ = _identify(server, None if name == "bare" else key)
            if name == "whole":
                with pytest.raises(HTTPError, match="401"):
                    _identify(server, None)
        log = (tmp_path / f"server-{server.port}.log").read_text()
        found[name] = answer, id_, log
    assert found["bare"][0] == found["whole"][0]
    assert [bool(id_) for _, id_, _ in found.values()] == [False, True]
    assert ["contact.created" in log for _, _, log in found.values()] == [False, True]


def test_the_ceiling_answers_as_many_bytes_as_the_service() -> None:
    email, phone = data.customer(10_000)
    observation = observe(email, phone)
    assert observation.email is not None
    assert observation.phone is not None
    answer = Answer(10_000, [observation.email], [observation.phone], [])
    assert wire.encode(answer) == constant.BODY


def test_no_two_runs_share_a_new_customer() -> None:
    firsts = [workloads.arguments_of(w, run)[-1] for run in range(1, 500) for w in ("new",)]
    assert all(later - first >= 10**8 for first, later in itertools.pairwise(firsts))
    assert len({len(phone) for first in firsts for _, phone in [data.customer(first)]}) == 1


def test_rows_of_an_import_have_the_shares_promised_and_come_again_with_their_seed() -> None:
    rows = list(data.mixed_rows(10_000, seed=7))
    assert rows == list(data.mixed_rows(10_000, seed=7))
    emails, phones = ({row[position] for row in rows} for position in (0, 1))
    assert len(phones) == pytest.approx(7_000, rel=0.05)
    assert len(emails) == pytest.approx(8_000, rel=0.05)
    assert len(set(rows)) == len(emails)


def _rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def _violations(url: str) -> list[object]:
    store = await open_store(url)
    try:
        return [*await check(store)]
    finally:
        await store.close()


async def _as_the_service_would(url: str, contacts: int) -> None:
    """Send what fill.sql says was sent, one request at a time."""
    store = await open_store(url)
    service = Service(store)
    for number in range(1, contacts + 1):
        email, phone = data.customer(number)
        phone_of = number - 1 if number % data.LINKED == 0 else number
        await service.identify(observe(email, data.customer(phone_of)[1]))
        if number % 10 == 8:
            await service.identify(observe(data.customer(number - 1)[0], phone))
    await service.drain()
    await store.close()


@pytest.mark.parametrize(
    "query",
    [
        "select id, tenant, root_id, primary_id, contacts, version from identity order by id",
        """select id, tenant, identity_id, email, phone, raw_email, raw_phone, deleted_at
           from contact_record order by id""",
        "select tenant, kind, value, identity_id from identifier order by 1, 2, 3",
        """select seq, tenant, kind, identity_id, version, contact_id, merged_id, email, phone
           from event order by seq""",
        "select name, seq from sqlite_sequence order by name",
    ],
)
def test_a_filled_database_is_what_the_service_would_have_written(
    tmp_path: Path, query: str
) -> None:
    data.fill(tmp_path / "filled.db", 40)
    asyncio.run(_as_the_service_would(data.url(tmp_path / "served.db"), 40))
    assert _rows(tmp_path / "filled.db", query) == _rows(tmp_path / "served.db", query)


def test_a_filled_database_keeps_the_invariants(tmp_path: Path) -> None:
    filled = data.filled(tmp_path, 1_000)
    assert asyncio.run(_violations(filled.url)) == []
    assert data.filled(tmp_path, 1_000) == filled
    (path,) = tmp_path.iterdir()
    assert _rows(path, "select count(*) from contact_record") == [(1_000,)]


def test_a_disk_that_is_too_small_is_told_before_it_is_full(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="--work-dir"):
        data.filled(tmp_path, 10**15)


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


def test_databases_on_a_server_are_dropped_whatever_happens(server: Postgres) -> None:
    urls: list[str] = []
    with pytest.raises(BenchmarkFailed, match="PostgreSQL refused: relation"):
        _fail_in_a_new_database(server, urls)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        databases.connect(urls[0])


def test_a_filled_database_on_a_server_is_kept_for_the_next_run_if_asked(server: Postgres) -> None:
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
    asyncio.run(_as_the_service_would(served, 40))
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
        """select seq, is_told, tenant, kind, identity_id, version, contact_id, merged_id, email,
                  phone
           from bitespeed.event order by seq""",
        "select last_value, is_called from bitespeed.contact_id",
        "select nextval(pg_get_serial_sequence('bitespeed.event', 'seq'))",
    ],
)
def test_a_filled_database_on_a_server_is_what_the_service_would_have_written(
    filled_and_served: tuple[str, str], query: str
) -> None:
    filled, served = filled_and_served
    assert _rows_on_server(filled, query) == _rows_on_server(served, query)


def test_a_filled_database_on_a_server_keeps_the_invariants(made: Databases) -> None:
    assert asyncio.run(_violations(made.filled(1_000).url)) == []


def test_what_is_to_be_merged_keeps_the_invariants_before_and_after(
    made: Databases, tmp_path: Path
) -> None:
    scale = replace(Scale(tmp_path), merges=1, merge_contacts=30)
    figures = merge.measure(scale, made)
    url = made.at(made.names[-1])
    assert asyncio.run(_violations(url)) == []
    assert [*figures.steps] == [*merge.STEPS]
    assert figures.wal.median > 0
    count = "select count(*) from bitespeed.identity where id <> root_id"
    assert _rows_on_server(url, count) == [(4,)]
    merge.make(url, merge.Case(1_000, 30))
    assert asyncio.run(_violations(url)) == []


def test_a_merge_that_forgets_somebody_leaves_no_figures() -> None:
    case = merge.Case(elder=1, contacts=2)
    told = {"primaryContatctId": 1, "secondaryContactIds": [2, 3]}
    merge.require_merged(msgspec.json.encode({"contact": told}), case)
    told["secondaryContactIds"] = [3]
    with pytest.raises(BenchmarkFailed, match="every contact"):
        merge.require_merged(msgspec.json.encode({"contact": told}), case)


@pytest.mark.skipif(
    not (shutil.which("wrk") and shutil.which("redis-server") and _has_pgbench()),
    reason="needs wrk, pgbench and redis-server, as `make bench`",
)
def test_everything_on_a_server_is_measured_in_a_rush(server: Postgres, tmp_path: Path) -> None:
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


def _imported(folder: Path, rows: int) -> Path:
    file, database = folder / "rows.csv", folder / "imported.db"
    data.write_csv(file, data.mixed_rows(rows, seed=1))
    asyncio.run(_import(file, database))
    return database


async def _import(file: Path, database: Path) -> None:
    store = await open_store(f"sqlite:///{database}")
    with file.open("rb") as stream:
        await import_rows(
            Service(store),
            read_rows(stream),
            None,
            Tally(),
            on_reject=lambda _: pytest.fail("rejected"),
            on_chunk=lambda _: None,
        )
    await store.close()


def test_the_ceiling_of_an_import_writes_the_very_rows(tmp_path: Path) -> None:
    database, copy = _imported(tmp_path, 2_000), tmp_path / "copy.db"
    with importing.Written(database) as written:
        written.copy(copy, commits=7)
        contacts = written.require_copied(copy)
    assert contacts == len(_rows(database, "select 1 from contact_record"))
    for table in importing.TABLES:
        every = f"select * from {table} order by 1, 2, 3"
        assert _rows(copy, every) == _rows(database, every)
    assert asyncio.run(_violations(data.url(copy))) == []


def test_an_import_file_has_a_header_that_the_import_knows(tmp_path: Path) -> None:
    data.write_csv(tmp_path / "rows.csv", data.customers(2))
    with (tmp_path / "rows.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["email", "phoneNumber"]
    assert [tuple(row) for row in rows] == [data.customer(1), data.customer(2)]


SOME = summarise([1.0, 2.0, 3.0])
SIZES = size.Sizes(10, 1000, 10**6, dict.fromkeys((1, 32), size.Comparison(SOME, SOME, SOME)))


@pytest.fixture
def measured() -> results.Sqlite:
    """Results as if all had been measured."""
    comparison = ceilings.Comparison(SOME, SOME, SOME, SOME, SOME, 0.5, SOME, SOME, 242.0, 242.0)
    machine = results.this_machine()
    memory = [50.0 + n for n in range(10)]
    return results.Sqlite(
        results.Part("2024-02-29", machine, dict.fromkeys(WORKLOADS, comparison)),
        results.Part("2024-02-29", machine, importing.Comparison(10, 8, SOME, SOME, SOME, SOME)),
        results.Part("2024-02-29", machine, SIZES),
        results.Part(
            "2024-03-01",
            machine,
            soak.summary(2.0, 1.0, wrk.parse(WRK), 7, [float(n) for n in range(10)], memory),
        ),
        results.Part(
            "2024-02-29",
            machine,
            dict.fromkeys(production.WORKLOADS, production.Comparison(*[SOME] * 6)),
        ),
    )


@pytest.fixture
def measured_on_server() -> results.Postgres:
    """The same for PostgreSQL."""
    machine = results.this_machine("PostgreSQL 15.20, fsync on")
    names = (postgres_ceilings.PGBENCH, postgres_ceilings.PREPARED, postgres_ceilings.CONSTANT)
    beside = dict.fromkeys(names, postgres_ceilings.Beside(SOME, SOME))
    comparison = postgres_ceilings.Comparison(SOME, beside, SOME, SOME, SOME)
    by_workers = dict.fromkeys(workers.WORKERS, SOME)
    scaling = workers.Scaling(by_workers, by_workers)
    steps = dict.fromkeys(merge.STEPS, SOME)
    return results.Postgres(
        results.Part("2024-02-29", machine, dict.fromkeys(WORKLOADS, comparison)),
        results.Part("2024-02-29", machine, dict.fromkeys(WORKLOADS, scaling)),
        results.Part("2024-02-29", machine, SIZES),
        results.Part("2024-02-29", machine, merge.Merge(30, 1000, SOME, SOME, SOME, steps)),
        results.Part("2024-02-29", machine, cache.Cached(*[SOME] * 8)),
    )


def test_results_are_kept(
    tmp_path: Path, measured: results.Sqlite, measured_on_server: results.Postgres
) -> None:
    for found in (measured, measured_on_server):
        pages.write(found, tmp_path)
        assert pages.read(type(found), tmp_path) == found
        assert pages.read(type(found), tmp_path / "nowhere") == type(found)()


def test_the_report_has_a_row_for_each_figure_and_says_where_they_are_from(
    measured: results.Sqlite, measured_on_server: results.Postgres
) -> None:
    page = report.page(measured)
    assert page.count("\n| ") == 1 + len(report.rows(measured))
    assert f"2024-02-29, {measured.ceilings.machine.cpu}" in page
    page = postgres_report.page(measured_on_server)
    assert page.count("\n| ") == 1 + len(postgres_report.rows(measured_on_server))
    assert "PostgreSQL 15.20, fsync on." in page
    assert "SQLite" not in page


def test_whatever_is_asked_has_a_row(
    measured: results.Sqlite, measured_on_server: results.Postgres
) -> None:
    rows = [*report.rows(measured), *postgres_report.rows(measured_on_server)]
    keys = [row.key for row in rows]
    assert len(keys) == len(set(keys))
    assert {*ASKED} <= {*keys}


def test_the_report_says_what_is_missed(
    measured: results.Sqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ASKED, "repeats-cpu", at_least(0.5))
    monkeypatch.setitem(ASKED, "new-cpu", at_least(0.6))
    asked = {row.key: row.asked() for row in report.rows(measured)}
    assert asked["repeats-cpu"] == "at least 50 %"
    assert asked["new-cpu"] == "at least 60 % (missed)"


def test_the_soak_starts_after_its_warm_up(measured: results.Sqlite) -> None:
    assert measured.soak is not None
    assert measured.soak.figures.start == 51.0
    assert measured.soak.figures.slope == pytest.approx(60.0)
    assert "51.0 MiB after 1 s" in report.soak_page(measured.soak)


def test_charts_are_drawn_of_what_was_measured(
    tmp_path: Path, measured: results.Sqlite, measured_on_server: results.Postgres
) -> None:
    pages.write(results.Postgres(), tmp_path)
    assert not [*tmp_path.iterdir()]
    pages.write(measured, tmp_path)
    pages.write(measured_on_server, tmp_path)
    charts = {path.name: path.stat().st_size for path in tmp_path.glob("*.png")}
    assert {*charts} == {"sqlite.png", "soak.png", "postgres.png"}
    assert min(charts.values()) > 10_000


@pytest.mark.parametrize("part", ["ceilings", "imports", "size", "production"])
def test_a_part_that_was_measured_alone_has_a_page_of_its_own(
    tmp_path: Path, measured: results.Sqlite, part: str
) -> None:
    pages.write(results.Sqlite(**{part: getattr(measured, part)}), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"sqlite.{kind}" for kind in ("json", "md", "png")
    }


def test_what_is_kept_can_be_read_by_others(measured: results.Sqlite) -> None:
    kept = msgspec.json.decode(msgspec.json.encode(measured))
    assert kept["ceilings"]["figures"]["repeats"]["share"]["median"] == 2.0
