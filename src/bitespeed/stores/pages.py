"""Put identities, and pages of events, together from rows."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from bitespeed.model.records import PARTS, EventRecord, IdentityRecords
from bitespeed.stores.feed import EventPage, Position

PAGE_SIZE = 500  # identities: enough to make the hand-over between threads cheap


class Rows(msgspec.Struct):
    """Streams of rows that a function of a database returns all at once."""

    heads: list[tuple[Any, ...]]
    contacts: list[tuple[Any, ...]]
    identifiers: list[tuple[Any, ...]]
    events: list[tuple[Any, ...]]
    tombstones: list[tuple[Any, ...]] = []
    secrets: list[tuple[Any, ...]] = []

    def streams(self) -> list[list[tuple[Any, ...]]]:
        """The streams in the order of `PARTS`."""
        return [getattr(self, part) for part in PARTS]


_rows = msgspec.json.Decoder(Rows)


def identities_in(rows: bytes) -> list[IdentityRecords]:
    """The identities in `Rows` as JSON."""
    return [identity for page in paged(_rows.decode(rows).streams()) for identity in page]


class _Events(msgspec.Struct):
    events: list[tuple[Any, ...]]
    next: Position


_events = msgspec.json.Decoder(_Events)


def events_in(page: bytes) -> EventPage:
    """The page of events in a JSON document; each event is a row like those of `Rows`."""
    found = _events.decode(page)
    return EventPage([EventRecord(*row[1:]) for row in found.events], found.next)


def paged(streams: Iterable[Iterable[tuple[Any, ...]]]) -> Iterator[list[IdentityRecords]]:
    """Pages of identities from a stream of rows for each of `PARTS`.

    Each row begins with the root of its identity, or 0 if it has none, and each stream is ordered
    by it. So the rows that belong to no identity come first.
    """
    page: list[IdentityRecords] = []
    for identity in _assembled(streams):
        page.append(identity)
        if len(page) == PAGE_SIZE:
            yield page
            page = []
    if page:
        yield page


def _assembled(streams: Iterable[Iterable[tuple[Any, ...]]]) -> Iterator[IdentityRecords]:
    """The identities, in one pass over all streams side by side."""
    groups = [groupby(stream, key=itemgetter(0)) for stream in streams]
    waiting = [next(group, None) for group in groups]
    while any(group is not None for group in waiting):
        key = min(group[0] for group in waiting if group is not None)
        identity = IdentityRecords(root_id=key or None)
        parts = zip(waiting, PARTS.items(), strict=False)  # `records` reads only the first ones
        for position, (group, (part, row_type)) in enumerate(parts):
            if group is not None and group[0] == key:
                getattr(identity, part).extend(row_type(*row[1:]) for row in group[1])
                waiting[position] = next(groups[position], None)
        yield identity
