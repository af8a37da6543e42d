"""``bitespeed erase``."""

import click

from bitespeed.cli.common import as_json, awaiting, counted, database, opened, region, tenant
from bitespeed.errors import InvalidInput
from bitespeed.model.changes import Receipt
from bitespeed.runtime import open_only_store
from bitespeed.stores.protocols import BulkStore
from bitespeed.wire.subjects import encode_receipt, parse_subject


@click.command(short_help="Erase everything that is stored about one customer.")
@click.option("--email", help="An email address of the customer.")
@click.option("--phone", help="Or a phone number.")
@click.option("--contact", type=int, metavar="ID", help="Or the id of a contact, deleted or not.")
@click.option("--vacuum", is_flag=True, help="On PostgreSQL, remove old versions of rows too.")
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
    """Erase everything that is stored about one customer. It cannot be undone.

    See first what that is, with bitespeed export --email. The whole identity goes: every contact,
    also deleted ones and those of identities that were merged into it, identifiers, events, cached
    answers. An import of old rows does not bring it back; a customer who comes again is a new one.
    The receipt says what was erased, but not whose. Backups and copies elsewhere remain, see
    docs/privacy.md. The exit status is 1 when nothing is stored.
    """
    async with opened(database, region, tenant) as (service, settings):
        receipt = await service.erase(parse_subject(email, phone, contact, settings.region))
    _print_receipt(receipt, as_json=as_json)
    if vacuum:
        async with open_only_store(settings) as store:
            if not isinstance(store, BulkStore):
                raise InvalidInput(
                    "The Data API cannot vacuum; use the project's connection string"
                )
            await store.vacuum()


def _print_receipt(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        click.echo(encode_receipt(receipt))
        return
    click.echo(
        f"Erased {counted(receipt.contacts, 'contact')}"
        f" of {counted(receipt.identities, 'identity', 'identities')},"
        f" {counted(receipt.identifiers, 'identifier')} and {counted(receipt.events, 'event')}"
    )
    click.echo(f"receipt     {receipt.id}")
    for pseudonym in receipt.pseudonyms:
        click.echo(f"pseudonym   {pseudonym}")
