"""``bitespeed check``."""

import json
from collections import Counter

import click

from bitespeed.cli.common import NO, as_json, awaiting, counted, database, opened_store_to_read
from bitespeed.cli.progress import progress_bar
from bitespeed.jobs.check import MAX_VIOLATIONS
from bitespeed.jobs.check import check as check_store
from bitespeed.rules.invariants import INVARIANTS, Violation


@click.command()
@as_json
@database
@awaiting
async def check(as_json: bool, database: str | None) -> None:
    """Verify that the stored data keep every invariant.

    Reads everything as of one instant, also while a server is running. When something is broken,
    prints the ids concerned and exits with status 1. Invariant I6, that no answer is stale, is
    about answers and not about data; the project's tests verify it.
    """
    checked = 0
    async with opened_store_to_read(database) as store:
        with progress_bar("checking", "identities") as bar:

            def on_page(identities: int) -> None:
                nonlocal checked
                checked += identities
                bar.show(checked)

            violations = await check_store(store, on_page)
    if as_json:
        document = [violation._asdict() for violation in violations]
        click.echo(json.dumps({"identities": checked, "violations": document}))
    else:
        _report(checked, violations)
    if violations:
        raise SystemExit(NO)


def _report(checked: int, violations: list[Violation]) -> None:
    broken = Counter(violation.invariant for violation in violations)
    for invariant, meaning in INVARIANTS.items():
        count = broken[invariant]
        click.echo(f"{invariant:3}  {f'BROKEN ({count})' if count else 'ok':12} {meaning}")
    for violation in violations:
        of = f"identity {violation.identity}: " if violation.identity is not None else ""
        click.echo(f"{violation.invariant}: {of}{violation.what}")
    if len(violations) == MAX_VIOLATIONS:
        click.echo(f"... the search ended after {MAX_VIOLATIONS}")
    identities = counted(checked, "identity", "identities")
    click.echo(f"{identities}, {'damaged' if violations else 'sound'}")
