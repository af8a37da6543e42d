"""The benchmarks' own parts, as far as they need neither load nor time."""

import asyncio
import csv
import itertools
import sqlite3
from pathlib import Path

import msgspec
import pytest
from bench import ceilings, charts, constant, data, importing, report, results, size, soak, wrk
from bench.asked import ASKED, at_least
from bench.failure import BenchmarkFailed
from bench.figures import ratios, slope, summarise

from bitespeed import wire
from bitespeed.check import check
from bitespeed.identifiers import observe
from bitespeed.identity import Answer
from bitespeed.importing import Tally, import_rows, read_rows
from bitespeed.service import Service
from bitespeed.stores import open_store

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


def test_the_ceiling_answers_as_many_bytes_as_the_service() -> None:
    email, phone = data.customer(10_000)
    observation = observe(email, phone)
    assert observation.email is not None
    assert observation.phone is not None
    answer = Answer(10_000, [observation.email], [observation.phone], [])
    assert wire.encode(answer) == constant.BODY


def test_no_two_runs_share_a_new_customer() -> None:
    firsts = [ceilings.arguments_of(w, run)[-1] for run in range(1, 500) for w in ("new",)]
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


async def _violations(path: Path) -> list[object]:
    store = await open_store(f"sqlite:///{path}")
    try:
        return [*await check(store)]
    finally:
        await store.close()


async def _as_the_service_would(path: Path, contacts: int) -> None:
    """Send what fill.sql says was sent, one request at a time."""
    store = await open_store(f"sqlite:///{path}")
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
    asyncio.run(_as_the_service_would(tmp_path / "served.db", 40))
    assert _rows(tmp_path / "filled.db", query) == _rows(tmp_path / "served.db", query)


def test_a_filled_database_keeps_the_invariants(tmp_path: Path) -> None:
    database = data.filled(tmp_path, 1_000)
    assert asyncio.run(_violations(database)) == []
    assert data.filled(tmp_path, 1_000) == database
    assert _rows(database, "select count(*) from contact_record") == [(1_000,)]


def test_a_disk_that_is_too_small_is_told_before_it_is_full(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="--work-dir"):
        data.filled(tmp_path, 10**15)


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
    assert asyncio.run(_violations(copy)) == []


def test_an_import_file_has_a_header_that_the_import_knows(tmp_path: Path) -> None:
    data.write_csv(tmp_path / "rows.csv", data.customers(2))
    with (tmp_path / "rows.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["email", "phoneNumber"]
    assert [tuple(row) for row in rows] == [data.customer(1), data.customer(2)]


@pytest.fixture
def measured() -> results.Results:
    """Results as if all had been measured."""
    some = summarise([1.0, 2.0, 3.0])
    comparison = ceilings.Comparison(some, some, some, some, some, 0.5, some, some, 242.0, 242.0)
    machine = results.this_machine()
    memory = [50.0 + n for n in range(10)]
    return results.Results(
        results.Part("2024-02-29", machine, dict.fromkeys(ceilings.WORKLOADS, comparison)),
        results.Part("2024-02-29", machine, importing.Comparison(10, 8, some, some, some, some)),
        results.Part(
            "2024-02-29",
            machine,
            size.Sizes(10, 1000, 10**6, dict.fromkeys((1, 32), size.Comparison(some, some, some))),
        ),
        results.Part(
            "2024-03-01",
            machine,
            soak.summary(2.0, 1.0, wrk.parse(WRK), 7, [float(n) for n in range(10)], memory),
        ),
    )


def test_results_are_kept(tmp_path: Path, measured: results.Results) -> None:
    results.save(measured, tmp_path / "sqlite.json")
    assert results.load(tmp_path / "sqlite.json") == measured
    assert results.load(tmp_path / "nothing.json") == results.Results()


def test_the_report_has_a_row_for_each_figure_and_says_where_they_are_from(
    measured: results.Results,
) -> None:
    page = report.page(measured)
    assert page.count("\n| ") == 1 + len(report.rows(measured))
    assert f"2024-02-29, {measured.ceilings.machine.cpu}" in page


def test_the_report_says_what_is_missed(
    measured: results.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ASKED, "repeats-cpu", at_least(0.5))
    monkeypatch.setitem(ASKED, "new-cpu", at_least(0.6))
    asked = {row.key: row.asked() for row in report.rows(measured)}
    assert asked["repeats-cpu"] == "at least 50 %"
    assert asked["new-cpu"] == "at least 60 % (missed)"


def test_the_soak_starts_after_its_warm_up(measured: results.Results) -> None:
    assert measured.soak is not None
    assert measured.soak.figures.start == 51.0
    assert measured.soak.figures.slope == pytest.approx(60.0)
    assert "51.0 MiB after 1 s" in report.soak_page(measured.soak)


def test_charts_are_drawn(tmp_path: Path, measured: results.Results) -> None:
    charts.draw(measured, tmp_path / "sqlite.png")
    assert measured.soak is not None
    charts.draw_soak(measured.soak.figures, tmp_path / "soak.png")
    assert all(path.stat().st_size > 10_000 for path in tmp_path.iterdir())
    charts.draw(results.Results(), tmp_path / "nothing.png")
    assert not (tmp_path / "nothing.png").exists()


def test_what_is_kept_can_be_read_by_others(measured: results.Results) -> None:
    kept = msgspec.json.decode(msgspec.json.encode(measured))
    assert kept["ceilings"]["figures"]["repeats"]["share"]["median"] == 2.0
