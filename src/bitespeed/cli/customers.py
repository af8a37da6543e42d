"""``bitespeed identify`` and ``bitespeed lookup``."""

import click
from rich.console import Console
from rich.table import Table

from bitespeed import wire
from bitespeed.cli.common import as_json, awaiting, database, opened, region, tenant
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer

_email = click.option("--email", help="An email address.")
_phone = click.option("--phone", help="A phone number.")


@click.command()
@_email
@_phone
@as_json
@tenant
@database
@region
@awaiting
async def identify(
    email: str | None,
    phone: str | None,
    as_json: bool,
    tenant: str,
    database: str | None,
    region: str | None,
) -> None:
    """Tell who this is, and remember what is new.

    The same as POST /identify: an unknown person is founded, a new value is linked, two
    persons that share the values are merged.
    """
    async with opened(database, region, tenant) as (service, settings):
        _show(await service.identify(observe(email, phone, settings.region)), as_json=as_json)


@click.command(short_help="Tell who this is without writing anything.")
@_email
@_phone
@click.option("--contact", type=int, metavar="ID", help="A contact id, instead of the two.")
@as_json
@tenant
@database
@region
@awaiting
async def lookup(
    email: str | None,
    phone: str | None,
    contact: int | None,
    as_json: bool,
    tenant: str,
    database: str | None,
    region: str | None,
) -> None:
    """Tell who this is without writing anything; exit status 1 when nobody knows."""
    async with opened(database, region, tenant) as (service, settings):
        if contact is not None:
            answer = await service.contact(wire.contact_id(contact))
        else:
            asked = observe(email, phone, settings.region)
            answer = await service.look_up(asked.email, asked.phone)
        _show(answer, as_json=as_json)


def _show(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        click.echo(wire.encode(answer))
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("primary contact", str(answer.primary_id))
    table.add_row("emails", "\n".join(answer.emails) or "-")
    table.add_row("phone numbers", "\n".join(answer.phones) or "-")
    table.add_row("secondary contacts", ", ".join(map(str, answer.secondary_ids)) or "-")
    Console(highlight=False, markup=False).print(table)
