"""How the functions are written: what plain PostgreSQL does not need and distributed ones do.

Every statement names the tenant of every table that has one, so that it can be sent to where that
tenant is; no subquery is without columns; no set-returning function stands in `in (...)`; a
function is a file of at most 60 lines.
"""

import re
from pathlib import Path

import pytest

import bitespeed

FOLDER = Path(bitespeed.__file__).parent / "stores/postgres/functions"
FILES = sorted(FOLDER.glob("*.sql"))
MAX_LINES = 60

TABLES = ("identity", "contact_record", "identifier", "event", "event_record", "tombstone")
ALL_TENANTS = {
    "awaits_adoption": "sees whether there is a row of any tenant",
    "scan": "reads all that is stored",
    "sequences": "compares a number of the whole database with the largest one in use",
    "events_after": "reads the events of every tenant",
    "cache_feed": "goes on from an event of any tenant, and from each row with its own tenant",
}
"""Functions that work on every tenant by design, with the reason."""


def statements(text):
    """The statements of a function, without its comments."""
    code = re.sub(r"--[^\n]*", "", text)
    # A `then` within a line belongs to a `case` of one statement.
    return re.split(r";|\bloop\b|\bthen$|\bbegin\b", code, flags=re.MULTILINE)


def without_tenant(text):
    """The uses of a table that no predicate or value of a tenant belongs to."""
    faults = []
    for statement in statements(text):
        for table, alias in re.findall(
            rf"(?:from|join|update) bitespeed\.({'|'.join(TABLES)})\s+(\w+)", statement
        ):
            if not re.search(rf"\b{alias}\.tenant = |= {alias}\.tenant\b", statement):
                faults.append(f"{table} {alias}")
        for table, columns in re.findall(
            rf"insert into bitespeed\.({'|'.join(TABLES)}) \(([^)]*)\)", statement
        ):
            if "tenant" not in columns:
                faults.append(f"{table} (insert)")
    return faults


def other_faults(text):
    """What distributed databases refuse, or run many times."""
    faults = []
    if re.search(r"\(\s*select\s+from\b|perform from\b", text):
        faults.append("a select without columns")
    if re.search(r"\bin\s*\(\s*select\s+(jsonb_array_elements|unnest|generate_series)", text):
        faults.append("a set-returning function in `in`")
    if len(re.findall(r"^create or replace function", text, re.MULTILINE)) != 1:
        faults.append("not one function")
    return faults


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_statements_name_the_tenant_of_each_table(path):
    found = without_tenant(path.read_text())
    if path.stem in ALL_TENANTS:
        assert found, "No exception is needed any more."
    else:
        assert found == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_functions_can_be_sent_to_a_distributed_database(path):
    assert other_faults(path.read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_functions_are_short_and_named_like_their_files(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES
    assert re.findall(r"function bitespeed\.(\w+)\(", text)[0] == path.stem


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (" and c.tenant = read.tenant", ""),
        ("where i.tenant = read.tenant and i.kind", "where i.kind"),
    ],
)
def test_a_forgotten_tenant_is_noticed(right, wrong):
    text = (FOLDER / "read.sql").read_text()
    assert without_tenant(text) == []
    assert without_tenant(text.replace(right, wrong, 1)) != []


@pytest.mark.parametrize(
    "mistake",
    [
        "if exists (select from bitespeed.cache c) then",
        "perform from bitespeed.cache c;",
        "where k.id in (select jsonb_array_elements_text(ids))",
    ],
)
def test_statement_that_distributed_databases_refuse_is_noticed(mistake):
    assert len(other_faults(f"create or replace function bitespeed.x()\n{mistake}")) == 1
