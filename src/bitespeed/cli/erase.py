"""``bitespeed erase``."""

import asyncio
import sys

import click

from bitespeed.cli.common import (
    NO,
    as_json,
    counted,
    database,
    load,
    opened,
    opened_to_read,
    region,
    reporting_errors,
    tenant,
)
from bitespeed.errors import InvalidInput
from bitespeed.model.changes import ErasureCounts, Receipt
from bitespeed.runtime import open_only_store
from bitespeed.settings import Settings
from bitespeed.stores.protocols import BulkStore
from bitespeed.wire.subjects import encode_counts, encode_receipt, parse_subject


@click.command(short_help="Erase everything that is stored about one customer.")
@click.option("--email", help="An email address of the customer.")
@click.option("--phone", help="Or a phone number.")
@click.option("--contact", type=int, metavar="ID", help="Or the id of a contact, deleted or not.")
@click.option("--dry-run", is_flag=True, help="Print how much it would erase, and erase nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, however much it is; for scripts.")
@click.option("--vacuum", is_flag=True, help="On PostgreSQL, remove old versions of rows too.")
@as_json
@tenant
@database
@region
@reporting_errors
def erase(
    email: str | None,
    phone: str | None,
    contact: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    vacuum: bool,
    tenant: str,
    database: str | None,
    region: str | None,
) -> None:
    """Erase everything that is stored about one customer. It cannot be undone.

    See first how much that is, with --dry-run, or all of it, with bitespeed export --email. The
    whole identity goes: every contact, also deleted ones and those of identities that were merged
    into it, identifiers, events, cached answers. An import of old rows does not bring it back; a
    customer who comes again is a new one. The receipt says what was erased, but not whose. Backups
    and copies elsewhere remain, see docs/privacy.md. The exit status is 1 when nothing is stored.

    Before it erases more than one email or more than one phone number it asks, since these may be
    of several people who were taken for one. Without a terminal it refuses then, with status 2,
    unless --yes is given.
    """
    subject = parse_subject(email, phone, contact, load(database=database, region=region).region)

    async def count() -> ErasureCounts:
        async with opened_to_read(database, region, tenant) as (service, _):
            return await service.erasure_counts(subject)

    async def erase_(agreed: ErasureCounts | None) -> None:
        async with opened(database, region, tenant) as (service, settings):
            receipt = await service.erase(subject, agreed=agreed)
        _print_receipt(receipt, as_json=as_json)
        if vacuum:
            await _vacuum(settings)

    # With --yes too, since a missing file is said here, where `opened` would create it.
    counts = asyncio.run(count())
    if dry_run:
        _print_counts(counts, as_json=as_json)
        return
    if not yes:
        # Between the two runs, so that Ctrl-C ends the question and nothing is open meanwhile.
        _confirm(counts)
    asyncio.run(erase_(None if yes else counts))


def _confirm(counts: ErasureCounts) -> None:
    """Return when it may be erased; raise `InvalidInput` where nobody can be asked."""
    if counts.emails <= 1 and counts.phones <= 1:
        return
    values = f"{counted(counts.emails, 'email')} and {counted(counts.phones, 'phone number')}"
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"This erases {values}; add --yes if that is meant, or see with --dry-run"
        )
    if not click.confirm(f"This erases {values}, {_rows(counts)}. Go on?", err=True):
        click.echo("Nothing was erased", err=True)
        raise SystemExit(NO)


async def _vacuum(settings: Settings) -> None:
    async with open_only_store(settings) as store:
        if not isinstance(store, BulkStore):
            raise InvalidInput("The Data API cannot vacuum; use the project's connection string")
        await store.vacuum()


def _print_counts(counts: ErasureCounts, *, as_json: bool) -> None:
    if as_json:
        click.echo(encode_counts(counts))
    else:
        click.echo(f"Would erase {_rows(counts)}")
        _print_values(counts)


def _print_receipt(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        click.echo(encode_receipt(receipt))
        return
    click.echo(f"Erased {_rows(receipt)}")
    _print_values(receipt)
    click.echo(f"receipt     {receipt.id}")
    for pseudonym in receipt.pseudonyms:
        click.echo(f"pseudonym   {pseudonym}")


def _print_values(counts: ErasureCounts) -> None:
    click.echo(f"emails      {counts.emails:,}")
    click.echo(f"phones      {counts.phones:,}")
    click.echo(f"pairs       {counts.pairs:,}")


def _rows(counts: ErasureCounts) -> str:
    return (
        f"{counted(counts.contacts, 'contact')}"
        f" of {counted(counts.identities, 'identity', 'identities')},"
        f" {counted(counts.identifiers, 'identifier')} and {counted(counts.events, 'event')}"
    )
