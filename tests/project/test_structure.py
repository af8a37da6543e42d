"""The shape of the source: short files, and imports that never come back to where they began."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
MAX_SOURCE_LINES = 400
MAX_TEST_LINES = 600


def long_files(paths: Iterable[Path], limit: int) -> list[str]:
    """The files of more lines than the limit, with their numbers of lines."""
    lines = {path: len(path.read_text().splitlines()) for path in sorted(paths)}
    return [f"{path.name}: {count} lines" for path, count in lines.items() if count > limit]


def test_no_source_file_is_longer_than_the_limit() -> None:
    source = ROOT / "src"
    assert long_files([*source.rglob("*.py"), *source.rglob("*.sql")], MAX_SOURCE_LINES) == []


def test_no_test_file_is_longer_than_the_limit() -> None:
    assert long_files((ROOT / "tests").rglob("*.py"), MAX_TEST_LINES) == []


def test_file_longer_than_the_limit_is_noticed(tmp_path: Path) -> None:
    for lines in (400, 401):
        (tmp_path / f"{lines}.py").write_text("x = 1\n" * lines)
    assert long_files(tmp_path.iterdir(), 400) == ["401.py: 401 lines"]


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or through others."""
    reached = {module: _reached(module, imports) for module in imports}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in imports
    }
    return [list(group) for group in sorted(groups) if group]


def _reached(start: str, imports: Mapping[str, set[str]]) -> set[str]:
    """All that a module imports, directly or through others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_no_module_imports_itself_through_others() -> None:
    """Imports for type checkers count too."""
    graph = grimp.build_graph("bitespeed", exclude_type_checking_imports=False, cache_dir=None)
    imports = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    assert len(imports) > 100
    assert circles(imports) == []


def test_circle_of_imports_is_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
