"""Bringing many observations in from a file, in bounded memory, safe to interrupt and repeat."""

import asyncio
import csv
import io
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple, TextIO

import msgspec

from bitespeed.errors import InvalidInput
from bitespeed.jobs.csv_cells import unescaped
from bitespeed.jobs.exported_rows import EMAILS, HEADER, PHONES, ExportedRow, exported_row_of
from bitespeed.jobs.sorted_rows import ReadRow, SortedRows
from bitespeed.model.changes import Changes
from bitespeed.model.identifiers import Observation
from bitespeed.model.sources import NO_SOURCE, Source
from bitespeed.service.service import Service
from bitespeed.wire.instants import parse_instant
from bitespeed.wire.observations import convert_observation

CHUNK = 5_000  # rows read, decided and committed together: a few megabytes, a fifth of a second;
# the last exported row may bring as many observations as a line has values
MAX_LINE = 1024 * 1024  # characters of one line of NDJSON; a longer one is no observation

if TYPE_CHECKING:
    from _csv import Reader

_EMAIL_NAMES = ("email", "emailaddress")
_PHONE_NAMES = ("phonenumber", "phone")
_DATE_NAMES = ("createdat", "date", "timestamp")
_DATE_MEMBERS = ("createdAt", "date")


class Columns(NamedTuple):
    """Where to find what; None for the usual names."""

    email: str | None = None
    phone: str | None = None
    date: str | None = None
    needs_date: bool = False
    ignores_dates: bool = False


class Row(NamedTuple):
    """What one line says, before it is understood; ``problem`` when it cannot be read at all."""

    line: int
    email: object
    phone: object
    date: object
    problem: str | None = None


class FileRows(NamedTuple):
    """The rows of a file, and the column that their dates stand in; None if no row has a date."""

    rows: Iterator[Row | ExportedRow]
    dates: str | None = None


class Reject(NamedTuple):
    """A row that was left out, and why."""

    line: int
    reason: str
    email: object
    phone: object
    date: object


@dataclass
class Tally:
    """What an import has done so far."""

    rows: int = 0
    rejected: int = 0
    primaries: int = 0
    secondaries: int = 0
    merges: int = 0
    pairs: int = 0
    """Rows with two known values of one customer, seen together for the first time."""
    older: int = 0
    """Left out, since they are from before the time that was asked for."""
    erased: int = 0
    """Left out, since they name somebody who was erased after them."""
    repeats: int = 0
    """Rows that brought nothing new."""

    def add(self, changes: Changes) -> None:
        """Count what has been written."""
        created = len(changes.created_identities)
        self.primaries += created
        self.secondaries += len(changes.contacts) - created
        self.merges += len(changes.ended_identities)
        self.pairs += len(changes.pairs_seen)


async def import_rows(
    service: Service,
    rows: FileRows,
    region: str | None,
    tally: Tally,
    *,
    since: int | None = None,
    on_reject: Callable[[Reject], None],
    on_chunk: Callable[[Tally], None],
    on_read: Callable[[int], None] = lambda _: None,
    on_sorting: Callable[[SortedRows], None] = lambda _: None,
    source: Source = NO_SOURCE,
) -> None:
    """Bring all rows in, chunk by chunk; each is durable before ``tally`` counts it.

    A file that may have dates is read to its end first; ``on_read`` gets the number of rows so
    far, ``on_sorting`` all rows that will be sorted. They come in by age, see `SortedRows`, so the
    order of the file does not matter. Another file comes in its order.

    Rows from before ``since`` are left out. So is a row that names somebody who was erased, unless
    it is known to be from after that.

    Raises `Unavailable` when the store fails; what was imported until then stays, and
    importing it again adds nothing.
    """
    read = _read(rows, region, since, tally, on_reject)
    absorb = partial(_absorb, service, tally=tally, on_chunk=on_chunk, source=source)
    if rows.dates is None:
        await absorb(read)
        return
    with SortedRows() as in_order:
        await _sort(read, in_order, tally, on_read)
        on_sorting(in_order)
        with closing(in_order.by_age()) as oldest_first:
            await absorb(oldest_first)


