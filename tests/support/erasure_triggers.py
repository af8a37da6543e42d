"""What was erased, for checkers of histories: triggers write it down as it goes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from bitespeed.model.records import ContactRecord

_FIELDS = ", ".join(ContactRecord._fields)
_SQLITE = """
create table recorded as select * from contact_record where false;
create trigger recording before delete on contact_record
begin insert into recorded select * from contact_record where id = old.id; end;
"""
_POSTGRES = """
create table public.recorded (like bitespeed.contact_record);
create function public.record() returns trigger language plpgsql as
$$ begin insert into public.recorded values (old.*); return old; end $$;
create trigger recording before delete on bitespeed.contact_record
for each row execute function public.record();
"""


@contextmanager
def erasures_recorded(url: str) -> Iterator[list[ContactRecord]]:
    """The contacts that are erased meanwhile, filled at its end."""
    found: list[ContactRecord] = []
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as connection:
            connection.executescript(_SQLITE)
            yield found
            found += map(ContactRecord._make, connection.execute(f"select {_FIELDS} from recorded"))
    else:
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(_POSTGRES.encode())
            yield found
            rows = connection.execute(f"select {_FIELDS} from public.recorded".encode())
            found += map(ContactRecord._make, rows)
