"""Pages of events, for whoever follows what happens in all tenants."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bitespeed.model.records import EventRecord


class Position(NamedTuple):
    """A place in the order of events: behind the event with this number of this transaction.

    Numbers are given out before commits, so on a database with several writers they alone are in no
    order in which nothing is added later. SQLite has one writer: there the transaction is 0.
    """

    transaction: int
    number: int


START = Position(0, 0)


class EventPage(NamedTuple):
    """Events in their order, and the position behind them, where the next page begins."""

    events: "list[EventRecord]"
    next: Position
