"""``bitespeed lookup``."""

import click

from bitespeed.cli.answers import print_answer
from bitespeed.cli.common import as_json, awaiting, database, opened_to_read, region, tenant
from bitespeed.model.identifiers import observe
from bitespeed.wire.subjects import parse_contact_id


@click.command(short_help="Show who a customer is, without writing anything.")
@click.option("--email", help="An email address.")
@click.option("--phone", help="A phone number.")
@click.option("--contact", type=int, metavar="ID", help="A contact id, instead of these two.")
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
    """Show who a customer is, without writing anything.

    The exit status is 1 when no contact matches.
    """
    async with opened_to_read(database, region, tenant) as (service, settings):
        if contact is not None:
            answer = await service.contact(parse_contact_id(contact))
        else:
            wanted = observe(email, phone, settings.region)
            answer = await service.look_up(wanted.email, wanted.phone)
    print_answer(answer, as_json=as_json)