async def _sort(
    read: Iterator[ReadRow | None],
    in_order: SortedRows,
    tally: Tally,
    on_read: Callable[[int], None],
) -> None:
    """Keep all rows to be sorted; those that are left out are done, so ``tally`` counts them."""
    total = 0
    while batch := list(islice(read, CHUNK)):
        in_order.add(row for row in batch if row is not None)
        tally.rows += batch.count(None)
        total += len(batch)
        on_read(total)
        await asyncio.sleep(0)  # raises when Ctrl-C was pressed


async def _absorb(
    service: Service,
    read: Iterator[ReadRow | None],
    tally: Tally,
    on_chunk: Callable[[Tally], None],
    source: Source,
) -> None:
    is_end = False
    while not is_end:
        count = 0
        observations: list[Observation] = []
        made_at: list[int | None] = []
        rows_of: list[int] = []
        for count, row in enumerate(islice(read, CHUNK), start=1):
            if row is not None:
                observations += row.observations
                made_at += [row.at] * len(row.observations)
                rows_of += [count] * len(row.observations)
            if len(observations) >= CHUNK:
                break
        is_end = count == 0
        if not is_end:
            changes, erased = await service.absorb(observations, made_at, rows_of, source)
            tally.rows += count
            tally.erased += erased
            tally.repeats += _rows_without_news(observations, rows_of, changes) - erased
            tally.add(changes)
            on_chunk(tally)


def _rows_without_news(observations: list[Observation], rows: list[int], changes: Changes) -> int:
    """How many rows have brought no contact, no merge and no pair."""
    news = {(contact.email, contact.phone) for contact in changes.contacts}
    news |= {(e.pair.value, e.pair.other_value) for e in changes.events if e.pair is not None}
    without = set(rows)
    for observation, row in zip(observations, rows, strict=True):
        pair = observation.email, observation.phone
        if pair in news:
            news.remove(pair)  # the same observation again brings nothing
            without.discard(row)
    return len(without)


def _read(
    rows: FileRows,
    region: str | None,
    since: int | None,
    tally: Tally,
    on_reject: Callable[[Reject], None],
) -> Iterator[ReadRow | None]:
    """What each row says; None for one that is left out, which ``tally`` counts by its reason."""
    for row in rows.rows:
        try:
            observations = _understood(row, region)
            at = _made_at(row, in_order=rows.dates is not None, is_needed=since is not None)
        except InvalidInput as error:
            on_reject(Reject(row.line, str(error), row.email, row.phone, row.date))
            tally.rejected += 1
            yield None
            continue
        if at is not None and since is not None and at < since:
            tally.older += 1
            yield None
        else:
            yield ReadRow(at, observations)


def _made_at(row: Row | ExportedRow, *, in_order: bool, is_needed: bool) -> int | None:
    """When a row was made; None where it has no date and needs none. Raises `InvalidInput`, also
    for a date in the future, by the clock of this machine and to the microsecond.
    """
    date = row.date.strip() if isinstance(row.date, str) else row.date
    if date is None or date == "":
        if is_needed:
            raise InvalidInput("The row has no date, which --since needs")
        return None
    if not in_order:
        raise InvalidInput("An exported file has no dates, but this row has one")
    at = parse_instant(date if isinstance(date, str) else "")
    if at > time.time_ns() // 1000:
        raise InvalidInput("The date is in the future; without a zone it is read as UTC")
    return at


def _understood(row: Row | ExportedRow, region: str | None) -> list[Observation]:
    if isinstance(row, ExportedRow):
        return row.observations(region)
    if row.problem is not None:
        raise InvalidInput(row.problem)
    return [convert_observation(row.email, row.phone, region)]


@contextmanager
def read_rows(
    stream: io.BufferedReader,
    columns: Columns = Columns(),  # noqa: B008 - it never changes
) -> Generator[FileRows]:
    """The rows of an NDJSON file, which begins with `{`, or of a CSV file with a header.

    Without column names the usual ones are recognised, and what `bitespeed export` writes. Raises
    `InvalidInput` when there is no such column.
    """
    start = stream.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    # What is not UTF-8 comes through as lone surrogates, which no identifier may hold.
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    read = _ndjson if start.startswith(b"{") else _csv
    try:
        yield read(text, columns)
    finally:
        text.detach()  # the stream is the caller's to close


