"""Mistakes in the PostgreSQL store."""

from support.mutants import Mutant, Suite

POSTGRES = Suite(
    "store",
    "postgres and not (thousand or large or odd or published or service or scan or first_starts)",
)
RACES = Suite(
    "postgres",
    "(order or mismatch or second_merge or after_the_locks or gives_up or idle_are"
    " or idle_connection or cut_while or null_character or quote) and not history",
)

SEQUENCES = Suite("store/test_sequences.py", "postgres")

EXISTING = Suite("store/test_existing_contacts.py", "direct or pooled")
TAKEN_BY_ADOPT = Suite("adopt/test_existing_contacts.py", "shapes or rows")

FUNCTIONS = "stores/postgres/functions"

MUTANTS = [
    Mutant(
        "stamps are not compared on PostgreSQL",
        f"{FUNCTIONS}/lock_identities.sql",
        " and i.stamp = (change ->> 5)::bigint",
        "",
        POSTGRES,
    ),
    Mutant(
        "an identity that ended is still changed on PostgreSQL",
        f"{FUNCTIONS}/lock_identities.sql",
        "i.root_id = i.id and i.stamp",
        "i.stamp",
        POSTGRES,
    ),
    Mutant(
        "versions are not raised on PostgreSQL",
        f"{FUNCTIONS}/change_identities.sql",
        "version = i.version + 1",
        "version = i.version",
        POSTGRES,
    ),
    Mutant(
        "a change draws no stamp on PostgreSQL",
        f"{FUNCTIONS}/change_identities.sql",
        ", stamp = default",
        "",
        POSTGRES,
    ),
    Mutant(
        "a sequence behind its table is taken for a conflict",
        "stores/postgres/sqlstates.py",
        "if constraint in KEYS_OF_SEQUENCES:",
        "if constraint is not None and not constraint:",
        SEQUENCES,
    ),
    Mutant(
        "a sequence one behind its table is sound",
        "rules/invariants.py",
        "next_ <= highest",
        "next_ < highest",
        SEQUENCES,
    ),
    Mutant(
        "what is compared is not locked",
        f"{FUNCTIONS}/lock_identities.sql",
        "::bigint\n        for no key update;",
        "::bigint;",
        RACES,
    ),
    Mutant(
        "identities are locked as they come",
        f"{FUNCTIONS}/commit.sql",
        "jsonb_agg(c order by (c ->> 0)::bigint)",
        "jsonb_agg(c)",
        RACES,
    ),
    Mutant(
        "values are inserted as they come",
        f"{FUNCTIONS}/add_contacts.sql",
        """        order by v.value collate "C", v.kind collate "C";\n""",
        ";",
        RACES,
    ),
    Mutant(
        "a mismatch is told when all have been locked",
        f"{FUNCTIONS}/lock_identities.sql",
        "            return false;",
        "            continue;",
        RACES,
    ),
    Mutant(
        "ages are taken before the locks",
        f"{FUNCTIONS}/commit.sql",
        "extract(epoch from clock_timestamp())",
        "extract(epoch from statement_timestamp())",
        RACES,
    ),
    Mutant(
        "a value that is taken stays silently where it is on PostgreSQL",
        f"{FUNCTIONS}/add_contacts.sql",
        """v.kind collate "C";""",
        """v.kind collate "C" on conflict do nothing;""",
        POSTGRES,
    ),
    Mutant(
        "all but the identifiers is written when a value is taken",
        f"{FUNCTIONS}/add_contacts.sql",
        "raise unique_violation using message = 'a new value has been taken since it was read';",
        "null;",
        POSTGRES,
    ),
    Mutant(
        "the database's own error quotes the value",
        f"{FUNCTIONS}/add_contacts.sql",
        "raise unique_violation using message = 'a new value has been taken since it was read';",
        "raise;",
        RACES,
    ),
    Mutant(
        "contacts may be older than their primary on PostgreSQL",
        f"{FUNCTIONS}/commit.sql",
        "array_agg(greatest(now_, (c ->> 7)::bigint))",
        "array_agg(now_)",
        POSTGRES,
    ),
    Mutant(
        "what was merged earlier is left behind on PostgreSQL",
        f"{FUNCTIONS}/change_identities.sql",
        "where i.root_id = (change ->> 0)::bigint",
        "where i.id = (change ->> 0)::bigint",
        POSTGRES,
    ),
    Mutant(
        "an identity born and merged in one commit stays its own root",
        f"{FUNCTIONS}/add_contacts.sql",
        "case when (c ->> 1)::bigint < 0 then ids[-(c ->> 1)::bigint] else (c ->> 1)::bigint end",
        "ids[-(c ->> 0)::bigint]",
        POSTGRES,
    ),
    Mutant(
        "contacts are deleted before they were created",
        f"{FUNCTIONS}/remove.sql",
        "set deleted_at = greatest(remove.at, c.created_at)",
        "set deleted_at = remove.at",
        POSTGRES,
    ),
    Mutant(
        "freed emails stay taken on PostgreSQL",
        f"{FUNCTIONS}/remove.sql",
        "i.kind = 'email' and i.value = removed #>> '{}'",
        "i.kind = 'email' and false",
        POSTGRES,
    ),
    Mutant(
        "what is remembered is believed at another stamp",
        f"{FUNCTIONS}/read.sql",
        "where known.stamp = (",
        "where known.stamp >= 0 or known.stamp = (",
        POSTGRES,
    ),
    Mutant(
        "what is remembered is believed when it has ended",
        f"{FUNCTIONS}/read.sql",
        "where i.id = known.id and i.root_id = i.id and",
        "where i.id = known.id and",
        POSTGRES,
    ),
    Mutant(
        "deleted contacts are answered on PostgreSQL",
        f"{FUNCTIONS}/live_identities.sql",
        " and m.deleted_at is null",
        "",
        POSTGRES,
    ),
    Mutant(
        "the values of all tenants are one",
        f"{FUNCTIONS}/read.sql",
        "where i.tenant = read.tenant and i.kind",
        "where i.kind",
        POSTGRES,
        opened=True,
    ),
    Mutant(
        "identities without a live contact are answered",
        f"{FUNCTIONS}/live_identities.sql",
        " and r.contacts > 0",
        "",
        POSTGRES,
    ),
    Mutant(
        "what was merged into an identity is not answered",
        f"{FUNCTIONS}/live_identities.sql",
        "where i.root_id = r.id and",
        "where i.id = r.id and",
        POSTGRES,
    ),
    Mutant(
        "what is remembered is not told when it is confirmed",
        "stores/postgres/function_store.py",
        "identities[id_] = remembered[id_]",
        "del remembered[id_]",
        POSTGRES,
    ),
    Mutant(
        "a connection that the server has closed is used again",
        "stores/postgres/pool.py",
        "            if connection.is_usable:",
        "            if connection is not None:",
        RACES,
    ),
    Mutant(
        "whoever waits to send is not told that the connection is lost",
        "stores/postgres/statement_connection.py",
        "            self._writable.set()\n",
        "",
        RACES,
    ),
    Mutant(
        "a text ends at its null character",
        "stores/postgres/statement_connection.py",
        """b"\\0" in value""",
        "False",
        RACES,
    ),
    Mutant(
        "a store is opened beside contacts to adopt",
        "stores/postgres/store.py",
        "if not self._options.ignore_existing:",
        "if self._options.ignore_existing:",
        EXISTING,
    ),
    Mutant(
        "a table that our owner may not read counts as empty",
        f"{FUNCTIONS}/awaits_adoption.sql",
        "or not has_table_privilege(existing, 'select')\n        or row_security_active(existing)",
        "or not has_table_privilege(existing, 'select')",
        EXISTING,
    ),
    Mutant(
        "a table is read that a view may replace meanwhile",
        f"{FUNCTIONS}/awaits_adoption.sql",
        "    lock table public.contact in access share mode;\n",
        "",
        EXISTING,
    ),
    Mutant(
        "a table without rows counts as one to adopt",
        f"{FUNCTIONS}/awaits_adoption.sql",
        "to_json(exists (select 1 from public.contact))",
        "to_json(true)",
        EXISTING,
    ),
    Mutant(
        "events alone do not count as rows of ours",
        f"{FUNCTIONS}/awaits_adoption.sql",
        "        or exists (select 1 from bitespeed.event e)\n",
        "",
        TAKEN_BY_ADOPT,
    ),
    Mutant(
        "a table that lacks a published column counts as one to adopt",
        f"{FUNCTIONS}/published_contact.sql",
        "count(*) = 8",
        "count(*) >= 7",
        TAKEN_BY_ADOPT,
    ),
    Mutant(
        "a view counts as a table to adopt",
        f"{FUNCTIONS}/published_contact.sql",
        "c.relkind = 'r'",
        "c.relkind in ('r', 'v')",
        EXISTING,
    ),
]
