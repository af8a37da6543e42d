"""``bitespeed identify``."""

import click

from bitespeed.cli.answers import print_answer
from bitespeed.cli.common import as_json, awaiting, database, opened, region, tenant
from bitespeed.model.identifiers import observe
from bitespeed.model.sources import CLI, Source


@click.command(short_help="Identify a customer, and remember what is new.")
@click.option("--email", help="An email address.")
@click.option("--phone", help="A phone number.")
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
    """Identify a customer by an email, a phone number or both, and remember what is new.

    The same as POST /identify: an unknown customer becomes a new identity, a new value is added
    to a known one, and two identities that turn out to be one customer are merged.
    """
    async with opened(database, region, tenant) as (service, settings):
        answer = await service.identify(observe(email, phone, settings.region), source=Source(CLI))
    print_answer(answer, as_json=as_json)