def _csv(text: TextIO, columns: Columns) -> FileRows:
    reader = csv.reader(text)
    header = next(reader, list[str]())
    if header == HEADER and columns.email is None and columns.phone is None:
        if columns.needs_date:
            raise InvalidInput("An exported file has no dates, so --since cannot be used with it")
        return FileRows(_exported_csv_rows(reader))
    of_email = _column(header, columns.email, _EMAIL_NAMES)
    of_phone = _column(header, columns.phone, _PHONE_NAMES)
    of_date = None if columns.ignores_dates else _column(header, columns.date, _DATE_NAMES)
    if of_email is None and of_phone is None:
        raise InvalidInput(
            f"No email or phone column among {', '.join(header) or 'no columns at all'};"
            " name one with --email-column or --phone-column"
        )
    if of_date is None and columns.needs_date:
        raise InvalidInput(f"No date column among {', '.join(header)}; name one with --date-column")
    rows = _csv_rows(reader, (of_email, of_phone, of_date), header == list(Reject._fields))
    return FileRows(rows, None if of_date is None else header[of_date])


def _csv_rows(
    reader: "Reader", places: tuple[int | None, ...], is_rejects: bool
) -> Iterator[Row | ExportedRow]:
    for cells in _lines(reader):
        if isinstance(cells, Row):
            yield cells
        else:
            plain = list(map(unescaped, cells)) if is_rejects else cells
            yield Row(reader.line_num, *(_cell(plain, place) for place in places))


def _exported_csv_rows(reader: "Reader") -> Iterator[Row | ExportedRow]:
    places = HEADER.index(EMAILS), HEADER.index(PHONES)
    for cells in _lines(reader):
        if isinstance(cells, Row):
            yield cells
        elif len(cells) != len(HEADER):
            yield _unreadable(reader.line_num, f"This line has {len(cells)} of {len(HEADER)} cells")
        else:
            emails, phones = (unescaped(cells[place]).split() for place in places)
            yield ExportedRow(reader.line_num, emails, phones)


def _lines(reader: "Reader") -> Iterator[list[str] | Row]:
    """The cells of each line that is not empty, or a row that says why there are none."""
    while True:
        try:
            yield from filter(None, reader)
        except csv.Error as error:
            yield _unreadable(reader.line_num, f"This line is not CSV: {error}")
        else:
            return


def _column(header: list[str], name: str | None, usual: tuple[str, ...]) -> int | None:
    if name is not None:
        if name not in header:
            raise InvalidInput(f"There is no column {name} among {', '.join(header)}")
        return header.index(name)
    plain = ["".join(filter(str.isalnum, title)).lower() for title in header]
    return next((plain.index(candidate) for candidate in usual if candidate in plain), None)


def _cell(cells: list[str], position: int | None) -> str | None:
    return cells[position] if position is not None and position < len(cells) else None


def _member(members: dict[str, object], name: str | None, *usual: str) -> object:
    found = (members.get(key) for key in ([name] if name else usual))
    return next((value for value in found if value is not None), None)


def _unreadable(line: int, problem: str) -> Row:
    return Row(line, None, None, None, problem)


def _ndjson(text: TextIO, columns: Columns) -> FileRows:
    """Any line may have a date, unless the first one is of an exported file."""
    rows = _ndjson_rows(text, columns)
    if columns.ignores_dates:
        return FileRows(row._replace(date=None) for row in rows)
    first = next(rows, None)
    if first is None:
        return FileRows(rows)
    is_exported = isinstance(first, ExportedRow)
    dates = None if is_exported else columns.date or " or ".join(_DATE_MEMBERS)
    return FileRows(chain([first], rows), dates)


def _ndjson_rows(text: TextIO, columns: Columns) -> Iterator[Row | ExportedRow]:
    decoder = msgspec.json.Decoder(dict[str, object])
    line_number = 0
    while line := text.readline(MAX_LINE):
        line_number += 1
        if len(line) == MAX_LINE and not line.endswith("\n"):
            while (rest := text.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass
            yield _unreadable(line_number, "This line is too long")
        elif line.strip():
            try:
                members = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                yield _unreadable(line_number, "This line is not a JSON object in UTF-8")
            else:
                exported = "contact" in members and exported_row_of(line_number, members)
                yield exported or Row(
                    line_number,
                    _member(members, columns.email, "email"),
                    _member(members, columns.phone, "phoneNumber", "phone"),
                    _member(members, columns.date, *_DATE_MEMBERS),
                )
