"""Who may read the view that replaces an adopted table."""

from collections.abc import Iterator

import pytest

from support.adoption import LIVELY, adopted
from support.database_url import database_of
from support.published_table import fill, query, run

NAMES = ("all", "column", "writer", "default", "passing")


class Readers:
    """A database with roles of its own, since all databases of a server share theirs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._prefix = f"{database_of(url)}_"

    def run(self, *statements: str) -> None:
        """Execute statements in which a role is called adopt_NAME."""
        run(self.url, *(self._named(statement) for statement in statements))

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """The rows of a query in which a role is called adopt_NAME."""
        return query(self.url, self._named(statement))

    def notes(self) -> list[str]:
        """What adopting the table tells."""
        result, _ = adopted(self.url)
        return [note.replace(self._prefix, "adopt_") for note in result.notes]

    def may_read(self) -> set[str]:
        """Which roles may read what, by the columns."""
        found = self.query(
            "select rolname || ' ' || name from pg_roles, (values ('id'), ('email')) as c (name)"
            " where starts_with(rolname, 'adopt_')"
            " and has_column_privilege(rolname, 'contact', name, 'select')"
        )
        return {str(row).replace(self._prefix, "adopt_") for (row,) in found}

    def _named(self, statement: str) -> str:
        return statement.replace("adopt_", self._prefix)


@pytest.fixture
def readers(database: str) -> Iterator[Readers]:
    readers = Readers(database)
    try:
        readers.run(*(f"create role adopt_{name}" for name in NAMES))
        readers.run("alter role adopt_passing bypassrls")
        fill(database, LIVELY)
        yield readers
    finally:
        for name in NAMES:
            readers.run(f"drop owned by adopt_{name}", f"drop role adopt_{name}")


def test_readers_of_the_table_may_read_the_view(readers: Readers) -> None:
    readers.run(
        "grant select on contact to adopt_all with grant option",
        "grant select (email) on contact to adopt_column",
        "grant insert, update on contact to adopt_writer",
        "alter default privileges in schema public grant all on tables to adopt_default",
    )
    before = readers.may_read()
    assert before == {"adopt_all id", "adopt_all email", "adopt_column email"}
    notes = readers.notes()
    assert readers.may_read() == before
    assert notes == [
        "adopt_all, adopt_column: may read the view",
        "adopt_writer: may not write any more",
    ]
    again = "select has_table_privilege('adopt_all', 'contact', 'select with grant option')"
    assert readers.query(again) == [(True,)]


def test_public_grant_is_carried_to_the_view(readers: Readers) -> None:
    readers.run("grant select on contact to public")
    notes = readers.notes()
    assert "adopt_writer id" in readers.may_read()
    assert notes == ["public: may read the view"]


def test_roles_hidden_by_row_security_cannot_read_the_view(readers: Readers) -> None:
    readers.run(
        "grant select on contact to adopt_all, adopt_passing",
        "alter table contact enable row level security",
    )
    notes = readers.notes()
    assert readers.may_read() == {"adopt_passing id", "adopt_passing email"}
    assert "adopt_all: saw no row, since there is no policy; may not read the view" in notes


def test_owner_of_the_table_may_read_the_view(readers: Readers) -> None:
    readers.run("alter table contact owner to adopt_writer")
    readers.notes()
    assert readers.may_read() == {"adopt_writer id", "adopt_writer email"}
