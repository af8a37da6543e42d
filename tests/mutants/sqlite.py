"""Mistakes in the SQLite store."""

from support.mutants import Mutant, Suite

STORE = Suite("store", "sqlite and not first_starts")  # what every store promises, on each of them
REPLACED = Suite("sqlite/test_replaced_file.py", "overwritten_file or locks or through_sqlite")

FILE = Suite("sqlite/test_sqlite_store.py", "thread")
NUMBERS = Suite("sqlite/test_numbers_and_clocks.py", "")

MUTANTS = [
    Mutant(
        "the thread keeps what it read last",
        "stores/sqlite/database.py",
        "            del work  # it has the result, which may be large\n",
        "",
        FILE,
    ),
    Mutant(
        "stamps are not compared",
        "stores/sqlite/sql/commit.sql",
        "where id = ? and stamp = ? and root_id = id",
        "where id = ? and ? is not null and root_id = id",
        STORE,
    ),
    Mutant(
        "an identity that ended is still changed",
        "stores/sqlite/sql/commit.sql",
        "where id = ? and stamp = ? and root_id = id",
        "where id = ? and stamp = ?",
        STORE,
    ),
    Mutant(
        "rows that did not change are not counted",
        "stores/sqlite/write.py",
        'self._run("advance_identity", rows) != len(stored)',
        'self._run("advance_identity", rows) > len(stored)',
        STORE,
    ),
    Mutant(
        "versions are not raised",
        "stores/sqlite/sql/commit.sql",
        "version = version + 1",
        "version = version",
        STORE,
    ),
    Mutant(
        "a change draws no stamp",
        "stores/sqlite/sql/commit.sql",
        "stamp = random() & 9007199254740991",
        "stamp = stamp",
        STORE,
    ),
    Mutant(
        "a value that is taken stays silently where it is",
        "stores/sqlite/sql/commit.sql",
        "insert into identifier",
        "insert or ignore into identifier",
        STORE,
    ),
    Mutant(
        "what was merged earlier is left behind",
        "stores/sqlite/sql/commit.sql",
        "set root_id = ?\nwhere root_id = ?;",
        "set root_id = ?\nwhere id = ?;",
        STORE,
    ),
    Mutant(
        "freed values stay taken",
        "stores/sqlite/sql/commit.sql",
        "where tenant = ? and kind = ? and value = ?",
        "where tenant = ? and kind = ? and value = ? and false",
        STORE,
    ),
    Mutant(
        "contacts may be older than their primary",
        "stores/sqlite/write.py",
        "max(self._now, contact.not_before)",
        "self._now",
        STORE,
    ),
    Mutant(
        "instants go back with the clock",
        "stores/sqlite/write.py",
        "max(time.time_ns() // 1000, newest)",
        "time.time_ns() // 1000",
        NUMBERS,
    ),
    Mutant(
        "an id in use is given out again",
        "stores/sqlite/write.py",
        "if self._last_id < self._highest_id:",
        "if self._last_id < 0:",
        NUMBERS,
    ),
    Mutant(
        "everybody may read a new database",
        "stores/sqlite/database.py",
        "os.O_EXCL, 0o600)",
        "os.O_EXCL, 0o644)",
        Suite("cli/test_private_files.py", "only_its_owners"),
    ),
    Mutant(
        "rejects replace the imported file",
        "cli/private_file.py",
        "if stat.S_ISREG(own.st_mode) and os.path.samestat(own, other):",
        "if stat.S_ISREG(own.st_mode) and os.path.samestat(own, other) and False:",
        Suite("cli/test_private_files.py", "never_replace"),
    ),
    Mutant(
        "apostrophes of their own are taken off too",
        "jobs/csv_cells.py",
        """bare = text.lstrip("'")""",
        """bare = text.removeprefix("''")""",
        Suite("jobs/test_csv_cells.py", "unchanged or apostrophe"),
    ),
    Mutant(
        "a replaced file is written to",
        "stores/sqlite/opened_file.py",
        "if _identity(path) != identity:",
        "if not identity:",
        Suite("sqlite/test_replaced_file.py", "file_goes"),
    ),
    Mutant(
        "an overwritten file is written to",
        "stores/sqlite/opened_file.py",
        "self._is_overwritten |= counter < self._counter",
        "self._is_overwritten |= counter < 0",
        REPLACED,
    ),
    Mutant(
        "an overwritten file is forgotten",
        "stores/sqlite/opened_file.py",
        "self._is_overwritten |= counter < self._counter",
        "self._is_overwritten = counter < self._counter",
        REPLACED,
    ),
    Mutant(
        "every write by another program counts as overwriting",
        "stores/sqlite/opened_file.py",
        "self._is_overwritten |= counter < self._counter",
        "self._is_overwritten |= counter != self._counter",
        REPLACED,
    ),
    Mutant(
        "a closed store takes the locks of another",
        "stores/sqlite/opened_file.py",
        "if not _open_files:",
        "if _open_files < 9:",
        REPLACED,
    ),
    Mutant(
        "nobody waits for the journal mode of a new file",
        "stores/sqlite/migrate.py",
        "if not is_busy or time.monotonic() > deadline:",
        "if not is_busy or time.monotonic() > 0:",
        Suite("sqlite/test_sqlite_store.py", "unlocks_it"),
    ),
    Mutant(
        "a failed commit is not rolled back",
        "stores/sqlite/store.py",
        "await self._writing.run(lambda: roll_back(self._writer))",
        "pass",
        STORE,
    ),
    Mutant(
        "what is remembered is trusted",
        "stores/sqlite/read.py",
        "if not self._recent.is_at(id_, stamp)",
        "if stamp is None",
        STORE,
    ),
    Mutant(
        "deleted contacts are answered",
        "stores/sqlite/sql/read.sql",
        "where born.root_id = r.id and c.deleted_at is null",
        "where born.root_id = r.id",
        STORE,
    ),
    Mutant(
        "the emails of all tenants are one",
        "stores/sqlite/sql/read.sql",
        "on i.tenant = :tenant and i.kind = 'email'",
        "on :tenant is not null and i.kind = 'email'",
        STORE,
    ),
]
