"""Databases that are not there, not prepared, or another program's: said, and left as they are."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from bitespeed.settings import load_settings
from support.commands import bitespeed, succeed
from support.processes import heed_interrupts
from support.server import free_port

READING = [
    ("lookup", "--email", "a@b.example"),
    ("export",),
    ("export", "--email", "a@b.example"),
    ("check",),
    ("pseudonym", "--email", "a@b.example"),
    ("cache", "stats"),
    ("keys", "list"),
]
WRITING = [
    ("identify", "--email", "a@b.example"),
    ("import", "rows.csv"),
    ("serve", "--port", "0"),
    ("migrate",),
]
OTHERS = {
    "a table of our name": "create table event (id integer, note text)",
    "a view of our name": "create view contact as select 1 as id",
    "a ledger of another shape": "create table migration (id integer, run_on text)",
}


def named(commands: list[tuple[str, ...]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("command", commands, ids=" ".join)


def files(folder: Path) -> dict[str, str]:
    """Every file with the hash of what is in it."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def assert_refused(folder: Path, command: tuple[str, ...], url: str, *words: str) -> None:
    """It ends with status 2 and one sentence, and no file has changed."""
    before = files(folder)
    done = bitespeed(
        *command, cwd=folder, DATABASE_URL=url, REDIS_URL=f"redis://127.0.0.1:{free_port()}"
    )
    assert done.returncode == 2, done
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("Error: ")
    for word in words:
        assert word in sentence
    assert files(folder) == before


@named(READING)
def test_reading_command_creates_no_file(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert_refused(tmp_path, command, "sqlite:///none.db", "There is no database file none.db")


@named(READING)
def test_reading_command_leaves_an_empty_file_empty(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "empty.db").touch()
    words = "is not prepared, it is empty; run bitespeed migrate"
    assert_refused(tmp_path, command, "sqlite:///empty.db", words)


@named(READING)
def test_reading_command_adds_nothing_to_another_programs_file(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect(tmp_path / "notes.db")) as connection:
        connection.execute("create table note (text)")
        connection.execute("insert into note values ('hello')")
        connection.commit()
    words = "is not prepared, it holds another program's tables"
    assert_refused(tmp_path, command, "sqlite:///notes.db", words)


@named(READING)
def test_reading_command_migrates_no_server(
    tmp_path: Path, database: str, command: tuple[str, ...]
) -> None:
    assert_refused(tmp_path, command, database, "The database is not prepared; run bitespeed")
    assert schemas(database) == {"public"}


@named(READING[:-2])
def test_reading_command_works_once_the_database_is_prepared(
    tmp_path: Path, database: str, command: tuple[str, ...]
) -> None:
    for url in ("sqlite:///mine.db", database):
        succeed("identify", "--email", "a@b.example", "--database", url, cwd=tmp_path)
        succeed(*command, "--database", url, cwd=tmp_path)


@pytest.mark.parametrize("other", OTHERS)
@named([*READING, *WRITING])
def test_file_with_others_tables_under_our_names_is_refused(
    tmp_path: Path, command: tuple[str, ...], other: str
) -> None:
    (tmp_path / "rows.csv").write_text("email\na@b.example\n")
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as connection:
        connection.execute(OTHERS[other])
        connection.commit()
    assert_refused(tmp_path, command, "sqlite:///theirs.db", "The database ")


@pytest.mark.parametrize("other", [*OTHERS, "a function of our name"])
@named([*WRITING, READING[0]])
def test_schema_with_others_tables_under_our_names_is_refused(
    tmp_path: Path, database: str, command: tuple[str, ...], other: str
) -> None:
    (tmp_path / "rows.csv").write_text("email\na@b.example\n")
    statement = OTHERS.get(other, "create function commit() returns int language sql as 'select 1'")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create schema bitespeed")
        connection.execute("set search_path = bitespeed")
        connection.execute(statement.encode())
    before = relations(database)
    assert_refused(tmp_path, command, database, "The database ")
    assert relations(database) == before


def test_own_schema_beside_tables_of_others_is_used(tmp_path: Path, database: str) -> None:
    with closing(sqlite3.connect(tmp_path / "both.db")) as connection:
        connection.execute("create table note (text)")
        connection.commit()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create schema bitespeed create table note (text text)")
    for url in ("sqlite:///both.db", database):
        for _ in range(2):
            succeed("identify", "--email", "a@b.example", "--database", url, cwd=tmp_path)


def schemas(url: str) -> set[str]:
    query = r"select nspname from pg_namespace where nspname !~ '^pg_|^information_schema'"
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute(query.encode())}


