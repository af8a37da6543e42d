"""``bitespeed why``, ``history`` and ``merges``."""

from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from bitespeed.cli.common import (
    as_json,
    awaiting,
    counted,
    database,
    opened_to_read,
    region,
    tenant,
)
from bitespeed.errors import InvalidInput
from bitespeed.model.facts import Fact, Happening, Value
from bitespeed.service.explanations import End, Why
from bitespeed.service.merges import WantedMerges
from bitespeed.service.pages import MAX_NUMBER, PAGE
from bitespeed.wire.explanations import encode_history, encode_merges, encode_why, end_of
from bitespeed.wire.instants import parse_instant, rfc3339

_CONTACT = "contact:"
_WIDTH = 1_000  # characters of a line; two values and a label have at most 400

limit = click.option(
    "--limit", type=int, default=PAGE, show_default=True, metavar="N", help="At most so many."
)


@click.command(short_help="Show why two values are one customer's.")
@click.argument("one")
@click.argument("other")
@click.option(
    "--as-of",
    metavar="TIME",
    help="By what was known then, such as 2026-03-01 or 2026-03-01T09:30:00Z.",
)
@as_json
@tenant
@database
@region
@awaiting
async def why(
    one: str,
    other: str,
    as_of: str | None,
    as_json: bool,
    tenant: str,
    database: str | None,
    region: str | None,
) -> None:
    """Show why ONE and OTHER are one customer: the shortest chain of what was seen together.

    Each of the two is an email, a phone number, or a contact as contact:2. Of several chains of
    that length the oldest is shown. Where the two are not one customer, the exit status is 1, and
    values that differ by little are shown.

    \b
    Example:
      bitespeed why lorraine@hillvalley.edu mcfly@hillvalley.edu
    """  # noqa: D301 - the character \b, by which click keeps lines as they are
    at = None if as_of is None else parse_instant(as_of)
    async with opened_to_read(database, region, tenant) as (service, settings):
        ends = _end(one, settings.region), _end(other, settings.region)
        answer = await service.why(*ends, at)
    if as_json:
        click.echo(encode_why(answer))
    else:
        _print_why(answer)
    if not answer.are_together:
        raise SystemExit(1)


@click.command(short_help="Show what happened to a customer.")
@click.argument("contact", type=int)
@click.option("--after", type=int, default=0, metavar="NUMBER", help="From the event after this.")
@limit
@as_json
@tenant
@database
@awaiting
async def history(
    contact: int, after: int, limit: int, as_json: bool, tenant: str, database: str | None
) -> None:
    """Show what happened to the customer that CONTACT, a contact's id, belongs to by now.

    Each line is an event: a contact created or deleted, two values seen together, two identities
    merged; with where it came from.
    """
    async with opened_to_read(database, None, tenant) as (service, _):
        events = await service.history(contact, after, limit)
    if as_json:
        click.echo(encode_history(events, limit))
    else:
        _print_events(events)
        _say_next(events[-1].number if len(events) == limit else None, "--after")


@click.command(short_help="List merges, newest first.")
@click.option("--since", metavar="TIME", help="Not older than this, such as 2026-11-22.")
@click.option("--before", type=int, default=MAX_NUMBER, metavar="NUMBER", help="Before this event.")
@click.option(
    "--minimum", type=int, default=0, metavar="N", help="Both had at least N contacts before."
)
@click.option(
    "--partners",
    type=int,
    default=0,
    metavar="N",
    help="By a value that goes with at least N others by now.",
)
@limit
@as_json
@tenant
@database
@awaiting
async def merges(
    since: str | None,
    before: int,
    minimum: int,
    partners: int,
    limit: int,
    as_json: bool,
    tenant: str,
    database: str | None,
) -> None:
    """List merges, newest first: which two primary contacts, of how many contacts each, by which
    pair of values, and where that came from.

    With --minimum or --partners only those that may have joined strangers, among 1,000 merges.

    \b
    Example:
      bitespeed merges --minimum 2 --partners 10
    """  # noqa: D301 - as above
    begin = 0 if since is None else parse_instant(since)
    async with opened_to_read(database, None, tenant) as (service, _):
        page = await service.merges(WantedMerges(before, begin, limit, minimum, partners))
    if as_json:
        click.echo(encode_merges(page))
    else:
        _print_merges(page.merges)
        _say_next(page.next, "--before")


def _end(text: str, region: str | None) -> End:
    """What the text names. Raises `InvalidInput`."""
    if text.startswith(_CONTACT):
        number = text.removeprefix(_CONTACT)
        if not (number.isascii() and number.isdigit()):
            raise InvalidInput("A contact is named as contact:2")
        return end_of(None, None, int(number), region)
    if "@" in text:
        return end_of(text, None, None, region)
    return end_of(None, text, None, region)


def _print_why(why: Why) -> None:
    if why.searched is not None:
        click.echo(f"One customer; no chain was found within {counted(why.searched, 'fact')}")
    elif why.chain is not None and not why.chain:
        click.echo("One customer: the two are the same")
    elif why.chain is not None:
        click.echo(f"One customer, by {counted(len(why.chain), 'fact')}:")
        _print_facts(why.chain)
    else:
        click.echo("Two customers")
        for near in why.near:
            click.echo(f"{near.one[1]} and {near.other[1]} differ by {near.differ_by}")


def _print_facts(facts: list[Fact]) -> None:
    table = _table()
    for fact in facts:
        values = _together([(node.kind, node.value) for node in fact.nodes])
        what = "confirmed" if fact.contact is None else f"contact {fact.contact}"
        table.add_row(rfc3339(fact.at), values, what, _whence(fact.source, fact.label))
    _print(table)


def _print_events(events: list[Happening]) -> None:
    table = _table()
    for event in events:
        ids = "" if event.contact is None else f"contact {event.contact}"
        if event.merged is not None:
            ids = f"{event.merged} into {event.identity}"
        row = str(event.number), rfc3339(event.at), event.kind, ids
        table.add_row(*row, _together(event.between), _whence(event.source, event.label))
    _print(table)


def _print_merges(merges: Sequence[Happening]) -> None:
    table = _table()
    for merge in merges:
        two = f"{merge.merged_primary} into {merge.primary}"
        sizes = f"{merge.merged_size or 0:,} and {counted(merge.size or 0, 'contact')}"
        row = str(merge.number), rfc3339(merge.at), two, sizes
        table.add_row(*row, _together(merge.between), _whence(merge.source, merge.label))
    _print(table)


def _together(values: list[Value]) -> str:
    return " + ".join(value for _, value in values)


def _whence(source: str | None, label: str | None) -> str:
    return " ".join(part for part in (source, label and f"({label})") if part)


def _say_next(following: int | None, option: str) -> None:
    if following is not None:
        click.echo(f"There may be more: {option} {following}", err=True)


def _table() -> Table:
    return Table.grid(padding=(0, 2))


def _print(table: Table) -> None:
    # As wide as it is, also in a pipe: a value that is cut says nothing.
    Console(highlight=False, markup=False, width=_WIDTH).print(table)
