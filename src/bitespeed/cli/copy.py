"""``bitespeed copy``."""

import asyncio
import json
from pathlib import Path

import click

from bitespeed.cli.common import INTERRUPTED, NO, as_json, awaiting, counted, err, load
from bitespeed.cli.progress import progress_bar
from bitespeed.errors import InvalidInput
from bitespeed.jobs.copy import MAX_DIFFERENCES, Comparison, CopyCounts, compare
from bitespeed.jobs.copy import copy as copy_store
from bitespeed.runtime import open_only_store, open_prepared_store
from bitespeed.settings import Settings
from bitespeed.stores.protocols import AnyStore, BulkStore, ScannableStore

_SQLITE = "sqlite:///"


@click.command("copy", short_help="Copy everything into another database.")
@click.option("--from", "source", metavar="URL", required=True, help="The database to read.")
@click.option("--to", "target", metavar="URL", required=True, help="An empty database to fill.")
@as_json
@awaiting
async def copy(source: str, target: str, as_json: bool) -> None:
    """Copy everything into another database, such as a SQLite file into PostgreSQL or back.

    Stop the servers on the source first. Ids, ages, deletions and events stay what they are.
    Everything is written in one transaction: if the copy is interrupted, the target is as empty
    as before, and it can be run again. Afterwards both are read and compared. When they differ,
    also because the source has changed meanwhile, it prints the ids concerned and exits with
    status 1.
    """
    from_, to = load(database=source), load(database=target)
    _require_file(from_)
    async with open_only_store(from_, open_prepared_store) as one, open_only_store(to) as other:
        if not isinstance(other, BulkStore):
            raise InvalidInput(
                "The Data API cannot copy into a project; use the project's connection string"
            )
        try:
            copied = await _copy(one, other)
        except asyncio.CancelledError:
            err.print("Stopped. The target holds nothing of it; run it again.")
            raise SystemExit(INTERRUPTED) from None
        try:
            comparison = await _compare(one, other, copied)
        except asyncio.CancelledError:
            err.print("Stopped. The copy is complete, but it has not been compared.")
            raise SystemExit(INTERRUPTED) from None
    if as_json:
        click.echo(json.dumps(_document(copied, comparison)))
    else:
        _report(copied, comparison, from_.database_shown, to.database_shown)
    if not comparison.is_equal:
        raise SystemExit(NO)


def _require_file(source: Settings) -> None:
    """Opening a store creates a missing file, and an empty source would be a typing error."""
    path = source.database.removeprefix(_SQLITE)
    if path != source.database and not Path(path).is_file():
        raise InvalidInput(f"There is no file {path} to copy from")


async def _copy(source: AnyStore, target: BulkStore) -> CopyCounts:
    size = await source.size() if isinstance(source, BulkStore) else None
    with progress_bar("copying", "contacts", size) as bar:
        return await copy_store(source, target, lambda counts: bar.show(counts.contacts))


async def _compare(
    source: ScannableStore, target: ScannableStore, copied: CopyCounts
) -> Comparison:
    with progress_bar("comparing", "contacts", copied.contacts) as bar:
        return await compare(source, target, copied, lambda counts: bar.show(counts.contacts))


def _document(copied: CopyCounts, comparison: Comparison) -> dict[str, object]:
    return {
        "identities": copied.identities,
        "contacts": copied.contacts,
        "events": copied.events,
        "changed": comparison.changed,
        "differences": [difference._asdict() for difference in comparison.differences],
    }


def _report(copied: CopyCounts, comparison: Comparison, source: str, target: str) -> None:
    click.echo(
        f"Copied {counted(copied.identities, 'identity', 'identities')}"
        f" with {counted(copied.contacts, 'contact')} and {counted(copied.events, 'event')}"
        f" from {source} to {target}"
    )
    for identity, what in comparison.differences:
        click.echo(f"identity {identity}: {what}")
    if len(comparison.differences) == MAX_DIFFERENCES:
        click.echo(f"... the comparison ended after {MAX_DIFFERENCES} differences")
    if comparison.changed:
        newer = counted(comparison.changed, "identity is", "identities are")
        click.echo(
            f"The source has changed since: {newer} newer there."
            " Stop the servers on it and copy again, into an empty database."
        )
    if comparison.is_equal:
        click.echo("Compared: both hold the same")
    elif comparison.differences:
        click.echo("Compared: they differ. Do not use the copy")
