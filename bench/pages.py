"""The files in docs/benchmarks: for each store its figures, a page and charts; and the soak."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench import charts, report, results
from bench.charts import Panel
from bench.postgres import charts as postgres_charts
from bench.postgres import report as postgres_report
from bench.results import Postgres, Results, Sqlite
from bench.table import Row


class Page(NamedTuple):
    """The files called ``name``, and what is in them."""

    name: str
    rows: Callable[[Any], list[Row]]
    text: Callable[[Any], str]
    panels: Callable[[Any], list[Panel]]


PAGES: dict[type[Results], Page] = {
    Sqlite: Page("sqlite", report.rows, report.page, charts.panels),
    Postgres: Page("postgres", postgres_report.rows, postgres_report.page, postgres_charts.panels),
}


def read(kind: type[Results], folder: Path) -> Results:
    """The figures that were written there; none where none were."""
    return results.load(folder / f"{PAGES[kind].name}.json", kind)


def write(found: Results, folder: Path) -> None:
    """Write all that the results give; nothing where nothing was ever measured."""
    if found == type(found)():
        return
    name, rows, text, panels = PAGES[type(found)]
    folder.mkdir(parents=True, exist_ok=True)
    results.save(found, folder / f"{name}.json")
    if rows(found):
        (folder / f"{name}.md").write_text(text(found), encoding="utf-8")
        charts.draw(panels(found), folder / f"{name}.png")
    if isinstance(found, Sqlite) and found.soak is not None:
        (folder / "soak.md").write_text(report.soak_page(found.soak), encoding="utf-8")
        charts.draw_soak(found.soak.figures, folder / "soak.png")


def summary_lines(found: Results) -> list[str]:
    """The figures in lines to be printed."""
    lines = [
        f"{row.what}: {row.measured.replace('**', '')}; {row.spread}"
        for row in PAGES[type(found)].rows(found)
    ]
    if isinstance(found, Sqlite) and found.soak is not None:
        lines.append(report.soak_line(found.soak.figures))
    return lines
