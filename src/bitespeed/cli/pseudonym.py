"""``bitespeed pseudonym``."""

import click

from bitespeed import settings as settings_of
from bitespeed.cli.common import awaiting, database, region
from bitespeed.model.identifiers import observe
from bitespeed.stores import open_store
from bitespeed.telemetry.logs import pseudonyms, use_pseudonym_secret


@click.command()
@click.option("--email", help="An email address.")
@click.option("--phone", help="A phone number.")
@database
@region
@awaiting
async def pseudonym(
    email: str | None, phone: str | None, database: str | None, region: str | None
) -> None:
    """Print what stands for an email or a phone number in the log.

    That is how to find what the log says about a customer; it differs from database to database.
    """
    settings = settings_of.load({"database": database, "region": region})
    asked = observe(email, phone, settings.region)
    store = await open_store(settings.database, settings.options)
    try:
        use_pseudonym_secret(await store.secret())
    finally:
        await store.close()
    for value in (asked.email, asked.phone):
        if value is not None:
            click.echo(pseudonyms()(value))
