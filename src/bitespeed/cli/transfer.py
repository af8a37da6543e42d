"""``bitespeed import`` and ``bitespeed export``."""

import asyncio
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Self, TextIO

import click
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bitespeed import settings as settings_of
from bitespeed import wire
from bitespeed.cli.common import (
    INTERRUPTED,
    as_json,
    awaiting,
    database,
    err,
    opened,
    region,
    tenant,
)
from bitespeed.errors import InvalidInput
from bitespeed.jobs.import_file import Columns, Reject, Tally, import_rows, instant, read_rows
from bitespeed.model.identity import Answer, Contact
from bitespeed.model.records import IdentityRecords
from bitespeed.rules.identify import consolidate
from bitespeed.service.service import DEFAULT_TENANT
from bitespeed.stores import open_store


@click.command("import", short_help="Identify every row of a CSV or NDJSON file.")
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False, exists=True))
@click.option("--email-column", metavar="NAME", help="[default: email]")
@click.option(
    "--phone-column", metavar="NAME", help="[default: phoneNumber, phone_number or phone]"
)
@click.option("--date-column", metavar="NAME", help="[default: createdAt, created_at or date]")
@click.option(
    "--since",
    metavar="TIME",
    help="Leave out rows from before this time, such as 2026-11-22 or 2026-11-22T09:30:00Z.",
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, writable=True),
    help="Where rows that cannot be understood go.  [default: FILE.rejects.csv]",
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
    since: str | None,
    rejects: str | None,
    as_json: bool,
    tenant: str,
    database: str | None,
    region: str | None,
) -> None:
    """Identify every row of FILE, a CSV with a header or NDJSON; - is standard input.

    Rows are taken in their order, a few thousand to a commit. It may be interrupted and run
    again: rows that are there already add nothing. A row that cannot be understood goes to
    the rejects file with its line number and the reason, and stops nothing; correct it there
    and import that file.

    Who was erased (see bitespeed erase) stays so: a row that names them is left out, unless its
    date tells that it is from after that. With --since every row needs a date.
    """
    columns = Columns(email_column, phone_column, date_column, needs_date=since is not None)
    begin = instant(since) if since is not None else None
    async with opened(database, region, tenant) as (service, settings):
        with ExitStack() as stack:
            stream = stack.enter_context(_input(file))
            on_reject = stack.enter_context(_Rejects(rejects or _beside(file)))
            on_chunk = stack.enter_context(_progress(stream))
            rows = read_rows(stream, columns)
            tally = Tally()
            try:
                await import_rows(
                    service,
                    rows,
                    settings.region,
                    tally,
                    since=begin,
                    on_reject=on_reject,
                    on_chunk=on_chunk,
                )
            except asyncio.CancelledError:
                err.print(
                    f"Stopped. The first {tally.rows:,} rows are in; run it again for the rest."
                )
                raise SystemExit(INTERRUPTED) from None
        _report(tally, rejects or _beside(file), as_json=as_json)


@contextmanager
def _input(file: str) -> Generator[io.BufferedReader]:
    if file == "-":
        with open(sys.stdin.fileno(), "rb", closefd=False) as stream:
            yield stream
    else:
        with Path(file).open("rb") as stream:
            yield stream


def _beside(file: str) -> str:
    """The file itself may be a pipe, which has nothing beside it."""
    return f"{file}.rejects.csv" if Path(file).is_file() else "import.rejects.csv"


