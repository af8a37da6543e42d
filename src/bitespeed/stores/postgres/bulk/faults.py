"""What the schema of a PostgreSQL database lacks, and which functions are not ours."""

from typing import Any

import psycopg

from bitespeed.errors import InvalidInput
from bitespeed.resources import named, text
from bitespeed.stores.migrations import created_names, of_package
from bitespeed.stores.postgres import function_set
from bitespeed.stores.postgres.function_set import FunctionSet

_SQL = named(text("bitespeed.stores.postgres.bulk", "sql/faults.sql"))
_OWN_LANGUAGES = {"sql", "plpgsql"}


def faults(connection: psycopg.Connection[Any]) -> list[str]:
    """See `ScannableStore.faults`."""
    functions: dict[str, tuple[str, str]] = {
        name: (language, source) for name, language, source in _rows(connection, "functions")
    }
    ours = function_set.names_of_functions()
    foreign = _rows(connection, "foreign_tables")
    if foreign or any(functions[n][0] not in _OWN_LANGUAGES for n in ours & functions.keys()):
        raise InvalidInput(
            "The functions or tables of this database only forward to other servers: run bitespeed"
            " check on each of those"
        )
    relations = {name for (name,) in _rows(connection, "relations")}
    missing = sorted(created_names(of_package("bitespeed.stores.postgres")) - relations)
    missing += [f"function {name}" for name in sorted(ours - functions.keys())]
    found = [f"{name} is missing from the schema" for name in missing]
    found += [f"index {name} is not valid" for (name,) in _rows(connection, "invalid_indexes")]
    if _is_current(connection):
        there = sorted(ours & functions.keys())
        altered = [name for name in there if not _is_ours(name, functions[name][1])]
        found += [f"function {name} is not the one of this version" for name in altered]
    if {"cache", "tombstone", "erasure_secret"} <= relations:
        found += [sentence for (sentence,) in _rows(connection, "secrets")]
    return found


def _is_ours(name: str, source: str) -> bool:
    """Whether the source of a function stands in its file. A body in standard SQL has no source."""
    script = text("bitespeed.stores.postgres", f"functions/{name}.sql")
    return source in script if source else "$$" not in script


def _is_current(connection: psycopg.Connection[Any]) -> bool:
    """Whether the functions were written by this version; a later one has other texts."""
    return [FunctionSet(*row) for row in _rows(connection, "function_set")] == [
        function_set.current()
    ]


def _rows(connection: psycopg.Connection[Any], name: str) -> list[tuple[Any, ...]]:
    return connection.execute(_SQL[name].encode()).fetchall()
