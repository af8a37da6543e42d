"""``bitespeed check``."""

import json
from collections import Counter

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bitespeed import settings as settings_of
from bitespeed.cli.common import NO, as_json, awaiting, database, err
from bitespeed.jobs.check import INVARIANTS, MAX_VIOLATIONS, Violation
from bitespeed.jobs.check import check as check_store
from bitespeed.stores import open_store


@click.command()
@as_json
@database
@awaiting
async def check(as_json: bool, database: str | None) -> None:
    """Verify that the stored data keep every invariant.

    Reads everything as of one instant, also while a server is running. Exit status 1 and the
    ids concerned when something is broken. I6, that no answer is stale, is about answers and
    not about data; the project's tests verify it.
    """
    settings = settings_of.load({"database": database})
    store = await open_store(settings.database, settings.options)
    columns = SpinnerColumn(), TextColumn("{task.completed} identities"), TimeElapsedColumn()
    try:
        with Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task("", total=None)
            violations = await check_store(store, lambda seen: progress.advance(task, seen))
            seen = int(progress.tasks[0].completed)
    finally:
        await store.close()
    if as_json:
        click.echo(
            json.dumps({"identities": seen, "violations": [v._asdict() for v in violations]})
        )
    else:
        _report(seen, violations)
    if violations:
        raise SystemExit(NO)


def _report(seen: int, violations: list[Violation]) -> None:
    broken = Counter(violation.invariant for violation in violations)
    for invariant, meaning in INVARIANTS.items():
        count = broken[invariant]
        click.echo(f"{invariant}  {f'BROKEN ({count})' if count else 'ok':12} {meaning}")
    for violation in violations:
        click.echo(f"{violation.invariant}: identity {violation.identity}: {violation.what}")
    if len(violations) == MAX_VIOLATIONS:
        click.echo(f"... the search ended after {MAX_VIOLATIONS}")
    click.echo(f"{seen} identities, {'sound' if not violations else 'damaged'}")