def relations(url: str) -> list[tuple[str, str]]:
    query = """
        select relname, '' from pg_class where relnamespace = 'bitespeed'::regnamespace
        union all
        select proname, prosrc from pg_proc where pronamespace = 'bitespeed'::regnamespace
        order by 1
    """
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


# What is printed about a database


@pytest.mark.parametrize("password", ["a?b", "a#b", "a?b#c", "p%40ss", "?", "#/", "a:b?c"])
def test_password_is_never_printed(password: str) -> None:
    for form in ("postgresql://me:{}@db.example:5433/shop", "postgres://me:{}@db.example/shop"):
        shown = load_settings({"database": form.format(password)}, {}).database_shown
        assert "me" not in shown.removesuffix(".example")
        assert password not in shown
        if "/" not in password:
            scheme, port = form.partition(":")[0], ":5433" if "5433" in form else ""
            assert shown == f"{scheme}://db.example{port}/shop"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql:///shop", "postgresql:///shop"),
        ("postgresql://db", "postgresql://db"),
        ("postgresql://me@[::1]:5432/shop?password=x", "postgresql://[::1]:5432/shop"),
        ("postgresql://me:x@a:1,b:2/shop", "postgresql://a:1,b:2/shop"),
        (
            "postgresql:///shop?host=/run/postgresql&user=me",
            "postgresql://%2Frun%2Fpostgresql/shop",
        ),
        ("postgresql://me:x@db/shop?nonsense=y", "postgresql://..."),
        ("https://me:x@project.supabase.co/", "https://project.supabase.co"),
        ("https://me:x?y@project.supabase.co/", "https://..."),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
    ],
)
def test_url_is_printed_as_its_driver_reads_it(url: str, shown: str) -> None:
    assert load_settings({"database": url}, {}).database_shown == shown


# Files to write


@pytest.mark.parametrize(
    "command",
    [
        ("export", "--output", "none/out"),
        ("export", "--email", "a@b.example", "--output", "none/out"),
        ("import", "rows.csv", "--rejects", "none/rejects"),
    ],
    ids=" ".join,
)
def test_missing_output_folder_is_one_line_of_error(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "rows.csv").write_text("email\nno email\n")
    succeed("identify", "--email", "a@b.example", cwd=tmp_path)
    done = bitespeed(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: The ")
    assert done.stderr.endswith(f" {command[-1]} cannot be written{os.linesep}")


@pytest.mark.parametrize("delay", [0.6, 0.9, 1.2, 1.8, 2.4])
@pytest.mark.parametrize("date", ["", "2010-01-01"])
def test_import_interrupted_at_any_moment_prints_no_traceback(
    tmp_path: Path, delay: float, date: str
) -> None:
    rows = "".join(f"u{i}@x.example,{i + 10000},{date}\n" for i in range(200_000))
    (tmp_path / "rows.csv").write_text(f"email,phone,{'date' if date else ''}\n{rows}")
    process = subprocess.Popen(
        [sys.executable, "-m", "bitespeed", "import", "rows.csv"],
        cwd=tmp_path,
        env={name: v for name, v in os.environ.items() if not name.startswith("BITESPEED")},
        preexec_fn=heed_interrupts,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(delay)  # of its start, its opening or its work, whichever comes then
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    assert '"level":"error"' not in stderr
    if process.returncode == 130:
        assert "rows are in" in stderr or stderr in ("", "Stopped.\n")
