"""The plans of the statements: always by a key, never through a whole table."""

import json
import re
from contextlib import contextmanager
from random import Random

from psycopg import sql

from bitespeed.resources import text
from support.backends import (
    connected,
    prepared,
)

CONTACTS = 50_000
TABLES = ("identity", "contact_record", "identifier", "event_record")

FEW = 400
SETS_OF_STATISTICS = 20


def fill(first, last):
    """Contacts in identities of ten, each of five that have merged."""
    return f"""
    create temporary table n as select n, n - (n - 1) % 2 as born, n - (n - 1) % 10 as root
    from generate_series({first}, {last}) as n;
    insert into identity
    select n, 'default', root, root, root, 10, 1, 1 from n where n = born;
    insert into contact_record (
        id, tenant, identity_id, email, phone, created_at, updated_at, number, at, version)
    select n, 'default', born, n || '@x', n::text, n, n, nextval('event_seq_seq'), n, 1 from n;
    insert into identifier
    select 'default', 'email', n || '@x', born from n
    union all select 'default', 'phone', n::text, born from n;
    insert into event_record (
        tenant, at, kind, identity_id, version, kind_of_value, value, kind_of_other, other)
    select 'default', n, 'pair.seen', born, 2, 'email', n || '@x', 'phone', n::text from n;
    select setval('contact_id', {last});
    drop table n;
    """


EXPLAINED = """
load 'auto_explain';
set auto_explain.log_min_duration = 0;
set auto_explain.log_nested_statements = on;
set auto_explain.log_format = json;
set auto_explain.log_analyze = on;
set client_min_messages = log;
"""

ONE_ROW = "cache"  # the table of the epoch; it has no other plan

HARMLESS = {
    "Aggregate",
    "Append",
    "Function Scan",
    "Limit",
    "LockRows",
    "Memoize",
    "ModifyTable",
    "Nested Loop",
    "ProjectSet",
    "Result",
    "Sort",
    "Subquery Scan",
    "Unique",
    "WindowAgg",
}


OF_EVERY_TENANT = {"events"}


class Explained:
    """A session in which the plans of all that functions execute are told."""

    def __init__(self, connection):
        self._connection = connection
        self._notices = []
        connection.add_notice_handler(lambda notice: self._notices.append(notice.message_primary))
        connection.execute(EXPLAINED)

    def execute(self, statement):
        self._connection.execute(statement)

    def call(self, function, document):
        """What is wrong with the plans of one call; its changes are undone."""
        self._notices.clear()
        with self._connection.transaction(force_rollback=True):
            tenant = [] if function in OF_EVERY_TENANT else ["default"]
            call = sql.SQL("select bitespeed.{}({})").format(
                sql.Identifier(function),
                sql.SQL(", ").join([sql.Placeholder()] * (len(tenant) + 1)),
            )
            self._connection.execute(call, [*tenant, json.dumps(document)])
        plans = [json.loads(n.partition("plan:\n")[2]) for n in self._notices if "plan:\n" in n]
        assert any("Plan" in plan for plan in plans)
        found = [f for plan in plans for f in faults(plan)]
        tables = {t for plan in plans for t in touched(plan["Plan"])}
        return found, tables


def nodes(plan):
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def touched(plan):
    return {node["Relation Name"] for node in nodes(plan) if "Relation Name" in node}


def faults(plan):
    if "JIT" in plan:
        yield "JIT"
    for node in nodes(plan["Plan"]):
        kind, table = node["Node Type"], node.get("Relation Name")
        if kind in ("Index Scan", "Index Only Scan"):
            if "Index Cond" not in node:
                yield f"{kind} of all of {table}"
            if node.get("Rows Removed by Filter", 0) > 10:
                yield f"{kind} of {table} with a filter"
        elif kind not in HARMLESS and table != ONE_ROW:
            yield f"{kind} of {table}"


def asked(values=(), contact=None, members=True, remembered=()):
    return {
        "values": list(values),
        "contact": contact,
        "members": members,
        "remembered": list(remembered),
    }


PAIR = ["email", "101@x", "phone", "201", None, None, None]


def event(kind, identity, contact=None, merged=None, pair=None):
    return [kind, identity, 2, contact, merged, identity, pair, "key", "request", "label"]


def changes(identities=(), contacts=(), events=(), **others):
    none = {"deleted": [], "freed_emails": [], "freed_phones": []}
    lists = {"identities": list(identities), "contacts": list(contacts), "events": list(events)}
    return none | lists | others


