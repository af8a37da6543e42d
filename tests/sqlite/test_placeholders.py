"""Each statement has `?` for a sequence or names for a mapping, which every Python binds alike.

Python 3.12.1 warns of `?1` beside a sequence, as it does of names; 3.14 refuses names.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import bitespeed.stores.sqlite
from bitespeed.resources import named

FILES = sorted((Path(bitespeed.stores.sqlite.__file__).parent / "sql").glob("*.sql"))
STATEMENTS = {
    f"{file.stem}.{name}": statement
    for file in FILES
    for name, statement in named(file.read_text()).items()
}


def kinds(statement: str) -> set[str]:
    """The kinds of placeholders in it."""
    code = re.sub(r"--.*|'[^']*'", "", statement)
    found = {"numbered"} if re.search(r"\?\d", code) else set()
    found |= {"plain"} if re.search(r"\?(?!\d)", code) else set()
    return found | ({"named"} if re.search(r"[:@$]\w", code) else set())


def test_statements_have_plain_or_named_placeholders() -> None:
    assert len(STATEMENTS) > 30
    assert {
        n for n, s in STATEMENTS.items() if kinds(s) not in (set(), {"plain"}, {"named"})
    } == set()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("select ?1, ?1", {"numbered"}),
        ("select ?, :name", {"plain", "named"}),
        ("select ?, ?2", {"plain", "numbered"}),
        ("select @name, $name", {"named"}),
        ("select '?1:x' -- :y", set()),
    ],
)
def test_kinds_of_placeholders_are_noticed(statement: str, expected: set[str]) -> None:
    assert kinds(statement) == expected


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_python_binds_a_statement_without_warning(name: str) -> None:
    statement = STATEMENTS[name]
    values = dict.fromkeys(re.findall(r":(\w+)", statement), "[]")
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in sorted(FILES[0].parents[1].glob("migrations/*.sql")):
            connection.executescript(script.read_text())
        connection.execute(f"explain {statement}", values or [1] * statement.count("?"))
