"""``bitespeed adopt``."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bitespeed import settings as settings_of
from bitespeed.cli.common import INTERRUPTED, as_json, database, err, region, telling_errors
from bitespeed.errors import InvalidInput
from bitespeed.extras import extra
from bitespeed.model.api_keys import tenant_name
from bitespeed.service.service import DEFAULT_TENANT

if TYPE_CHECKING:  # psycopg is an extra
    from bitespeed.stores.postgres.bulk.adopt import Adopted
    from bitespeed.stores.postgres.bulk.adopt.repairs import Repair

FEW = 20  # repairs that are printed one by one; more are in the report file alone


@click.command(short_help="Take over an existing contact table.")
@click.option(
    "--table",
    default="public.contact",
    show_default=True,
    help="The table, as SQL would name it: one with capitals needs quotes of its own.",
)
@click.option(
    "--tenant", default=DEFAULT_TENANT, show_default=True, help="Whose contacts they become."
)
@click.option(
    "--time-zone",
    metavar="NAME",
    help="In which the table's instants were written, such as UTC.  [default: the database's]",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be done; change nothing.")
@click.option(
    "--drop-foreign-keys", is_flag=True, help="Drop those of other tables that refer to this one."
)
@click.option(
    "--keep-extra-columns",
    is_flag=True,
    help="Let the view show columns beyond the published ones, from the old table.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, writable=True),
    default="adopt.report.csv",
    show_default=True,
    help="Where every repair goes, by ids: CSV, or NDJSON for a name that ends so.",
)
@as_json
@database
@region
@telling_errors
def adopt(
    report: str, as_json: bool, database: str | None, region: str | None, **flags: Any
) -> None:
    """Take over an existing contact table, and leave a view in its place.

    Keeps ids, ages and deletions, and repairs what races left behind: persons twice, chains of
    links, blanks, values in several spellings. Everything happens in one transaction that holds
    the table; interrupted, nothing has changed. Stop what writes to the table first, and try
    --dry-run, which only reads. The table itself is kept as bitespeed.adopted_contact.
    """
    settings = settings_of.load({"database": database, "region": region})
    if not settings.database.startswith(("postgresql://", "postgres://")):
        raise InvalidInput("Only a table in PostgreSQL can be adopted: --database postgresql://...")
    with extra("postgres"):
        from bitespeed.stores.postgres.bulk.adopt import Wishes
        from bitespeed.stores.postgres.bulk.adopt import adopt as adopt_table
    tenant_name(flags["tenant"])
    wishes = Wishes(region=settings.region, **flags)
    try:
        with _Report(Path(report)) as repairs, _progress() as on_step:
            adopted = adopt_table(settings.database, settings.options, wishes, repairs, on_step)
    except KeyboardInterrupt:
        err.print("Stopped. Run it again: either nothing has changed, or it says that it is done.")
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        click.echo(json.dumps(_summary(adopted, repairs, dry_run=wishes.dry_run)))
    elif adopted is None:
        click.echo(f"{wishes.table} has been adopted already; there is nothing to do.")
    else:
        _print(adopted, repairs, dry_run=wishes.dry_run)


class _Report:
    """Counts the repairs and writes each to a file, which is there only if there were any and
    all went well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.first: list[Repair] = []
        self._part = path.with_name(f"{path.name}.part")
        self._stream: TextIO | None = None
        self._is_csv = path.suffix not in (".ndjson", ".jsonl")

    def __enter__(self) -> Self:
        return self

    def __call__(self, repair: "Repair") -> None:
        self.counts[repair.kind] += 1
        if len(self.first) <= FEW:
            self.first.append(repair)
        stream = self._stream or self._open()
        if self._is_csv:
            ids = " ".join(map(str, repair.contacts))
            csv.writer(stream).writerow([repair.kind, ids, repair.what])
        else:
            stream.write(json.dumps(repair._asdict()) + "\n")

    def _open(self) -> TextIO:
        try:
            self._stream = self._part.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise InvalidInput(f"The report {self.path} cannot be written") from error
        if self._is_csv:
            csv.writer(self._stream).writerow(["kind", "contacts", "what"])
        return self._stream

    def __exit__(self, kind: object, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
            if kind is None:
                self._part.replace(self.path)
            else:
                self._part.unlink()


@contextmanager
def _progress() -> Generator[Callable[[str, int, int | None], None]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    columns = *columns, TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("waiting for the table", total=None)

        def show(step: str, done: int, total: int | None) -> None:
            progress.update(task, description=step, completed=done, total=total)

        yield show


def _summary(adopted: "Adopted | None", repairs: _Report, *, dry_run: bool) -> dict[str, Any]:
    if adopted is None:
        return {"already": True}
    return {
        "already": False,
        "dry_run": dry_run,
        **asdict(adopted),
        "repairs": repairs.counts,
        "report": str(repairs.path) if repairs.first else None,
    }


def _print(adopted: "Adopted", repairs: _Report, *, dry_run: bool) -> None:
    from bitespeed.stores.postgres.bulk.adopt.repairs import KINDS

    click.echo(
        f"{adopted.table}: {adopted.contacts:,} contacts, {adopted.deleted:,} of them deleted,"
        f" {'would become' if dry_run else 'are now'} {adopted.identities:,} identities"
    )
    click.echo(f"Instants without a zone were read as of {adopted.time_zone}")
    for note in adopted.notes:
        click.echo(note)
    table = Table.grid(padding=(0, 2))
    for kind, meaning in KINDS.items():
        if repairs.counts[kind]:
            table.add_row(kind, f"{repairs.counts[kind]:,}", meaning)
    Console(highlight=False, markup=False).print(table)
    if len(repairs.first) <= FEW:
        for repair in repairs.first:
            click.echo(
                f"{repair.kind}: contact {', '.join(map(str, repair.contacts))}: {repair.what}"
            )
    if repairs.first:
        click.echo(f"Every repair is in {repairs.path}")
    if dry_run:
        click.echo("Nothing has been changed.")
