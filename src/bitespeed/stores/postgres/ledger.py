"""Whether a database is at this version, for those who do not migrate it themselves."""

import msgspec

from bitespeed.errors import StoreDamaged
from bitespeed.stores.migrations import Migration, missing, of_package

LEDGER = b"select json_object_agg(name, checksum) from bitespeed.migration"
"""What has been applied; it fails where nothing has been."""


def require_applied(ledger: bytes | None) -> None:
    """Raise `StoreDamaged` when the schema is behind this version, by the `LEDGER`."""
    applied = msgspec.json.decode(ledger or b"{}", type=dict[str, str])
    require_none(missing(of_package("bitespeed.stores.postgres"), applied))


def require_none(behind: list[Migration]) -> None:
    """Raise `StoreDamaged` when there is a migration that the database lacks."""
    if behind:
        raise StoreDamaged("The database is behind this version; run bitespeed migrate")
