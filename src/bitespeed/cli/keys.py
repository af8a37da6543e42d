"""``bitespeed keys``."""

import json
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bitespeed import settings as settings_of
from bitespeed.cli.common import as_json, awaiting, database
from bitespeed.errors import InvalidInput, NotFound
from bitespeed.model.api_keys import ApiKey, new_key
from bitespeed.stores import Store, open_store

WIDE = 200  # characters; cut off, an id or an instant is of no use

_SPAN = re.compile(r"(\d{1,5})([dh])")


@click.group()
def keys() -> None:
    """Make, list and revoke API keys.

    A key belongs to one tenant, a shop, and sees nothing of another. Running servers heed a
    new or revoked key within five seconds.
    """


@keys.command()
@click.option("--tenant", required=True, metavar="SHOP", help="Whose customers the key opens.")
@click.option(
    "--scope",
    required=True,
    metavar="LIST",
    help="What it is good for: identify, read, delete, admin, metrics; several with commas.",
)
@click.option(
    "--expires",
    metavar="WHEN",
    help="30d, 12h, or an ISO date such as 2031-01-31.  [default: never]",
)
@database
@awaiting
async def create(tenant: str, scope: str, expires: str | None, database: str | None) -> None:
    """Make a key and print it, this once.

    Only its hash is kept, so a lost key is revoked and replaced.
    """
    now = time.time_ns() // 1000
    key, text = new_key(tenant, scope.split(","), now, _instant(expires))
    async with _opened(database) as store:
        await store.put_key(key)
    click.echo(text)
    click.echo(f"Key {key.id} of {tenant}, for {', '.join(key.scopes)}. Keep it now.", err=True)


@keys.command("list")
@as_json
@database
@awaiting
async def list_(as_json: bool, database: str | None) -> None:
    """List all keys, the newest last."""
    async with _opened(database) as store:
        found = sorted(await store.keys(), key=lambda key: (key.created_at, key.id))
    told = [_told(key) for key in found]
    if as_json:
        click.echo(json.dumps(told))
        return
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for line in told:
        table.add_row(*(line[column] or "-" for column in _COLUMNS))
    Console(highlight=False, markup=False, width=WIDE).print(table)


@keys.command()
@click.argument("id_", metavar="ID")
@database
@awaiting
async def revoke(id_: str, database: str | None) -> None:
    """Make the key with this id good for nothing, for ever."""
    async with _opened(database) as store:
        found = await store.keys([id_])
        if not found:
            raise NotFound("There is no key with this id; bitespeed keys list shows them")
        now = time.time_ns() // 1000
        await store.put_key(
            msgspec.structs.replace(found[0], revoked_at=found[0].revoked_at or now)
        )
    click.echo(f"Revoked {id_}.")


_COLUMNS = ("id", "tenant", "scopes", "created", "expires", "revoked")


def _told(key: ApiKey) -> dict[str, str | None]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": " ".join(key.scopes),
        "created": _shown(key.created_at),
        "expires": _shown(key.expires_at),
        "revoked": _shown(key.revoked_at),
    }


def _shown(instant: int | None) -> str | None:
    if instant is None:
        return None
    return datetime.fromtimestamp(instant / 1e6, UTC).isoformat(timespec="seconds")


def _instant(text: str | None) -> int | None:
    """Microseconds since 1970 of a span from now, or of a date in UTC. Raises `InvalidInput`."""
    if text is None:
        return None
    try:
        if span := _SPAN.fullmatch(text):
            unit = timedelta(days=1) if span[2] == "d" else timedelta(hours=1)
            at = datetime.now(UTC) + int(span[1]) * unit
        else:
            at = datetime.fromisoformat(text)
        return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1e6)
    except (ValueError, OverflowError):
        raise InvalidInput("--expires takes 30d, 12h, or a date such as 2031-01-31") from None


@asynccontextmanager
async def _opened(database: str | None) -> AsyncGenerator[Store]:
    settings = settings_of.load({"database": database})
    store = await open_store(settings.database, settings.options)
    try:
        yield store
    finally:
        await store.close()
