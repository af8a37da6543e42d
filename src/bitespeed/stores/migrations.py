"""Forward-only numbered migrations: what a database lacks of the files beside a store."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from bitespeed.errors import StoreDamaged
from bitespeed.resources import names, text

LEDGER_COLUMNS = ["name", "checksum", "applied_at"]
"""The columns of the table ``migration``; a table of that name with others is another program's."""

_CREATED = re.compile(r"^create (?:table|view|index|sequence) (?:\w+\.)?(\w+)", re.MULTILINE)

SCHEMAS_BEFORE = {"0001_tables.sql", "0001_identities.sql"}
"""First migrations of schemas that no migration leads from: PostgreSQL's and SQLite's."""


class Migration(NamedTuple):
    """One file; its name begins with its number."""

    name: str
    script: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def of_package(package: str) -> list[Migration]:
    """The files in the folder ``migrations`` of a package, in their order."""
    return [
        Migration(name, text(package, f"migrations/{name}"))
        for name in names(package, "migrations")
    ]


def created_names(ours: list[Migration]) -> set[str]:
    """The names of the tables, views, indexes and sequences that the migrations create."""
    return {name for migration in ours for name in _CREATED.findall(migration.script)}


def require_no_others(found: Iterable[str], ours: Collection[str]) -> None:
    """Raise `StoreDamaged` if a name of ours is found in a database that we have not prepared."""
    if names := sorted(set(found).intersection(ours)):
        raise others_own(names[0])


def others_own(name: str) -> StoreDamaged:
    """The error of a database with another program's table under a name of ours."""
    return StoreDamaged(
        f"The database belongs to another program: it has a {name} that is not ours. Name another"
        " database; nothing has been changed"
    )


def missing(ours: list[Migration], applied: Mapping[str, str]) -> list[Migration]:
    """The migrations not applied yet; ``applied`` has checksums by name.

    Raises `StoreDamaged` when one of ours was applied with another text, or when the database has a
    schema of before the first release.
    """
    if not SCHEMAS_BEFORE.isdisjoint(applied):
        raise StoreDamaged(
            "The database has the schema of an earlier version, which cannot be migrated: write its"
            " customers to a file with bitespeed export of the version that made it, and read the"
            " file into a new database with bitespeed import of this one"
        )
    for migration in ours:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise StoreDamaged(
                f"The database was made by another build: migration {migration.name} differs"
            )
    return [migration for migration in ours if migration.name not in applied]


def later(ours: list[Migration], applied: Mapping[str, str]) -> list[str]:
    """The names of the applied migrations that only a later version of this code can have."""
    return sorted(set(applied) - {migration.name for migration in ours})
