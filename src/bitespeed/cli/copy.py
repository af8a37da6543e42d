"""``bitespeed copy``."""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import click
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bitespeed import settings as settings_of
from bitespeed.cli.common import INTERRUPTED, NO, as_json, awaiting, err
from bitespeed.errors import InvalidInput
from bitespeed.jobs.copy import MAX_DIFFERENCES, Comparison, Counts, OnPage, compare
from bitespeed.jobs.copy import copy as copy_store
from bitespeed.settings import Settings
from bitespeed.stores import Store, open_store

_SQLITE = "sqlite:///"


@click.command("copy", short_help="Bring everything into another database.")
@click.option("--from", "source", metavar="URL", required=True, help="The database to read.")
@click.option("--to", "target", metavar="URL", required=True, help="An empty database to fill.")
@as_json
@awaiting
async def copy(source: str, target: str, as_json: bool) -> None:
    """Bring everything into another database, such as a SQLite file into PostgreSQL or back.

    Ids, ages, deletions and events stay what they are. Everything is written in one
    transaction: interrupted, the target is as empty as before, and the copy can be run again.
    Then both are read and compared. Exit status 1 and the ids concerned when they differ, also
    because the source has changed meanwhile: stop the servers on it first.
    """
    from_, to = (settings_of.load({"database": url}) for url in (source, target))
    _require_file(from_)
    async with _opened(from_) as one, _opened(to) as other:
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
    """A store makes the file that is missing, which is no use for a source."""
    path = source.database.removeprefix(_SQLITE)
    if path != source.database and not Path(path).is_file():
        raise InvalidInput(f"There is no file {path} to copy from")


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncGenerator[Store]:
    store = await open_store(settings.database, settings.options)
    try:
        yield store
    finally:
        await store.close()


async def _copy(source: Store, target: Store) -> Counts:
    with _progress("copying", await source.size()) as on_page:
        return await copy_store(source, target, on_page)


async def _compare(source: Store, target: Store, copied: Counts) -> Comparison:
    with _progress("comparing", copied.contacts) as on_page:
        return await compare(source, target, copied, on_page)


@contextmanager
def _progress(what: str, contacts: int | None) -> Generator[OnPage]:
    """A bar by contacts; their number and rate alone where the size is unknown."""
    rate = TextColumn("{task.completed:,.0f} contacts, {task.fields[rate]:,.0f}/s")
    times = TimeElapsedColumn(), TimeRemainingColumn()
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), rate, *times
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=contacts, rate=0.0)

        def show(counts: Counts) -> None:
            rate = counts.contacts / (progress.tasks[0].elapsed or 1.0)
            progress.update(task, completed=counts.contacts, rate=rate)

        yield show


def _document(copied: Counts, comparison: Comparison) -> dict[str, object]:
    return {
        "identities": copied.identities,
        "contacts": copied.contacts,
        "events": copied.events,
        "changed": comparison.changed,
        "differences": [difference._asdict() for difference in comparison.differences],
    }


def _report(copied: Counts, comparison: Comparison, source: str, target: str) -> None:
    click.echo(
        f"Copied {copied.identities:,} identities with {copied.contacts:,} contacts and"
        f" {copied.events:,} events from {source} to {target}"
    )
    for identity, what in comparison.differences:
        click.echo(f"identity {identity}: {what}")
    if len(comparison.differences) == MAX_DIFFERENCES:
        click.echo(f"... the comparison ended after {MAX_DIFFERENCES} differences")
    if comparison.changed:
        click.echo(
            f"The source has changed since: {comparison.changed:,} identities are newer there."
            " Stop the servers on it and copy again, into an empty database."
        )
    if comparison.is_equal:
        click.echo("Compared: both hold the same")
    elif comparison.differences:
        click.echo("Compared: they differ, do not use the copy")
