"""Cells that a spreadsheet would take for a formula, made harmless and read back unchanged.

A customer may call himself ``=hyperlink(...)@evil.test``. In front of such a text an apostrophe
makes a spreadsheet show it as it is.
"""

import re

_FORMULA_BEGINS = ("=", "-", "@", "\t", "\r")
_PHONES = re.compile(r"\+?[0-9]+(?: \+?[0-9]+)*", re.ASCII)


def escaped(value: object) -> object:
    """The value as a cell: with an apostrophe in front if it could be a formula.

    Also where only apostrophes of its own precede that, so that `unescaped` gives it again.
    """
    return f"'{value}" if value is not None and _may_be_formula(str(value)) else value


def unescaped(cell: str) -> str:
    """The text for which `escaped` gave the cell."""
    return cell[1:] if cell.startswith("'") and _may_be_formula(cell) else cell


def _may_be_formula(text: str) -> bool:
    bare = text.lstrip("'")
    return bare.startswith(_FORMULA_BEGINS) or (
        bare.startswith("+") and _PHONES.fullmatch(bare) is None
    )
