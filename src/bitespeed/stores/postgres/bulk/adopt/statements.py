"""The SQL statements of adoption, by name."""

from typing import LiteralString, cast

from psycopg import sql

from bitespeed.resources import named, text


def _load(name: str) -> dict[str, sql.SQL]:
    statements = named(text("bitespeed.stores.postgres.bulk", f"sql/{name}.sql"))
    return {name: sql.SQL(cast("LiteralString", text.strip())) for name, text in statements.items()}


ADOPT = _load("adopt")
CATALOG = _load("adopt_catalog")
