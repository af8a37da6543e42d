"""The functions of the schema: their current text, and which release wrote those of a database.

Each file in ``functions/`` creates one function. They are applied as a whole when the text of any
has changed, by a release whose `NUMBER` is not below the stored one; so releases that start in
turns while servers are replaced never undo each other's functions. Both kinds of server run on the
newer functions, so a function keeps its signature and its meaning: another signature is another
name. See docs/decisions/0025-functions-as-current-text.md.
"""

import hashlib

import msgspec

from bitespeed.resources import names, text

NUMBER = 1
"""Raise it with every release in which a function has changed."""

_PACKAGE = "bitespeed.stores.postgres"


class FunctionSet(msgspec.Struct, frozen=True):
    """Which functions a database has: the number of the release, and SHA-256 of all texts."""

    number: int
    checksum: str

    def replaces(self, stored: "FunctionSet | None") -> bool:
        """Whether these functions are to be applied where ``stored`` are."""
        return stored is None or (self.number >= stored.number and self != stored)


def scripts() -> list[str]:
    """The statements that create the functions, in any order."""
    return [text(_PACKAGE, f"functions/{name}") for name in names(_PACKAGE, "functions")]


def names_of_functions() -> set[str]:
    """The names of all functions."""
    return {name.removesuffix(".sql") for name in names(_PACKAGE, "functions")}


def current() -> FunctionSet:
    """The functions of this release."""
    return FunctionSet(NUMBER, hashlib.sha256("\0".join(scripts()).encode()).hexdigest())