class _Rejects:
    """A CSV of rejects that can be corrected and imported; no file while there are none."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._stream: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __call__(self, reject: Reject) -> None:
        if self._stream is None:
            self._stream = self._path.open("w", encoding="utf-8", errors="replace", newline="")
            csv.writer(self._stream).writerow(Reject._fields)
        csv.writer(self._stream).writerow(reject)

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()


@contextmanager
def _progress(stream: io.BufferedReader) -> Generator[Callable[[Tally], None]]:
    """A bar by bytes read, with the rate in rows; by rows alone where the size is unknown."""
    size = os.fstat(stream.fileno()).st_size if stream.seekable() else None
    rate = TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s")
    columns = BarColumn(), TaskProgressColumn(), rate, TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("", total=size, rows=0, rate=0.0)

        def show(tally: Tally) -> None:
            elapsed = progress.tasks[0].elapsed or 1.0
            position = stream.tell() if size is not None else 0
            progress.update(task, completed=position, rows=tally.rows, rate=tally.rows / elapsed)

        yield show


def _report(tally: Tally, rejects: str, *, as_json: bool) -> None:
    counts = {**asdict(tally), "repeats": tally.repeats}
    if as_json:
        click.echo(json.dumps(counts))
        return
    click.echo(
        f"{tally.rows:,} rows: {tally.primaries:,} new customers,"
        f" {tally.secondaries:,} new contacts of known ones, {tally.merges:,} merges,"
        f" {tally.repeats:,} with nothing new,"
        + (f" {tally.older:,} from before that time," if tally.older else "")
        + (f" {tally.erased:,} of people erased since," if tally.erased else "")
        + f" {tally.rejected:,} rejected"
        + (f" (see {rejects})" if tally.rejected else "")
    )


@click.command()
@click.option("--format", "format_", type=click.Choice(["ndjson", "csv"]), help="[default: ndjson]")
@click.option("--email", help="Of the person with this email address alone.")
@click.option("--phone", help="Of the person with this phone number alone.")
@click.option("--contact", type=int, metavar="ID", help="Of the person with this contact alone.")
@click.option(
    "--output", type=click.Path(dir_okay=False, writable=True), help="[default: standard output]"
)
@click.option(
    "--tenant", metavar="SHOP", help="Of this tenant alone.  [default: all; for a person, default]"
)
@database
@region
@awaiting
async def export(
    format_: str | None,
    email: str | None,
    phone: str | None,
    contact: int | None,
    output: str | None,
    tenant: str | None,
    database: str | None,
    region: str | None,
) -> None:
    """Write every identity, or all that is held about one person.

    \b
      bitespeed export > customers.ndjson
      bitespeed export --email mcfly@hillvalley.edu

    Everything is as of one instant, also while a server is running. NDJSON has a line for each
    identity, as POST /identify would answer it. CSV has the columns primary_contact_id, emails,
    phone_numbers and secondary_contact_ids, with blanks between several values.

    With --email, --phone or --contact it is one JSON document, for a person who asks what is
    known: contacts with what was sent and when, deleted ones too, identifiers and events. It is
    what bitespeed erase would remove.
    """  # noqa: D301 - the character \b, by which click keeps lines as they are
    if (email, phone, contact) != (None, None, None):
        if format_ is not None:
            raise InvalidInput("What is held about one person comes as JSON; leave --format out")
        async with opened(database, region, tenant or DEFAULT_TENANT) as (service, settings):
            person = await service.subject_records(
                wire.subject(email, phone, contact, settings.region)
            )
        with click.open_file(output or "-", "wb") as stream:
            stream.write(wire.encode_person(person) + b"\n")
    else:
        await _export_all(format_ or "ndjson", output, tenant, database)


async def _export_all(
    format_: str, output: str | None, tenant: str | None, database: str | None
) -> None:
    settings = settings_of.load({"database": database})
    store = await open_store(settings.database, settings.options)
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(click.open_file(output or "-", "w", encoding="utf-8"))
            write = _ndjson(stream) if format_ == "ndjson" else _csv(stream)
            async with aclosing(store.scan()) as pages:
                async for page in pages:
                    chosen = (i for i in page if tenant is None or _is_of(i, tenant))
                    for answer in filter(None, map(_answer, chosen)):
                        write(answer)
    finally:
        await store.close()


def _ndjson(stream: IO[str]) -> Callable[[Answer], object]:
    return lambda answer: stream.write(wire.encode(answer).decode() + "\n")


def _csv(stream: IO[str]) -> Callable[[Answer], object]:
    writer = csv.writer(stream)
    writer.writerow(["primary_contact_id", "emails", "phone_numbers", "secondary_contact_ids"])
    return lambda answer: writer.writerow(
        [
            answer.primary_id,
            " ".join(answer.emails),
            " ".join(answer.phones),
            " ".join(map(str, answer.secondary_ids)),
        ]
    )


def _is_of(identity: IdentityRecords, tenant: str) -> bool:
    return any(head.tenant == tenant for head in identity.heads)


def _answer(identity: IdentityRecords) -> Answer | None:
    """The answer for a stored identity; None when all of its contacts are deleted."""
    live = [
        Contact(c.id, c.created_at, c.email, c.phone)
        for c in identity.contacts
        if c.deleted_at is None
    ]
    return consolidate(live) if live else None
