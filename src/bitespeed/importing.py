"""Bringing many observations in from a file, in bounded memory, safe to interrupt and repeat."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TextIO

import msgspec

from bitespeed import wire
from bitespeed.errors import InvalidInput
from bitespeed.identifiers import Observation
from bitespeed.identity import Changes
from bitespeed.service import Service

CHUNK = 5_000  # rows read, decided and committed together: a few megabytes, a fifth of a second
MAX_LINE = 1024 * 1024  # characters of one line of NDJSON; a longer one is no observation

_EMAIL_NAMES = ("email", "emailaddress")
_PHONE_NAMES = ("phonenumber", "phone")


class Row(NamedTuple):
    """What one line says, before it is understood; ``problem`` when it cannot be read at all."""

    line: int
    email: object
    phone: object
    problem: str | None = None


class Reject(NamedTuple):
    """A row that was left out, and why."""

    line: int
    reason: str
    email: object
    phone: object


@dataclass
class Tally:
    """What an import has done so far."""

    rows: int = 0
    rejected: int = 0
    primaries: int = 0
    secondaries: int = 0
    merges: int = 0

    @property
    def repeats(self) -> int:
        """Rows that brought nothing new."""
        news = self.primaries + self.secondaries + self.merges
        return self.rows - self.rejected - news

    def add(self, rows: int, understood: int, changes: Changes) -> None:
        """Count what has been written."""
        self.rows += rows
        self.rejected += rows - understood
        founded = sum(change.id < 0 for change in changes.identities)
        self.primaries += founded
        self.secondaries += len(changes.contacts) - founded
        self.merges += sum(event.kind == "identities.merged" for event in changes.events)


async def import_rows(
    service: Service,
    rows: Iterable[Row],
    region: str | None,
    tally: Tally,
    *,
    on_reject: Callable[[Reject], None],
    on_chunk: Callable[[Tally], None],
) -> None:
    """Bring all rows in, chunk by chunk; each is durable before ``tally`` counts it.

    Raises `Unavailable` when the store fails; what was imported until then stays, and
    importing it again adds nothing.
    """
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        observations: list[Observation] = []
        for row in chunk:
            try:
                observations.append(_understood(row, region))
            except InvalidInput as error:
                on_reject(Reject(row.line, str(error), row.email, row.phone))
        tally.add(len(chunk), len(observations), await service.absorb(observations))
        on_chunk(tally)


def _understood(row: Row, region: str | None) -> Observation:
    if row.problem is not None:
        raise InvalidInput(row.problem)
    return wire.convert(row.email, row.phone, region)


def read_rows(
    stream: io.BufferedReader, email_column: str | None = None, phone_column: str | None = None
) -> Iterator[Row]:
    """The rows of a CSV file with a header, or of NDJSON; whichever the first character tells.

    Without column names the usual ones are recognised. Raises `InvalidInput` when
    there is no such column.
    """
    start = stream.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    # What is not UTF-8 comes through as lone surrogates, which no identifier may hold.
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    read = _ndjson_rows if start.startswith(b"{") else _csv_rows
    try:
        yield from read(text, email_column, phone_column)
    finally:
        text.detach()  # the stream is the caller's to close


def _csv_rows(text: TextIO, email_column: str | None, phone_column: str | None) -> Iterator[Row]:
    reader = csv.reader(text)
    header = next(reader, list[str]())
    of_email = _column(header, email_column, _EMAIL_NAMES)
    of_phone = _column(header, phone_column, _PHONE_NAMES)
    if of_email is None and of_phone is None:
        raise InvalidInput(
            f"No email or phone column among {', '.join(header) or 'no columns at all'};"
            " name one with --email-column or --phone-column"
        )
    while True:
        try:
            for cells in reader:
                if cells:
                    yield Row(reader.line_num, _cell(cells, of_email), _cell(cells, of_phone))
        except csv.Error as error:
            yield Row(reader.line_num, None, None, f"This line is not CSV: {error}")
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


def _ndjson_rows(text: TextIO, email_column: str | None, phone_column: str | None) -> Iterator[Row]:
    decoder = msgspec.json.Decoder(dict[str, object])
    line_number = 0
    while line := text.readline(MAX_LINE):
        line_number += 1
        if len(line) == MAX_LINE and not line.endswith("\n"):
            while (rest := text.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass
            yield Row(line_number, None, None, "This line is too long")
        elif line.strip():
            try:
                members = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                yield Row(line_number, None, None, "This line is not a JSON object in UTF-8")
            else:
                email = members.get(email_column or "email")
                phone = members.get(phone_column or "phoneNumber")
                if phone is None and phone_column is None:
                    phone = members.get("phone")
                yield Row(line_number, email, phone)
