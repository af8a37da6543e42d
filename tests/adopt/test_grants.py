"""Who may read the view that replaces an adopted table."""

from collections.abc import Iterator

import pytest

from support.adoption import LIVELY, adopted
from support.published_table import fill, query, run


@pytest.fixture
def readers(database: str) -> Iterator[str]:
    names = ["adopt_all", "adopt_column", "adopt_writer", "adopt_default", "adopt_passing"]
    run(database, *(f"create role {name}" for name in names), "alter role adopt_passing bypassrls")
    try:
        yield database
    finally:
        for name in names:
            run(database, f"drop owned by {name}", f"drop role {name}")


def may_read(url: str) -> set[str]:
    """Which roles may read what, by the columns."""
    found = query(
        url,
        "select rolname || ' ' || name from pg_roles, (values ('id'), ('email')) as c (name)"
        " where starts_with(rolname, 'adopt_')"
        " and has_column_privilege(rolname, 'contact', name, 'select')",
    )
    return {name for (name,) in found}


def test_readers_of_the_table_may_read_the_view(readers: str) -> None:
    fill(readers, LIVELY)
    run(
        readers,
        "grant select on contact to adopt_all with grant option",
        "grant select (email) on contact to adopt_column",
        "grant insert, update on contact to adopt_writer",
        "alter default privileges in schema public grant all on tables to adopt_default",
    )
    before = may_read(readers)
    assert before == {"adopt_all id", "adopt_all email", "adopt_column email"}
    result, _ = adopted(readers)
    assert may_read(readers) == before
    assert result.notes == [
        "adopt_all, adopt_column: may read the view",
        "adopt_writer: may not write any more",
    ]
    again = "select has_table_privilege('adopt_all', 'contact', 'select with grant option')"
    assert query(readers, again) == [(True,)]


def test_public_grant_is_carried_to_the_view(readers: str) -> None:
    fill(readers, LIVELY)
    run(readers, "grant select on contact to public")
    result, _ = adopted(readers)
    assert "adopt_writer id" in may_read(readers)
    assert result.notes == ["public: may read the view"]


def test_roles_hidden_by_row_security_cannot_read_the_view(readers: str) -> None:
    fill(readers, LIVELY)
    run(
        readers,
        "grant select on contact to adopt_all, adopt_passing",
        "alter table contact enable row level security",
    )
    result, _ = adopted(readers)
    assert may_read(readers) == {"adopt_passing id", "adopt_passing email"}
    assert "adopt_all: saw no row, since there is no policy; may not read the view" in result.notes


def test_owner_of_the_table_may_read_the_view(readers: str) -> None:
    fill(readers, LIVELY)
    run(readers, "alter table contact owner to adopt_writer")
    adopted(readers)
    assert may_read(readers) == {"adopt_writer id", "adopt_writer email"}
