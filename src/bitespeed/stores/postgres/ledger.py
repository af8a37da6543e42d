"""Whether a database is at this version, for processes that do not migrate it themselves."""

import msgspec

from bitespeed.errors import StoreDamaged
from bitespeed.stores.migrations import missing, of_package
from bitespeed.stores.postgres import function_set
from bitespeed.stores.postgres.function_set import FunctionSet

LEDGER = b"""
select json_build_object(
    'migrations', (select json_object_agg(m.name, m.checksum) from bitespeed.migration m),
    'functions', (select row_to_json(f) from bitespeed.function_set f))
"""
"""What has been applied; it fails where nothing has been."""


class Ledger(msgspec.Struct):
    """What has been applied to a database: checksums of migrations by name, and the functions."""

    migrations: dict[str, str] | None = None
    functions: FunctionSet | None = None


_ledger = msgspec.json.Decoder(Ledger)


def require_applied(document: bytes | None) -> None:
    """Raise `StoreDamaged` when the schema is behind this version, by the `LEDGER`."""
    ledger = _ledger.decode(document or b"{}")
    if missing(of_package("bitespeed.stores.postgres"), ledger.migrations or {}):
        raise behind()
    # The number alone: to compare the texts, each cold start of a Lambda function would read them.
    if ledger.functions is None or ledger.functions.number < function_set.NUMBER:
        raise behind()


def behind() -> StoreDamaged:
    """The error of a database that is behind this version."""
    return StoreDamaged("The database is behind this version; run bitespeed migrate")
