"""The table that people have, in whatever state, and the state of a whole database."""

import shutil
import subprocess
from collections.abc import Iterable
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

PUBLISHED_TABLE = """
create table contact(
    id serial primary key, phonenumber varchar(50), email varchar(255),
    linkedid integer references contact(id),
    linkprecedence varchar(10) check (linkprecedence in ('primary','secondary')),
    createdat timestamp default current_timestamp, updatedat timestamp default current_timestamp,
    deletedat timestamp)
"""

UNCHECKED = PUBLISHED_TABLE.replace(" references contact(id)", "")

_ROW = """
insert into contact (
    id, phonenumber, email, linkprecedence, createdat, updatedat, deletedat)
values (%s, %s, %s, %s, timestamp '2024-01-01' + %s * interval '1 hour',
        timestamp '2024-02-01' + %s * interval '1 hour',
        timestamp '2024-03-01' + %s * interval '1 hour')
"""


class Row(NamedTuple):
    """A row of the table; instants are hours, and None is null."""

    id: int
    email: str | None = None
    phone: str | None = None
    linked_id: int | None = None
    precedence: str | None = "primary"
    created_at: int | None = 0
    updated_at: int | None = 0
    deleted_at: int | None = None


def fill(url: str, rows: Iterable[Row], ddl: str = PUBLISHED_TABLE) -> None:
    """Make the table with these rows; links may lead forward."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(ddl.encode())
        rows = list(rows)
        cursor.executemany(
            _ROW,
            [
                (
                    r.id,
                    r.phone,
                    r.email,
                    r.precedence,
                    r.created_at,
                    r.updated_at,
                    r.deleted_at,
                )
                for r in rows
            ],
        )
        cursor.executemany(
            "update contact set linkedid = %s where id = %s",
            [(r.linked_id, r.id) for r in rows if r.linked_id is not None],
        )
        cursor.execute("select setval('contact_id_seq', max(id)) from contact")


def run(url: str, *statements: str) -> None:
    """Execute them, each on its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def query(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode(), values or None).fetchall()


_CATALOGUE = """
select 'relation', n.nspname, c.relname, c.relkind::text, c.relacl::text,
       case when c.relkind = 'v' then pg_get_viewdef(c.oid) end
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
union all
select 'constraint', connamespace::regnamespace::text, conname, contype::text, conrelid::text,
       pg_get_constraintdef(oid)
from pg_constraint
union all
select 'sequence', schemaname, sequencename, '', '', last_value::text from pg_sequences
union all
select 'comment', classoid::text, objoid::text, '', '', description from pg_description
where objoid > 16383
order by 1, 2, 3, 4, 5, 6
"""


def state(url: str) -> list[tuple[Any, ...]]:
    """All that is in the database: what there is, whose it is, and every row."""
    found = query(url, _CATALOGUE)
    tables = [
        (schema, name)
        for what, schema, name, kind, *_ in found
        if what == "relation" and kind == "r"
    ]
    with psycopg.connect(url) as connection:
        for table in tables:
            rows = sql.SQL("select t::text from {} t order by 1").format(sql.Identifier(*table))
            found += [(*table, *row) for row in connection.execute(rows)]
    return found


def dump(url: str) -> str | None:
    """What pg_dump makes of the database; None where there is none that fits the server."""
    if not shutil.which("pg_dump"):
        return None
    done = subprocess.run(["pg_dump", "--dbname", url], capture_output=True, text=True, timeout=60)
    if done.returncode:
        return None
    return "\n".join(line for line in done.stdout.splitlines() if "restrict " not in line)
