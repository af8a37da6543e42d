"""Forward-only numbered migrations: what a database lacks of the files beside a store."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from bitespeed.errors import StoreDamaged
from bitespeed.resources import names, text

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
