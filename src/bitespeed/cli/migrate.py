"""``bitespeed migrate``."""

import click

from bitespeed import telemetry
from bitespeed.cli.common import awaiting, database, opened_store
from bitespeed.stores import migration_script
from bitespeed.telemetry import TelemetryOptions


@click.command()
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL for PostgreSQL; change nothing.")
@database
@awaiting
async def migrate(database: str | None, *, as_sql: bool) -> None:
    """Bring the schema of the database to this version.

    Every other command that writes does so by itself, unless BITESPEED_MIGRATE is false. Servers of
    the version before may go on running meanwhile. For people who apply changes by hand, --sql
    prints the whole schema as a script; it refuses what is there already and goes on with the rest.
    """
    if as_sql:
        click.echo(migration_script())
        return
    telemetry.configure(TelemetryOptions(level="info"))
    async with opened_store(database, migrate=True):
        click.echo("The database is at this version.")
