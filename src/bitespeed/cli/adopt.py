"""``bitespeed adopt``."""

import csv
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

import click
from rich.console import Console
from rich.table import Table

from bitespeed.cli.common import (
    INTERRUPTED,
    as_json,
    counted,
    database,
    err,
    load,
    region,
    reporting_errors,
    tenant,
)
from bitespeed.cli.private_file import PrivateFile
from bitespeed.cli.progress import progress_bar
from bitespeed.errors import InvalidInput
from bitespeed.extras import extra
from bitespeed.tenant import tenant_name

if TYPE_CHECKING:  # psycopg is an extra
    from bitespeed.stores.postgres.bulk.adopt import Adopted
    from bitespeed.stores.postgres.bulk.adopt.repairs import Repair

MAX_PRINTED = 20  # repairs; if there are more, they are in the report file only


@click.command(short_help="Take over an existing contact table.")
@click.option(
    "--table",
    default="public.contact",
    show_default=True,
    help="The table, as SQL names it: one with capital letters needs double quotes.",
)
@click.option(
    "--time-zone",
    metavar="NAME",
    help="Time zone of the table's times without a zone, such as UTC.  [default: the database's]",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@click.option(
    "--drop-foreign-keys", is_flag=True, help="Drop foreign keys of other tables on this one."
)
@click.option(
    "--keep-extra-columns",
    is_flag=True,
    help="Show columns beyond the published ones in the view, from the old table.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, writable=True),
    default="adopt.report.csv",
    show_default=True,
    help="File for every repair, by ids: CSV, or NDJSON for a name that ends in .ndjson.",
)
@tenant
@as_json
@database
@region
@reporting_errors
def adopt(
    report: str, as_json: bool, database: str | None, region: str | None, **flags: Any
) -> None:
    """Take over an existing contact table, and leave a view in its place.

    Stop what writes to the table first, and try --dry-run, which only reads. Ids, ages and
    deletions are kept. What races left behind is repaired: two primaries for one customer, chains
    of links, blanks, values in several spellings. Everything happens in one transaction that
    locks the table; if it is interrupted, nothing has changed. The old table is kept as
    bitespeed.adopted_contact.
    """
    settings = load(database=database, region=region)
    if not settings.database.startswith(("postgresql://", "postgres://")):
        raise InvalidInput("Only a table in PostgreSQL can be adopted: --database postgresql://...")
    with extra("postgres"):
        from bitespeed.stores.postgres.bulk.adopt import AdoptOptions
        from bitespeed.stores.postgres.bulk.adopt import adopt as adopt_table
    tenant_name(flags["tenant"])
    adopt_options = AdoptOptions(region=settings.region, **flags)
    try:
        with _Report(Path(report)) as repairs, progress_bar("waiting for the table") as bar:
            adopted = adopt_table(
                settings.database, settings.options, adopt_options, repairs, bar.show_step
            )
    except KeyboardInterrupt:
        err.print(
            "Stopped. Run it again: unless it says that the table is adopted, nothing has changed."
        )
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        click.echo(json.dumps(_summary(adopted, repairs, dry_run=adopt_options.dry_run)))
    elif adopted is None:
        click.echo(f"{adopt_options.table} has been adopted already; there is nothing to do.")
    else:
        _print(adopted, repairs, dry_run=adopt_options.dry_run)


class _Report:
    """Counts the repairs and writes each to a file. The file appears when everything went well
    and there was a repair.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.first: list[Repair] = []
        self._file = PrivateFile(str(path), "report")
        self._stream: TextIO | None = None
        self._is_csv = path.suffix not in (".ndjson", ".jsonl")

    def __enter__(self) -> Self:
        return self

    def __call__(self, repair: "Repair") -> None:
        self.counts[repair.kind] += 1
        if len(self.first) <= MAX_PRINTED:
            self.first.append(repair)
        stream = self._stream or self._open()
        if self._is_csv:
            ids = " ".join(map(str, repair.contacts))
            csv.writer(stream).writerow([repair.kind, ids, repair.what])
        else:
            stream.write(json.dumps(repair._asdict()) + "\n")

    def _open(self) -> TextIO:
        self._stream = self._file.open()
        if self._is_csv:
            csv.writer(self._stream).writerow(["kind", "contacts", "what"])
        return self._stream

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._file.publish()
        else:
            self._file.discard()


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
        f"{adopted.table}: {counted(adopted.contacts, 'contact')},"
        f" {adopted.deleted:,} of them deleted, {'would become' if dry_run else 'became'}"
        f" {counted(adopted.identities, 'identity', 'identities')}"
    )
    click.echo(f"Times without a zone were read as of {adopted.time_zone}")
    for note in adopted.notes:
        click.echo(note)
    table = Table.grid(padding=(0, 2))
    for kind, meaning in KINDS.items():
        if repairs.counts[kind]:
            table.add_row(kind, f"{repairs.counts[kind]:,}", meaning)
    Console(highlight=False, markup=False).print(table)
    if len(repairs.first) <= MAX_PRINTED:
        for repair in repairs.first:
            click.echo(
                f"{repair.kind}: contact {', '.join(map(str, repair.contacts))}: {repair.what}"
            )
    if repairs.first:
        click.echo(f"Every repair is in {repairs.path}")
    if dry_run:
        click.echo("Nothing has been changed.")
