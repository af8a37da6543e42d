"""``bitespeed pseudonym``."""

import click

from bitespeed.cli.common import awaiting, database, load, region
from bitespeed.model.identifiers import observe
from bitespeed.runtime import open_only_store, open_prepared_store
from bitespeed.telemetry.logs import pseudonyms, use_pseudonym_secret


@click.command(short_help="Print what stands for an email or a phone number in the log.")
@click.option("--email", help="An email address.")
@click.option("--phone", help="A phone number.")
@database
@region
@awaiting
async def pseudonym(
    email: str | None, phone: str | None, database: str | None, region: str | None
) -> None:
    """Print what stands for an email or a phone number in the log.

    Search the log for it to see what happened to a customer. Each database has pseudonyms of its
    own, made with a secret that it keeps.
    """
    settings = load(database=database, region=region)
    wanted = observe(email, phone, settings.region)
    async with open_only_store(settings, open_prepared_store) as store:
        use_pseudonym_secret(await store.secret())
    for value in (wanted.email, wanted.phone):
        if value is not None:
            click.echo(pseudonyms()(value))
