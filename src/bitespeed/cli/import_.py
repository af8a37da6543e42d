"""``bitespeed import``."""

import asyncio
import csv
import io
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Self, TextIO

import click

from bitespeed.cli.common import (
    INTERRUPTED,
    as_json,
    awaiting,
    counted,
    database,
    err,
    opened,
    region,
    tenant,
)
from bitespeed.cli.private_file import PrivateFile
from bitespeed.cli.progress import Bar, progress_bar
from bitespeed.errors import InvalidInput
from bitespeed.jobs.csv_cells import escaped
from bitespeed.jobs.import_file import Columns, Reject, Tally, import_rows, read_rows
from bitespeed.jobs.sorted_rows import SortedRows
from bitespeed.model.sources import IMPORT, Source
from bitespeed.settings import Settings
from bitespeed.wire.instants import parse_instant


@click.command("import", short_help="Identify every row of a CSV or NDJSON file.")
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False, exists=True))
@click.option("--email-column", metavar="NAME", help="[default: email]")
@click.option(
    "--phone-column", metavar="NAME", help="[default: phoneNumber, phone_number or phone]"
)
@click.option(
    "--date-column", metavar="NAME", help="[default: createdAt, created_at, date or timestamp]"
)
@click.option(
    "--ignore-dates", is_flag=True, help="Take the rows in the order of the file, as of now."
)
@click.option(
    "--since",
    metavar="TIME",
    help="Leave out rows from before this time, such as 2026-11-22 or 2026-11-22T09:30:00Z.",
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, writable=True),
    help="File for rows that cannot be imported.  [default: FILE.rejects.csv]",
)
@as_json
@tenant
@database
@region
@awaiting
async def import_(
    file: str,
    email_column: str | None,
    phone_column: str | None,
    date_column: str | None,
    ignore_dates: bool,
    since: str | None,
    rejects: str | None,
    as_json: bool,
    tenant: str,
    database: str | None,
    region: str | None,
) -> None:
    """Identify every row of FILE, a CSV with a header or NDJSON; - is standard input.

    Rows are imported a few thousand to a commit. The import may be interrupted and run again: rows
    that are there already add nothing. A row that cannot be imported goes to the rejects file, with
    its line number and the reason, and the import goes on; correct it there and import that file.

    With a column of dates (ISO 8601, UTC where a date names no zone), the order of the rows does
    not matter: they are sorted first, in the folder $TMPDIR, and imported oldest first. A new
    contact is as old as its date says, also beside older imports and requests, and the oldest
    contact of a customer is the primary. A date in the future or in another form is a reject. Rows
    without a date come last, as of now. Without dates, rows are imported in their order, as of now.

    FILE may also be what bitespeed export wrote, in either format: a row is then an identity, and
    its emails and phone numbers are together again afterwards. Ids and dates of contacts are not
    carried over. An identity of several emails without a phone number, or the reverse, goes to the
    rejects file, since no observation can join its values.

    Customers who were erased (see bitespeed erase) stay erased: a row that names one is left out,
    unless its date shows that it is from after the erasure. With --since every row needs a date.
    """
    if ignore_dates and (date_column is not None or since is not None):
        raise InvalidInput("--ignore-dates cannot be used with --date-column or --since")
    columns = Columns(email_column, phone_column, date_column, since is not None, ignore_dates)
    begin = parse_instant(since) if since is not None else None
    rejects = rejects or _rejects_of(file)
    tally = Tally()
    async with opened(database, region, tenant) as (service, settings):
        with (
            _input(file) as stream,
            read_rows(stream, columns) as rows,
            _Rejects(_rejects_file(rejects, stream, settings)) as on_reject,
            _progress(stream, rows.dates) as progress,
        ):
            try:
                await import_rows(
                    service,
                    rows,
                    settings.region,
                    tally,
                    since=begin,
                    on_reject=on_reject,
                    on_chunk=progress.on_chunk,
                    on_read=progress.on_read,
                    on_sorting=progress.on_sorting,
                    source=Source(IMPORT + Path(file).name),
                )
            except asyncio.CancelledError:
                err.print(f"Stopped. {tally.rows:,} rows are in; run it again for the rest.")
                raise SystemExit(INTERRUPTED) from None
    _report(tally, rejects, as_json=as_json)


