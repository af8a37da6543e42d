"""Forward-only numbered migrations: what a database lacks of the files beside a store."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from bitespeed.errors import StoreDamaged
from bitespeed.resources import names, text


class Migration(NamedTuple):
    """One file; its name begins with its number."""

    name: str
    script: str

    @property
    def checksum(self) -> str:
        """Of the text, in hexadecimal."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def of_package(package: str) -> list[Migration]:
    """The files in the folder ``migrations`` of a package, in their order."""
    return [
        Migration(name, text(package, f"migrations/{name}"))
        for name in names(package, "migrations")
    ]


def missing(ours: list[Migration], applied: Mapping[str, str]) -> list[Migration]:
    """Those not applied yet; ``applied`` has checksums by name.

    Raises `StoreDamaged` when one of ours was applied with another text.
    """
    for migration in ours:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise StoreDamaged(
                f"The database was made by another build: migration {migration.name} differs"
            )
    return [migration for migration in ours if migration.name not in applied]


def later(ours: list[Migration], applied: Mapping[str, str]) -> list[str]:
    """The names of those applied that a later version of this code must have brought."""
    return sorted(set(applied) - {migration.name for migration in ours})
