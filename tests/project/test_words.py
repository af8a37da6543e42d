"""The glossary holds: words unlearned, one class for a name, nouns in settings, names of tests."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_type_hints

import pytest

from bitespeed.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "bitespeed"
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()

MAX_TEST_WORDS = 9  # after `test_`; a claim of more is two claims
NOT_FIRST = {
    *("and", "but", "even", "neither", "nor", "or", "so", "then"),
    *("he", "her", "his", "it", "its", "one", "ones", "others", "she", "some", "such"),
    *("that", "their", "them", "there", "these", "they", "this", "those"),
    *("what", "which", "who", "whoever", "whom", "whose"),
}
"""Words that a test's name must not begin with, as they lean on another sentence."""


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the glossary."""
    section = GLOSSARY.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


UNLEARNED = {
    word: tuple(places.split(", "))
    for words, places, _ in rows_of("Words unlearned")
    for word in words.split(", ")
}
NOUNS = {
    noun
    for nouns, _ in rows_of("Words for settings and constants")
    for noun in re.findall(r"\*\*(\w+)\*\*", nouns)
}


class Hit(NamedTuple):
    """A word unlearned, and where it stands."""

    word: str
    place: str
    line: int
    text: str


def words_of(name: str) -> list[str]:
    """The words that a name is made of; to look up is one word."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", re.sub(r"(?i)look_?ups?", "lookup", name))
    return [word.lower() for word in words]


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int, str]]:
    """Each name that the source binds, its line, and whether it is a parameter or another name."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno, "names"
            case ast.arg():
                yield node.arg, node.lineno, "parameters"
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno, "names"
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno, "names"
            case ast.alias(asname=str()):
                yield node.asname, node.lineno, "names"
            case _:
                pass


def in_names(names: Iterator[tuple[str, int, str]]) -> Iterator[Hit]:
    for name, line, kind in names:
        for word in words_of(name):
            places = UNLEARNED.get(word, ())
            if "names" in places or kind in places:
                yield Hit(word, kind, line, name)


PROSE = re.compile(
    rf"(?i)\b({'|'.join(word for word, places in UNLEARNED.items() if 'prose' in places)})\b"
)


def in_prose(text: str, line: int) -> Iterator[Hit]:
    text = re.sub(r"\\[nrt]", "  ", text)  # escapes, whose letter would join the next word
    for found in PROSE.finditer(text):
        at = line + text.count("\n", 0, found.start())
        yield Hit(found[0].lower(), "prose", at, text.splitlines()[at - line].strip())


def in_python(source: str) -> list[Hit]:
    """The words unlearned in the names, comments, docstrings and texts of a module."""
    hits = [*in_names(bound_names(ast.parse(source)))]
    fragments = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in fragments:
            hits += in_prose(token.string, token.start[0])
    return hits


SQL_PROSE = re.compile(r"--[^\n]*|'(?:[^']|'')*'")


def in_sql(source: str) -> list[Hit]:
    """The same for SQL, where the keyword `references` is no name."""
    hits: list[Hit] = []
    for found in SQL_PROSE.finditer(source):
        hits += in_prose(found[0], 1 + source.count("\n", 0, found.start()))
    code = SQL_PROSE.sub(lambda found: "\n" * found[0].count("\n"), source)
    names = (
        (name, number, "names")
        for number, line in enumerate(code.splitlines(), 1)
        for name in re.findall(r"\w+", line)
        if name.lower() != "references"
    )
    return [*hits, *in_names(names)]


def in_file(path: Path) -> list[str]:
    """The words unlearned in a file of the package, each with its place."""
    text = path.read_text()
    readers = {".py": in_python, ".sql": in_sql}
    hits = readers.get(path.suffix, lambda text: [*in_prose(text, 1)])(text)
    return [f"{path.relative_to(ROOT)}:{hit.line}: {hit.word} ({hit.text})" for hit in hits]


FILES = [
    path
    for path in sorted(SOURCE.rglob("*"))
    if path.suffix in {".py", ".sql", ".lua", ".yaml", ".html"}
]


def test_source_uses_no_word_unlearned() -> None:
    assert [hit for path in FILES for hit in in_file(path)] == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def tell(): ...", ["tell"]),
        ("class _Told: ...", ["told"]),
        ("is_asked = self.last_asked = 1", ["asked", "asked"]),
        ("def f(on_settled, *, most): ...", ["settled", "most"]),
        ("async def _look_at(): look_up = lookUps = 1", ["look"]),
        ("import os as turns", ["turns"]),
        ("most = server.tells.ask(told=1)", []),
        ("# It is told\n'for good, and\\nPATIENCE'", ["told", "for good", "patience"]),
        ('x = f"{y} founded {z}"', ["founded"]),
        ("'most who are asked hold it, retold'", []),
    ],
)
def test_word_unlearned_in_python_is_noticed(source: str, words: list[str]) -> None:
    assert sorted(hit.word for hit in in_python(source)) == sorted(words)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("select is_told from event -- who is told\n", ["told", "told"]),
        ("create table a (b int references c)", []),
        ("create function traces() returns\nint", ["traces"]),
        ("select 'it''s founded', held", ["founded", "held"]),
    ],
)
def test_word_unlearned_in_sql_is_noticed(source: str, words: list[str]) -> None:
    assert sorted(hit.word for hit in in_sql(source)) == sorted(words)


def test_word_unlearned_is_reported_with_its_line() -> None:
    (hit,) = in_python('"""One\n\nTwo is told.\n"""\n')
    assert hit == Hit("told", "prose", 3, "Two is told.")


def test_no_word_has_two_rows_in_the_glossary() -> None:
    words = [
        word
        for line in GLOSSARY.partition("\n## Words for settings")[0].splitlines()
        for word in re.findall(r"\*\*([\w ]+)\*\*", line.partition(" | ")[0])
    ]
    assert len(words) > 40
    assert [word for word in words if words.count(word) > 1] == []


def shared_class_names(sources: dict[str, str]) -> dict[str, list[str]]:
    """The public classes at the top of more than one module, and which modules those are."""
    modules: dict[str, list[str]] = defaultdict(list)
    for module, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(module)
    return {name: found for name, found in modules.items() if len(found) > 1}


def test_no_two_public_classes_share_a_name() -> None:
    sources = {str(path.relative_to(SOURCE)): path.read_text() for path in SOURCE.rglob("*.py")}
    assert shared_class_names(sources) == {}


def test_second_public_class_of_a_name_is_noticed() -> None:
    sources = {"a": "class Same: ...\nclass _Own: ...", "b": "class Same: ...\nclass _Own: ..."}
    assert shared_class_names(sources) == {"Same": ["a", "b"]}


def settings_without_noun(hints: dict[str, object]) -> list[str]:
    """The settings that are no switch and whose names do not say what kind of value they take."""
    return [
        name
        for name, hint in hints.items()
        if hint is not bool
        and not name.startswith("max_")
        and not any(f"_{name.partition('_per_')[0]}".endswith(f"_{noun}") for noun in NOUNS)
    ]


def test_every_setting_has_a_noun_of_the_glossary() -> None:
    assert settings_without_noun(get_type_hints(Settings)) == []


def test_setting_without_a_noun_is_noticed() -> None:
    good = {"public": bool, "max_waiting_per_tenant": int, "key": str, "database_timeout": float}
    bad = {"redis": str, "answer_time": float, "patience": float, "monkey": str}
    assert settings_without_noun(good | bad) == [*bad]


def badly_named(source: str) -> list[str]:
    """The tests whose names are long, lean on another sentence or use a word unlearned."""
    names = [
        node.name.removeprefix("test_")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]
    return [
        name
        for name in names
        if len(name.split("_")) > MAX_TEST_WORDS
        or name.split("_")[0] in NOT_FIRST
        or any({"names", "prose"} & {*UNLEARNED.get(word, ())} for word in words_of(name))
    ]


def test_names_of_tests_stand_alone() -> None:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    bad = {str(f.relative_to(ROOT)): names for f in files if (names := badly_named(f.read_text()))}
    assert bad == {}


@pytest.mark.parametrize(
    ("name", "is_bad"),
    [
        ("test_second_worker_accepts_when_first_is_busy", False),
        ("test_one_two_three_four_five_six_seven_eight_nine", True),
        ("test_ten_two_three_four_five_six_seven_eight_nine_ten", True),
        ("test_then_it_is_the_next", True),
        ("test_nor_does_another", True),
        ("test_failure_is_told", True),
        ("test_at_most_five_are_found", False),
    ],
)
def test_name_that_does_not_stand_alone_is_noticed(name: str, *, is_bad: bool) -> None:
    assert bool(badly_named(f"def {name}(): ...")) is is_bad