@contextmanager
def _input(file: str) -> Generator[io.BufferedReader]:
    if file == "-":
        with open(sys.stdin.fileno(), "rb", closefd=False) as stream:
            yield stream
    else:
        with Path(file).open("rb") as stream:
            yield stream


def _rejects_of(file: str) -> str:
    """The rejects file beside the imported one, or in this folder for a pipe."""
    return f"{file}.rejects.csv" if Path(file).is_file() else "import.rejects.csv"


class _Rejects:
    """Writes a CSV of rejects that can be corrected and imported; no file without a reject.

    Also when the import stops: a file of an earlier run never stays as if it were this one's.
    """

    def __init__(self, file: PrivateFile) -> None:
        self._file = file
        self._stream: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __call__(self, reject: Reject) -> None:
        if self._stream is None:
            self._stream = self._file.open()
            csv.writer(self._stream).writerow(Reject._fields)
        csv.writer(self._stream).writerow(map(escaped, reject))

    def __exit__(self, *_: object) -> None:
        self._file.publish()


def _rejects_file(path: str, imported: io.BufferedReader, settings: Settings) -> PrivateFile:
    """Where rejects go. Raises `InvalidInput` where they would replace what must stay."""
    file = PrivateFile(path, "rejects file")
    file.refuse(os.fstat(imported.fileno()), "the imported file")
    database = Path(settings.database.removeprefix("sqlite:///"))
    if database.is_file():
        file.refuse(database.stat(), "the database")
    return file


@contextmanager
def _progress(stream: io.BufferedReader, dates: str | None) -> Generator["_Progress"]:
    with progress_bar("importing", "rows") as bar:
        yield _Progress(bar, stream, dates)


class _Progress:
    """Shows a bar by bytes read, with the count of rows; by rows where those are sorted first, and
    without an end for a pipe.
    """

    def __init__(self, bar: Bar, stream: io.BufferedReader, dates: str | None) -> None:
        self._bar = bar
        self._stream = stream
        self._size = os.fstat(stream.fileno()).st_size if stream.seekable() else None
        self._dates = dates
        self._rows_to_sort = 0

    def on_read(self, rows: int) -> None:
        self._rows_to_sort = rows
        self._show_read("reading", rows)

    def on_sorting(self, rows: SortedRows) -> None:
        if rows.dated:
            err.print(
                f"{counted(rows.dated, 'row')} in the order of {self._dates}, the oldest first"
                + (f", then {rows.undated:,} without a date" if rows.undated else "")
            )
            self._bar.show_step("sorting", 0, None)

    def on_chunk(self, tally: Tally) -> None:
        if self._rows_to_sort:
            self._bar.show_step("importing", tally.rows, self._rows_to_sort)
        else:
            self._show_read("importing", tally.rows)

    def _show_read(self, step: str, rows: int) -> None:
        done = rows if self._size is None else self._stream.tell()
        self._bar.show_step(step, done, self._size, rows)


def _report(tally: Tally, rejects: str, *, as_json: bool) -> None:
    counts = asdict(tally)
    if as_json:
        click.echo(json.dumps(counts))
        return
    click.echo(
        f"{counted(tally.rows, 'row')}: {counted(tally.primaries, 'new customer')},"
        f" {counted(tally.secondaries, 'new contact')} of known ones,"
        f" {counted(tally.merges, 'merge')}, {counted(tally.pairs, 'new pair')} of known values,"
        f" {tally.repeats:,} with nothing new,"
        + (f" {tally.older:,} from before that time," if tally.older else "")
        + (f" {tally.erased:,} of customers erased since," if tally.erased else "")
        + f" {tally.rejected:,} rejected"
        + (f" (see {rejects})" if tally.rejected else "")
    )
