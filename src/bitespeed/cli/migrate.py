"""``bitespeed migrate``."""

import click

from bitespeed import settings as settings_of
from bitespeed import telemetry
from bitespeed.cli.common import awaiting, database
from bitespeed.stores import migration_script, open_store
from bitespeed.telemetry import TelemetryOptions


@click.command()
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL for PostgreSQL; change nothing.")
@database
@awaiting
async def migrate(database: str | None, *, as_sql: bool) -> None:
    """Bring the schema of the database to this version.

    Every command does so by itself unless BITESPEED_MIGRATE is false. Servers of the version
    before may go on running meanwhile. With --sql the whole of it comes as a script for people
    who apply changes by hand; what is there already is refused, and the rest goes on.
    """
    if as_sql:
        click.echo(migration_script())
        return
    telemetry.configure(TelemetryOptions(level="info"))
    settings = settings_of.load({"database": database, "migrate": True})
    store = await open_store(settings.database, settings.options)
    await store.close()
    click.echo("The database is at this version.")