BATCH = [["email", f"{n}@x", None] for n in range(1, 400, 2)]
CALLS = [
    ("read", asked([["email", "101@x", None], ["phone", "102", None], ["phone", "no", None]])),
    ("read", asked([["email", "101@x", None]], members=False)),
    ("read", asked(contact=107)),
    ("read", asked(BATCH)),
    ("read", asked([["email", "101@x", 101], *BATCH], remembered=[[101, 1], [201, 9]])),
    (
        "commit",
        changes(
            [[-1, -1, -1, None, 1, 0], [101, 101, 101, 101, 11, 1]],
            [
                [-1, "new@x", "new1", None, None, True, True, 0],
                [101, "new@y", "101", None, None, True, False, 101],
            ],
            [
                event("contact.created", -1, contact=-1),
                event("contact.created", 101, contact=-2),
            ],
        ),
    ),
    (
        "commit",
        changes(
            [[101, 101, 101, 101, 20, 1], [201, 101, 201, 201, 10, 1]],
            events=[event("identities.merged", 101, merged=201, pair=PAIR)],
        ),
    ),
    (
        "commit",
        changes(
            [[101, 101, 101, 101, 9, 1]],
            events=[event("contact.deleted", 101, contact=102)],
            deleted=[102],
            freed_emails=["102@x"],
            freed_phones=["102"],
        ),
    ),
    ("facts", {"values": [["email", "101@x"], ["phone", "105"]], "contacts": [107], "limit": 2000}),
    ("history", {"contact": 107, "after": 0, "limit": 100}),
    ("merges", {"before": 2**60, "since": 0, "limit": 100}),
    ("partners", {"values": [["email", "101@x"], ["phone", "105"]], "limit": 100}),
    ("events", {"after": [0, 100], "limit": 100}),
]


@contextmanager
def explained(postgres):
    with postgres.fresh_database() as url:
        prepared(url)
        with connected(url) as connection:
            for table in TABLES:
                connection.execute(f"alter table {table} set (autovacuum_enabled = off)")
            yield Explained(connection)


def all_faults(session):
    """What is wrong with the plans of every statement in the functions."""
    found, tables = [], set()
    for function, document in CALLS:
        wrong, touched = session.call(function, document)
        found += [f"{function}: {fault}" for fault in wrong]
        tables |= touched
    assert tables == {*TABLES, "cache"}
    return found


def plans_made_while_nearly_empty(session):
    """Then filled; plans are kept until something tells the server that tables have changed."""
    session.execute(f"truncate {', '.join(TABLES)}")
    session.execute(f"analyze {', '.join(TABLES)}")
    session.execute(fill(1, FEW))
    all_faults(session)
    session.execute(fill(FEW + 1, CONTACTS))


def make_statistics_lie(session, random):
    for table in TABLES:
        tuples, pages = random.choice([-1, 0, 1, 1e4, 1e9]), random.choice([0, 1, 1000, 10**6])
        session.execute(
            f"update pg_class set reltuples = {tuples}, relpages = {pages}"
            f" where oid = '{table}'::regclass"
        )
    session.execute(
        f"update pg_statistic set stadistinct = {random.choice([1, 2, -1, -0.0001])},"
        f" stanullfrac = {random.choice([0, 0.5, 1])}, stawidth = {random.choice([1, 10_000])}"
    )
    session.execute("alter table identity set (autovacuum_enabled = off)")  # plans are made anew
    for table in TABLES:
        session.execute(f"alter table {table} set (autovacuum_enabled = off)")


def test_every_statement_finds_rows_by_key(postgres):
    """Also with plans from when the tables were nearly empty, and with false statistics."""
    random = Random(1)
    with explained(postgres) as session:
        plans_made_while_nearly_empty(session)
        assert all_faults(session) == []
        for _ in range(SETS_OF_STATISTICS):
            make_statistics_lie(session, random)
            assert all_faults(session) == []


def test_plan_check_notices_functions_without_planner_settings(postgres):
    with explained(postgres) as session:
        for name in ("read.sql", "live_identities.sql", "commit.sql"):
            script = text("bitespeed.stores.postgres", f"functions/{name}")
            loose = re.sub(r"(?m)^set (enable_\w+ = off|plan_cache_mode .*)\n|offset 0", "", script)
            assert loose != script
            session.execute(loose)
        plans_made_while_nearly_empty(session)
        found = all_faults(session)
        assert any("Seq Scan" in fault for fault in found), found
