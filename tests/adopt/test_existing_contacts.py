"""The service beside a table that nobody has adopted: the commands, and which tables are meant."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import psycopg
import pytest

from bitespeed.errors import InvalidInput, NotAdopted
from bitespeed.jobs.check import check
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import AdoptOptions, adopt, table
from support.adoption import LIVELY, nothing, on_store
from support.cluster import Member
from support.commands import bitespeed
from support.published_table import fill, query, run

SENTENCE = f"Error: {NotAdopted()}\n"
CUSTOMERS = "email,phoneNumber\ndoc@hillvalley.edu,888\n"
WRITING = {
    "migrate": (),
    "serve": ("--port", "0"),
    "identify": ("--email", "doc@hillvalley.edu"),
    "import": ("customers.csv",),
    "keys": ("create", "--tenant", "default", "--scope", "read"),
    "queue": ("work",),
    "copy": ("--from", "sqlite:///people.db", "--to"),
}


def call(name: str, url: str, folder: Path, **environ: str) -> CompletedProcess[str]:
    """A command that writes, on the database, with all that it needs in the folder."""
    (folder / "customers.csv").write_text(CUSTOMERS)
    arguments = list(WRITING[name])
    if name == "copy":
        bitespeed("migrate", "--database", "sqlite:///people.db", cwd=folder)
        arguments.append(url)
    queue = "https://sqs.us-east-1.amazonaws.com/1/none"
    given = {"DATABASE_URL": url, "BITESPEED_SQS_URL": queue} | environ
    return bitespeed(name, *arguments, cwd=folder, **given)


@pytest.mark.parametrize("name", WRITING)
def test_writing_command_refuses_beside_a_table_to_adopt(
    database: str, tmp_path: Path, name: str
) -> None:
    fill(database, LIVELY)
    done = call(name, database, tmp_path)
    assert (done.returncode, done.stdout, done.stderr[-len(SENTENCE) :]) == (2, "", SENTENCE)
    for written in ("contact_record", "identity", "event", "api_key"):
        assert query(database, f"select count(*) from bitespeed.{written}") == [(0,)]


def test_everything_works_after_adopting_behind_a_refusal(database: str, tmp_path: Path) -> None:
    fill(database, LIVELY)
    assert call("migrate", database, tmp_path).returncode == 2
    assert call("serve", database, tmp_path).returncode == 2
    done = bitespeed("adopt", cwd=tmp_path, DATABASE_URL=database)
    assert done.returncode == 0, done.stderr
    for name in ("migrate", "identify", "import"):
        done = call(name, database, tmp_path)
        assert done.returncode == 0, done.stderr
    server = Member([sys.executable, "-m", "bitespeed", "serve"], database, tmp_path / "server.log")
    try:
        server.start()  # and is ready
    finally:
        server.close()
    assert on_store(database, check) == []


def test_setting_begins_beside_the_table(database: str, tmp_path: Path) -> None:
    fill(database, LIVELY)
    ignoring = {"DATABASE_URL": database, "BITESPEED_IGNORE_EXISTING": "true"}
    for arguments in (["migrate"], ["identify", "--email", "a@x", "--json"]):
        done = bitespeed(*arguments, cwd=tmp_path, **ignoring)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["contact"]["primaryContatctId"] == 1
    assert query(database, "select count(*) from contact") == [(len(LIVELY),)]
    assert call("identify", database, tmp_path).returncode == 0  # not said any more


def test_reading_commands_are_not_refused(database: str, tmp_path: Path) -> None:
    fill(database, LIVELY)
    on_store(database, check)
    for arguments, status in ((["check"], 0), (["lookup", "--email", "a@x"], 1), (["export"], 0)):
        done = bitespeed(*arguments, cwd=tmp_path, DATABASE_URL=database)
        assert done.returncode == status, done.stderr
        assert SENTENCE not in done.stderr


# Which tables are meant: those that `adopt` takes

TYPES = (
    *("smallint", "integer", "bigint", "numeric", "uuid", "boolean", "shade", "own_text", "name"),
    *(
        "varchar(9)",
        "text",
        "char(9)",
        "citext",
        "timestamp",
        "timestamptz",
        "date",
        "timestamp(0)",
    ),
)
COLUMNS = {
    "id": "integer",
    "phonenumber": "text",
    "email": "text",
    "linkedid": "integer",
    "linkprecedence": "text",
    "createdat": "timestamp",
    "updatedat": "timestamp",
    "deletedat": "timestamp",
}


def definitions() -> Iterator[str]:
    """Lists of columns: each column with each type, without each, and with two spellings of it."""
    for name, usual in COLUMNS.items():
        others = [f"{other} {type_}" for other, type_ in COLUMNS.items() if other != name]
        for type_ in TYPES:
            yield ", ".join([*others, f"{name} {type_}"])
        yield ", ".join(others)
        yield ", ".join([f'"{name.title()}" bytea', *others, f"{name} {usual}"])
        yield ", ".join([f'"{name.title()}" {usual}', *others, f"{name} bytea"])


def test_shapes_that_are_minded_are_those_that_adopt_takes(database: str) -> None:
    on_store(database, check)
    found = {True: 0, False: 0}
    run(database, "create type shade as enum ('primary', 'secondary')", "create extension citext")
    run(database, "create domain own_text as text")
    with psycopg.connect(database, autocommit=True) as connection:
        for columns in definitions():
            connection.execute(f"create table contact ({columns})".encode())
            takes = _takes(connection)
            row = connection.execute("select bitespeed.published_contact() is not null").fetchone()
            assert row == (takes,), columns
            found[takes] += 1
            connection.execute("drop table contact")
    assert min(found.values()) > len(COLUMNS)


def _takes(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        table.columns(connection, table.find(connection, "public.contact"))
    except InvalidInput:
        return False
    return True


CONTACT = """
insert into bitespeed.contact_record (id, tenant, identity_id, created_at, updated_at)
values (1, 't', 1, 1, 1)
"""
EVENT = """
insert into bitespeed.event_record (tenant, at, kind, identity_id, version)
values ('t', 1, 'k', 1, 1)
"""


@pytest.mark.parametrize(
    "statement",
    [
        "select 1",
        CONTACT,
        "insert into bitespeed.identity values (1, 't', 1, 1, 1, 1, 1)",
        "insert into bitespeed.identifier values ('t', 'email', 'a@x', 1)",
        EVENT,
        "create table bitespeed.adopted_contact ()",
    ],
    ids=["nothing", "contact", "identity", "identifier", "event", "adopted"],
)
def test_rows_that_end_the_refusal_stop_adopt(database: str, statement: str) -> None:
    fill(database, LIVELY)
    on_store(database, check)
    run(database, statement)
    refused = query(database, "select bitespeed.awaits_adoption()::text") == [("true",)]
    try:
        adopt(database, Options(), AdoptOptions(dry_run=True), nothing, nothing)
    except InvalidInput:
        assert not refused
    else:
        assert refused
