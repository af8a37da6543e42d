"""``bitespeed keys``."""

import json
import os
import re
import time
from datetime import UTC, datetime, timedelta

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bitespeed.cli.common import as_json, awaiting, database, opened_store, opened_store_to_read
from bitespeed.errors import InvalidInput, NotFound
from bitespeed.model.api_keys import ApiKey, new_key

TABLE_WIDTH = 200  # characters; in a narrow terminal, an id would be cut off

_DURATION = re.compile(r"(\d{1,5})([dh])")


@click.group()
def keys() -> None:
    """Create, list and revoke API keys.

    A key belongs to one tenant, that is one shop, and gives access to no other. Running servers
    know of a new or revoked key within five seconds.
    """


@keys.command()
@click.option(
    "--tenant",
    required=True,
    metavar="SHOP",
    help="The shop that the key gives access to.",
)
@click.option(
    "--scope",
    required=True,
    metavar="LIST",
    help="What it may be used for: identify, read, delete, admin, metrics; several with commas.",
)
@click.option(
    "--expires",
    metavar="WHEN",
    help="When it ends: after 30d or 12h, or on a date such as 2031-01-31.  [default: never]",
)
@database
@awaiting
async def create(tenant: str, scope: str, expires: str | None, database: str | None) -> None:
    """Create a key and print it.

    Keep it now: only its hash is stored, so it cannot be shown again. Revoke and replace a key
    that is lost.
    """
    now = time.time_ns() // 1000
    key, text = new_key(tenant, scope.split(","), now, _instant(expires), random_bytes=os.urandom)
    async with opened_store(database) as store:
        await store.put_key(key)
    click.echo(text)
    click.echo(f"Key {key.id} of {tenant}, for {', '.join(key.scopes)}. Keep it now.", err=True)


@keys.command("list")
@as_json
@database
@awaiting
async def list_(as_json: bool, database: str | None) -> None:
    """List all keys, the newest last. The keys themselves are not shown."""
    async with opened_store_to_read(database) as store:
        keys = sorted(await store.keys(), key=lambda key: (key.created_at, key.id))
    rows = [_row(key) for key in keys]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(row[column] or "-" for column in _COLUMNS))
    Console(highlight=False, markup=False, width=TABLE_WIDTH).print(table)


@keys.command()
@click.argument("id_", metavar="ID")
@database
@awaiting
async def revoke(id_: str, database: str | None) -> None:
    """Revoke the key with this id. It cannot be used again."""
    async with opened_store_to_read(database) as store:
        keys = await store.keys([id_])
        if not keys:
            raise NotFound("There is no key with this id; bitespeed keys list shows them")
        revoked_at = keys[0].revoked_at or time.time_ns() // 1000
        await store.put_key(msgspec.structs.replace(keys[0], revoked_at=revoked_at))
    click.echo(f"Revoked {id_}.")


_COLUMNS = ("id", "tenant", "scopes", "created", "expires", "revoked")


def _row(key: ApiKey) -> dict[str, str | None]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": " ".join(key.scopes),
        "created": _date(key.created_at),
        "expires": _date(key.expires_at),
        "revoked": _date(key.revoked_at),
    }


def _date(instant: int | None) -> str | None:
    if instant is None:
        return None
    return datetime.fromtimestamp(instant / 1e6, UTC).isoformat(timespec="seconds")


def _instant(text: str | None) -> int | None:
    """Microseconds since 1970, after a duration from now or on a date. Raises `InvalidInput`."""
    if text is None:
        return None
    try:
        if duration := _DURATION.fullmatch(text):
            unit = timedelta(days=1) if duration[2] == "d" else timedelta(hours=1)
            at = datetime.now(UTC) + int(duration[1]) * unit
        else:
            at = datetime.fromisoformat(text)
        return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1e6)
    except (ValueError, OverflowError):
        raise InvalidInput("--expires takes 30d, 12h, or a date such as 2031-01-31") from None
