"""No SQL is built from strings: what a statement is made of stands in the code or in a `.sql` file.

ruff's S608 looks for words of SQL in strings that are put together; this looks at the places where
statements go, so that a statement made elsewhere is noticed as well. semgrep would do the same with
a hundred megabytes more.
"""

import ast
from pathlib import Path

import pytest

import bitespeed

SOURCES = sorted(Path(bitespeed.__file__).parent.rglob("*.py"))
RUNS = {"execute", "executemany", "executescript", "copy", "send_query_params", "fetch"}
EXCEPTIONS = (
    "sqlite/database.py",  # pragmas take no parameters; what goes in is a number of ours
    "adopt/dependents.py",  # the definition of a view, as the catalogue of the database tells it
)


def built(source: str) -> list[int]:
    """The lines in which something that is put together from strings is run as a statement."""
    return [
        call.lineno
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in RUNS
        and call.args
        and any(is_put_together(part) for part in ast.walk(call.args[0]))
    ]


def is_put_together(node: ast.AST) -> bool:
    """An f-string, strings that are added or formatted; psycopg's `sql.SQL` quotes what goes in."""
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Mod)
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"format", "join", "replace"}
        and isinstance(node.func.value, ast.Constant)
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_statement_is_put_together(path: Path) -> None:
    found = built(path.read_text())
    if str(path).endswith(EXCEPTIONS):
        assert found, "No exception is needed any more."
    else:
        assert found == []


@pytest.mark.parametrize(
    "mistake",
    [
        "connection.execute(f'select {x}')",
        "connection.execute('select ' + x)",
        "connection.execute('select %s' % x)",
        "connection.execute('select {}'.format(x))",
        "cursor.executemany(''.join(['select', x]), rows)",
        "await self.fetch(f'select {x}'.encode(), [], 1)",
    ],
)
def test_one_that_is_would_be_noticed(mistake: str) -> None:
    assert built(f"async def work():\n    {mistake}") == [2]
