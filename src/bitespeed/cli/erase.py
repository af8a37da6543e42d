"""``bitespeed erase``."""

import click

from bitespeed import wire
from bitespeed.cli.common import as_json, awaiting, database, opened, region, tenant
from bitespeed.model.identity import Receipt
from bitespeed.stores import open_store


@click.command(short_help="Remove everything held about one person, for good.")
@click.option("--email", help="An email address of the person.")
@click.option("--phone", help="Or a phone number.")
@click.option("--contact", type=int, metavar="ID", help="Or the id of a contact, deleted or not.")
@click.option("--vacuum", is_flag=True, help="Free old versions of rows too (PostgreSQL).")
@as_json
@tenant
@database
@region
@awaiting
async def erase(
    email: str | None,
    phone: str | None,
    contact: int | None,
    as_json: bool,
    vacuum: bool,
    tenant: str,
    database: str | None,
    region: str | None,
) -> None:
    """Remove everything held about one person, for good; exit status 1 when nothing is.

    Look at it first with bitespeed export --email. The whole identity goes: every contact, also
    deleted ones and those of identities that were merged, identifiers, events, cached answers. An
    import of old rows does not bring it back; whoever comes again is a new customer. The receipt
    says what was removed, not of subject. Backups and what others have copied are beyond its reach,
    see docs/privacy.md.
    """
    async with opened(database, region, tenant) as (service, settings):
        receipt = await service.erase(wire.subject(email, phone, contact, settings.region))
    _show(receipt, as_json=as_json)
    if vacuum:
        store = await open_store(settings.database, settings.options)
        try:
            await store.vacuum()
        finally:
            await store.close()


def _show(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        click.echo(wire.encode_receipt(receipt))
        return
    click.echo(
        f"Erased {receipt.contacts:,} contacts of {receipt.identities:,} identities,"
        f" {receipt.identifiers:,} identifiers and {receipt.events:,} events"
    )
    click.echo(f"receipt     {receipt.id}")
    for pseudonym in receipt.pseudonyms:
        click.echo(f"pseudonym   {pseudonym}")
