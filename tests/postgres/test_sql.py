"""No SQL is built from strings: what a statement is made of stands in the code or in a `.sql` file.

ruff's S608 looks for words of SQL in strings that are put together; this looks at the places where
statements go, so that a statement made elsewhere is noticed as well. semgrep finds the same, and
takes 390 MB and ten seconds.
"""

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import bitespeed

SOURCES = sorted(Path(bitespeed.__file__).parent.rglob("*.py"))
RUNS = {"execute", "executemany", "executescript", "copy", "send_query_params", "fetch"}
EXCEPTIONS = (
    "sqlite/database.py",  # pragmas take no parameters; what goes in is a number of ours
    "adopt/dependents.py",  # the definition of a view, as the catalogue of the database tells it
)


MAX_STEPS = 5  # from one name to the next
# psycopg's: `sql.SQL`, and statements made of it, quote what goes in.
COMPOSED = frozenset({"ADOPT", "SQL"})


def built(source: str) -> list[int]:
    """The lines in which something that is put together from strings is run as a statement, also
    by way of a name.
    """
    tree = ast.parse(source)
    composed = COMPOSED | names_for(tree, lambda value: is_composed(value, COMPOSED))
    names: frozenset[str] = frozenset()
    for _ in range(MAX_STEPS):
        names |= names_for(tree, partial(is_put_together, names=names, composed=composed))
    return [
        call.lineno
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in RUNS
        and call.args
        and is_put_together(call.args[0], names, composed)
    ]


def names_for(tree: ast.AST, is_meant: Callable[[ast.AST], bool]) -> set[str]:
    """The names that such a value is given to; `x += y` is `x = x + y`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and is_meant(node.value):
            targets = node.targets
        elif isinstance(node, ast.AugAssign) and is_meant(
            ast.BinOp(node.target, node.op, node.value)
        ):
            targets = [node.target]
        else:
            continue
        parts = [part for target in targets for part in ast.walk(target)]
        found |= {n.id for n in parts if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


def is_composed(node: ast.AST, composed: frozenset[str]) -> bool:
    """`ADOPT["x"]`, `sql.SQL("x")`, and names for one of them."""
    if isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    return getattr(node, "id", getattr(node, "attr", None)) in composed


def is_put_together(node: ast.AST, names: frozenset[str], composed: frozenset[str]) -> bool:
    """An f-string, strings that are added or formatted, one of the names, or what has one in it."""
    if is_composed(node, composed):
        return False
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Name) and node.id in names):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return True
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    if is_call and node.func.attr in {"format", "join", "replace"}:
        return not is_composed(node.func.value, composed)
    return any(is_put_together(part, names, composed) for part in ast.iter_child_nodes(node))


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
        "q = 'select ' + x; connection.execute(q)",
        "q = f'select {x}'; r = q.encode(); connection.execute(r, [1])",
        "q, r = f'select {x}', 1; connection.execute(q)",
        "q = 'select '; q += x; connection.execute(q)",
        "connection.execute(QUERY.format(x))",
        "connection.execute(SQL_OF['read'].replace('x', x))",
    ],
)
def test_statement_built_from_text_is_noticed(mistake: str) -> None:
    assert built(f"async def work():\n    {mistake}") == [2]


@pytest.mark.parametrize(
    "statement",
    [
        "connection.execute('select 1', [f'{x}'])",
        "connection.execute(sql.SQL('select {}').format(sql.Literal(x)))",
        "name = f'{x}'; connection.execute('select ?', [name])",
    ],
)
def test_values_beside_a_statement_are_none_of_it(statement: str) -> None:
    assert built(statement) == []
