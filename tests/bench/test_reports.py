"""Figures, and the pages and charts that are made of them."""

from pathlib import Path

import msgspec
import pytest

from bench import (
    ceilings,
    importing,
    pages,
    production,
    report,
    results,
    size,
    soak,
    wrk,
)
from bench.figures import ratios, slope, summarise
from bench.postgres import cache, merge, workers
from bench.postgres import ceilings as postgres_ceilings
from bench.postgres import report as postgres_report
from bench.targets import TARGETS, at_least
from bench.workloads import WORKLOADS
from support.benchmarks import WRK_OUTPUT

SOME = summarise([1.0, 2.0, 3.0])
SIZES = size.Sizes(10, 1000, 10**6, dict.fromkeys((1, 32), size.Comparison(SOME, SOME, SOME)))


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
            soak.summary(2.0, 1.0, wrk.parse(WRK_OUTPUT), 7, [float(n) for n in range(10)], memory),
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


def test_results_are_read_as_they_were_written(
    tmp_path: Path, measured: results.Sqlite, measured_on_server: results.Postgres
) -> None:
    for found in (measured, measured_on_server):
        pages.write(found, tmp_path)
        assert pages.read(type(found), tmp_path) == found
        assert pages.read(type(found), tmp_path / "nowhere") == type(found)()


def test_report_has_its_machine_and_every_figure(
    measured: results.Sqlite, measured_on_server: results.Postgres
) -> None:
    page = report.page(measured)
    assert page.count("\n| ") == 1 + len(report.rows(measured))
    assert f"2024-02-29, {measured.ceilings.machine.cpu}" in page
    page = postgres_report.page(measured_on_server)
    assert page.count("\n| ") == 1 + len(postgres_report.rows(measured_on_server))
    assert "PostgreSQL 15.20, fsync on." in page
    assert "SQLite" not in page


def test_every_target_has_a_row(
    measured: results.Sqlite, measured_on_server: results.Postgres
) -> None:
    rows = [*report.rows(measured), *postgres_report.rows(measured_on_server)]
    keys = [row.key for row in rows]
    assert len(keys) == len(set(keys))
    assert {*TARGETS} <= {*keys}


def test_report_marks_missed_targets(
    measured: results.Sqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "repeats-cpu", at_least(0.5))
    monkeypatch.setitem(TARGETS, "new-cpu", at_least(0.6))
    targets = {row.key: row.target() for row in report.rows(measured)}
    assert targets["repeats-cpu"] == "at least 50 %"
    assert targets["new-cpu"] == "at least 60 % (missed)"


def test_figures_of_the_soak_begin_after_its_warm_up(measured: results.Sqlite) -> None:
    assert measured.soak is not None
    assert measured.soak.figures.start == 51.0
    assert measured.soak.figures.slope == pytest.approx(60.0)
    assert "51.0 MiB after 1 s" in report.soak_page(measured.soak)


def test_charts_are_drawn_only_of_measured_parts(
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
def test_part_measured_alone_gets_a_page(
    tmp_path: Path, measured: results.Sqlite, part: str
) -> None:
    pages.write(results.Sqlite(**{part: getattr(measured, part)}), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"sqlite.{kind}" for kind in ("json", "md", "png")
    }


def test_results_are_plain_json(measured: results.Sqlite) -> None:
    kept = msgspec.json.decode(msgspec.json.encode(measured))
    assert kept["ceilings"]["figures"]["repeats"]["share"]["median"] == 2.0
