"""Mistakes in what an import makes of dates."""

from support.mutants import Mutant, Suite

ORDER = Suite("jobs/test_dated_import.py")
SORTING = Suite("jobs/test_sorted_rows.py", "cancelled or sentence")
SQLITE = Suite("store/test_ages.py", "sqlite")
POSTGRES = Suite("store/test_ages.py", "postgres")

IMPORT = "jobs/import_file.py"
SORTED = "jobs/sorted_rows.py"
FUNCTIONS = "stores/postgres/functions"

MUTANTS = [
    Mutant(
        "rows of one date come in the order of the file",
        SORTED,
        "order by at nulls last, content",
        "order by at nulls last",
        ORDER,
    ),
    Mutant(
        "rows without a date come first",
        SORTED,
        "order by at nulls last, content",
        "order by at, content",
        ORDER,
    ),
    Mutant(
        "rows of a file without any date are sorted by their values",
        SORTED,
        "_BY_AGE if self.dated else _AS_ADDED",
        "_BY_AGE",
        ORDER,
    ),
    Mutant(
        "a full disk is an unexpected error",
        SORTED,
        "        raise Unavailable(",
        "        raise RuntimeError(",
        SORTING,
    ),
    Mutant(
        "sorting does not stop when its task is cancelled",
        SORTED,
        "task.cancelling, INTERRUPT_STEPS",
        "lambda: 0, INTERRUPT_STEPS",
        SORTING,
    ),
    Mutant(
        "a dated file is not sorted",
        IMPORT,
        "    if rows.dates is None:\n",
        "    if True:\n",
        ORDER,
    ),
    Mutant(
        "a date in the future is taken",
        IMPORT,
        "if at > time.time_ns() // 1000:",
        "if False:",
        ORDER,
    ),
    Mutant(
        "rows left out before the sorting are not counted",
        IMPORT,
        "        tally.rows += batch.count(None)\n",
        "",
        ORDER,
    ),
    Mutant(
        "dates move to other rows where one was erased",
        "service/imports.py",
        "dates = [at for _, at in kept]",
        "dates = [at for _, at, _ in dated]",
        SQLITE,
    ),
    Mutant(
        "a dated contact is no older than the last primary on SQLite",
        "stores/sqlite/write.py",
        "if c.created_at is None else c.created_at for",
        "if c.created_at is None else max(c.created_at, c.not_before) for",
        SQLITE,
    ),
    Mutant(
        "a dated contact was changed last at its date on SQLite",
        "stores/sqlite/write.py",
        "max(self._now, at),",
        "at,",
        SQLITE,
    ),
    Mutant(
        "a dated contact is as of its commit on PostgreSQL",
        f"{FUNCTIONS}/commit.sql",
        "coalesce((c ->> 9)::bigint, greatest(now_, (c ->> 7)::bigint))",
        "greatest(now_, (c ->> 7)::bigint)",
        POSTGRES,
    ),
    Mutant(
        "a dated contact was changed last at its date on PostgreSQL",
        f"{FUNCTIONS}/add_contacts.sql",
        "greatest(ages[n.contact], add_contacts.at)",
        "ages[n.contact]",
        POSTGRES,
    ),
    Mutant(
        "a new primary of a stored identity gets no id on PostgreSQL",
        f"{FUNCTIONS}/change_identities.sql",
        "< 0 then ids[-(change ->> 2)::bigint] else",
        "< 0 then null else",
        POSTGRES,
    ),
]
