"""What the schema of a PostgreSQL database lacks, and which functions are not ours."""

import re
from collections.abc import Iterable

import msgspec

from bitespeed.errors import InvalidInput
from bitespeed.resources import text
from bitespeed.stores.migrations import created_names, of_package
from bitespeed.stores.postgres import function_set
from bitespeed.stores.postgres.function_set import FunctionSet

DESCRIBER = "inventory"
"""The function that describes the schema."""

OF_DESCRIBER = b"""
select json_agg(json_build_array(
    p.proname, l.lanname, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)))
from pg_proc p
join pg_language l on l.oid = p.prolang
where p.pronamespace = 'bitespeed'::regnamespace and p.proname = 'inventory'
"""
"""That function itself, as it lists functions; null if there is none."""

_OWN_LANGUAGES = {"sql", "plpgsql"}
_FORWARDING = re.compile(r"\b(?:dblink|plproxy)\w*(?:\.\w+)?\s*\(", re.IGNORECASE)  # a call

Definition = tuple[str, str, str]
"""Of a function: its name, its language and its body."""


class _Inventory(msgspec.Struct):
    """See functions/inventory.sql."""

    functions: list[Definition]
    relations: list[tuple[str, str]]
    invalid_indexes: list[str]
    empty: list[str]
    function_sets: list[FunctionSet]


def faults_of_describer(document: bytes | None) -> list[str]:
    """Why the inventory of a database cannot be had, by its answer to `OF_DESCRIBER`.

    Raises `InvalidInput` if that of another server would be had.
    """
    definitions = msgspec.json.decode(document or b"[]", type=list[Definition])
    _refuse_forwarding(definitions)
    return [] if definitions else [_missing(f"function {DESCRIBER}")]


def faults(document: bytes) -> list[str]:
    """See `ScannableStore.faults`; ``document`` is the inventory of the database."""
    try:
        inventory = msgspec.json.decode(document, type=_Inventory)
    except msgspec.ValidationError:
        return [_altered(DESCRIBER)]
    _refuse_forwarding(inventory.functions)
    kinds = dict(inventory.relations)
    if "f" in kinds.values():
        raise _forwards("tables")
    ours = function_set.names_of_functions()
    there = {name for name, _, _ in inventory.functions}
    missing = sorted(created_names(of_package("bitespeed.stores.postgres")) - kinds.keys())
    missing += [f"function {name}" for name in sorted(ours - there)]
    found = [_missing(name) for name in missing]
    found += [f"index {name} is not valid" for name in inventory.invalid_indexes]
    if inventory.function_sets == [function_set.current()]:  # a later version has other texts
        intact = {
            name for name, _, body in inventory.functions if name in ours and _is_ours(name, body)
        }
        found += [_altered(name) for name in sorted((ours & there) - intact)]
    if "cache" in inventory.empty:
        found.append("cache has no row, and so no secret")
    if "erasure_secret" in inventory.empty and "tombstone" not in inventory.empty:
        found.append("erasure_secret has no row, though there are tombstones")
    return found


def _refuse_forwarding(definitions: Iterable[Definition]) -> None:
    """Raise `InvalidInput` if a function under a name of ours calls another server."""
    ours = function_set.names_of_functions()
    for name, language, body in definitions:
        if name in ours and (language not in _OWN_LANGUAGES or _FORWARDING.search(body)):
            raise _forwards("functions")


def _forwards(what: str) -> InvalidInput:
    return InvalidInput(
        f"The {what} of this database only forward to other servers: run bitespeed check on each of"
        " those"
    )


def _missing(name: str) -> str:
    return f"{name} is missing from the schema"


def _altered(name: str) -> str:
    return f"function {name} is not the one of this version"


def _is_ours(name: str, body: str) -> bool:
    """Whether a function of ours has the body that stands in its file."""
    return f"$${body}$$" in text("bitespeed.stores.postgres", f"functions/{name}.sql")
