"""Mistakes made on purpose, which the tests must notice.

Each is one replacement in a copy of the source; the tests of one file run against the copy.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import bitespeed

SOURCE = Path(bitespeed.__file__).parent
TESTS = Path(__file__).parent

EVERY_TENANT = "set_config('bitespeed.tenant', '*'"

PASSED, FAILED = 0, 1  # exit codes of pytest; errors of collection and of its own have others
TIME_LIMIT = 60  # seconds; what hangs is no failed test

PLUGIN = """
from pathlib import Path

import bitespeed
import pytest

def pytest_configure(config):
    if Path(bitespeed.__file__).parent.parent != Path(__file__).parent:
        pytest.exit("The tests would not run against the copy", returncode=9)
"""


class Suite(NamedTuple):
    """Tests of one file, by pytest's expression for their names."""

    file: str
    only: str = "not many_processes"


class Mutant(NamedTuple):
    """What a mistake does, and where it is made; ``tests`` are those that must notice.

    ``opened`` takes away the second lock as well, row level security, behind which a mistake in
    the first one does no harm.
    """

    mistake: str
    file: str
    right: str
    wrong: str
    tests: Suite
    opened: bool = False


RULE, SERVICE = Suite("test_rule.py"), Suite("test_service.py")
STORE = Suite("test_store.py", "sqlite")  # what every store promises, on each of them
POSTGRES = Suite(
    "test_store.py",
    "postgres and not (thousand or large or odd or published or service or scan)",  # the quick ones
)
DATA_API = Suite("test_store.py", "data and (nothing or founders)")
CACHE = Suite(
    "test_cache.py",
    "not upstash and (version or lease or fence or outcome or licence or late or in_turn)",
)
RACES = Suite(
    "test_postgres_store.py",
    "order or mismatch or second_merge or after_the_locks or gives_up or idle_are or cut_while"
    " or null_character or quote",
)

FILES = Suite("test_erasing.py", "bytes")
ERASURE = Suite("test_store.py", "sqlite and (eras or of_others or takes_no_person)")

READ_SQL, COMMIT_SQL = (
    f"stores/postgres/migrations/{name}.sql" for name in ("0002_read", "0003_commit")
)

MUTANTS = [
    Mutant(
        "the younger primary wins",
        "rules/identify.py",
        "(self.primary_at, self.primary) < (other.primary_at, other.primary)",
        "(self.primary_at, self.primary) > (other.primary_at, other.primary)",
        RULE,
    ),
    Mutant(
        "ages that are equal are not told apart",
        "rules/identify.py",
        "(self.primary_at, self.primary) < (other.primary_at, other.primary)",
        "self.primary_at < other.primary_at",
        RULE,
    ),
    Mutant(
        "of two born in a batch the later one stays primary",
        "rules/identify.py",
        "self.primary > other.primary",
        "self.primary < other.primary",
        RULE,
    ),
    Mutant(
        "whoever holds the email stays primary",
        "rules/identify.py",
        "elder = one if one.is_older_than(other) else other",
        "elder = one",
        RULE,
    ),
    Mutant(
        "the larger identity keeps its own primary",
        "rules/identify.py",
        "larger.primary, larger.primary_at = elder.primary, elder.primary_at",
        "del elder",
        RULE,
    ),
    Mutant(
        "the contacts of a merged identity are not counted",
        "rules/identify.py",
        "        larger.contacts += smaller.contacts\n",
        "",
        RULE,
    ),
    Mutant(
        "a merge writes into the snapshot",
        "rules/identify.py",
        "larger.members = larger.members + smaller.members",
        "larger.members += smaller.members",
        RULE,
    ),
    Mutant(
        "contacts born in the batch are lost from replies in a merge",
        "rules/identify.py",
        "        larger.created += smaller.created\n",
        "",
        RULE,
    ),
    Mutant(
        "an identity born in the batch takes over a stored one",
        "rules/identify.py",
        "return person.version > 0, person.contacts",
        "return False, person.contacts",
        RULE,
    ),
    Mutant(
        "replies are as of the end of the batch",
        "rules/identify.py",
        "[_place(draft, observation).reply() for observation in observations]",
        "[_survivor(p).reply() for p in [_place(draft, o) for o in observations]]",
        RULE,
    ),
    Mutant(
        "a reply from before a change is given again after it",
        "rules/identify.py",
        "        self.last_reply = None\n",
        "",
        RULE,
    ),
    Mutant(
        "every reply counts as settled",
        "rules/identify.py",
        "Reply(self.members, self.created, not self.is_changed)",
        "Reply(self.members, self.created, True)",
        RULE,
    ),
    Mutant(
        "a deletion frees no email",
        "rules/identify.py",
        "[email] if email and all(c.email != email for c in rest) else []",
        "[]",
        RULE,
    ),
    Mutant(
        "a deletion frees a phone that another contact carries",
        "rules/identify.py",
        "[phone] if phone and all(c.phone != phone for c in rest) else []",
        "[phone] if phone else []",
        RULE,
    ),
    Mutant(
        "versions are not compared",
        "stores/sqlite/sql/commit.sql",
        "where id = ? and version = ? and root_id = id",
        "where id = ? and ? is not null and root_id = id",
        STORE,
    ),
    Mutant(
        "an identity that ended is still changed",
        "stores/sqlite/sql/commit.sql",
        "where id = ? and version = ? and root_id = id",
        "where id = ? and version = ?",
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
        "a failed commit is not rolled back",
        "stores/sqlite/store.py",
        "await self._writing.run(lambda: roll_back(self._writer))",
        "pass",
        STORE,
    ),
    Mutant(
        "what is remembered is trusted",
        "stores/sqlite/read.py",
        "if not self._recent.is_at(id_, version)",
        "if version is None",
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
    Mutant(
        "replies are given before they are durable",
        "service/service.py",
        "if reply.is_settled:",
        "if reply.is_settled or reply.members:",
        SERVICE,
    ),
    Mutant(
        "what has been answered is tried again",
        "service/service.py",
        "waiting = [pending for pending, _ in unsettled if not pending.is_settled]",
        "waiting = batch",
        SERVICE,
    ),
    Mutant(
        "the cached answers of all tenants are one",
        "caches/entries.py",
        ":{tenant}:",
        ":",
        Suite("test_keys.py", "cache and crosses"),
    ),
    Mutant(
        "what was said before an erasure is believed after it",
        "service/service.py",
        "if waiting and waiting[0].made_at is not None:",
        "if not waiting:",
        Suite("test_store.py", "said_before_the_erasure and sqlite"),
    ),
    Mutant(
        "a failure is logged with its text",
        "telemetry/failures.py",
        "names.append(type(cause).__name__)",
        "names.append(str(cause))",
        SERVICE,
    ),
    Mutant(
        "neighbours of a poisoned observation fail with it",
        "service/service.py",
        "except StoreUnavailable as refusal:",
        "except Exception as refusal:",
        SERVICE,
    ),
    Mutant(
        "the queue has no bound",
        "service/batching.py",
        "if self._load.waiting + count > self._limits.queue:",
        "if count > self._limits.queue:",
        SERVICE,
    ),
    Mutant(
        "versions are not compared on PostgreSQL",
        COMMIT_SQL,
        " and i.version = (change ->> 5)::integer",
        "",
        POSTGRES,
    ),
    Mutant(
        "an identity that ended is still changed on PostgreSQL",
        COMMIT_SQL,
        "i.root_id = i.id and i.version",
        "i.version",
        POSTGRES,
    ),
    Mutant(
        "versions are not raised on PostgreSQL",
        COMMIT_SQL,
        "version = i.version + 1",
        "version = i.version",
        POSTGRES,
    ),
    Mutant(
        "what is compared is not locked",
        COMMIT_SQL,
        "::integer\n            for no key update;",
        "::integer;",
        RACES,
    ),
    Mutant(
        "identities are locked as they come",
        COMMIT_SQL,
        "jsonb_agg(c order by (c ->> 0)::bigint)",
        "jsonb_agg(c)",
        RACES,
    ),
    Mutant(
        "values are inserted as they come",
        COMMIT_SQL,
        """            order by v.value collate "C", v.kind collate "C";\n""",
        ";",
        RACES,
    ),
    Mutant(
        "a mismatch is told when all have been locked",
        COMMIT_SQL,
        "                return null;",
        "                now_ := 1;",
        RACES,
    ),
    Mutant(
        "ages are taken before the locks",
        COMMIT_SQL,
        "extract(epoch from clock_timestamp())",
        "extract(epoch from statement_timestamp())",
        RACES,
    ),
    Mutant(
        "a value that is taken stays silently where it is on PostgreSQL",
        COMMIT_SQL,
        """v.kind collate "C";""",
        """v.kind collate "C" on conflict do nothing;""",
        POSTGRES,
    ),
    Mutant(
        "all but the identifiers is written when a value is taken",
        COMMIT_SQL,
        "raise unique_violation using message = 'a new value has been taken since it was read';",
        "null;",
        POSTGRES,
    ),
    Mutant(
        "the database's own error quotes the value",
        COMMIT_SQL,
        "raise unique_violation using message = 'a new value has been taken since it was read';",
        "raise;",
        RACES,
    ),
    Mutant(
        "contacts may be older than their primary on PostgreSQL",
        COMMIT_SQL,
        "array_agg(greatest(now_, (c ->> 7)::bigint))",
        "array_agg(now_)",
        POSTGRES,
    ),
    Mutant(
        "what was merged earlier is left behind on PostgreSQL",
        COMMIT_SQL,
        "where i.root_id = (change ->> 0)::bigint;",
        "where i.id = (change ->> 0)::bigint;",
        POSTGRES,
    ),
    Mutant(
        "an identity born and merged in one commit stays its own root",
        COMMIT_SQL,
        "case when (c ->> 1)::bigint < 0 then ids[-(c ->> 1)::bigint] else (c ->> 1)::bigint end",
        "ids[-(c ->> 0)::bigint]",
        POSTGRES,
    ),
    Mutant(
        "contacts are deleted before they were created",
        COMMIT_SQL,
        "set deleted_at = greatest(now_, c.created_at)",
        "set deleted_at = now_",
        POSTGRES,
    ),
    Mutant(
        "freed emails stay taken on PostgreSQL",
        COMMIT_SQL,
        "i.kind = 'email' and i.value = change #>> '{}'",
        "i.kind = 'email' and false",
        POSTGRES,
    ),
    Mutant(
        "freed phones are freed for all tenants",
        COMMIT_SQL,
        "where i.tenant = commit.tenant and i.kind = 'phone'",
        "where i.kind = 'phone'",
        POSTGRES,
        opened=True,
    ),
    Mutant(
        "what is remembered is believed at an earlier version",
        READ_SQL,
        "where known.version = (",
        "where known.version <= (",
        POSTGRES,
    ),
    Mutant(
        "what is remembered is believed when it has ended",
        READ_SQL,
        "where i.id = known.id and i.root_id = i.id));",
        "where i.id = known.id));",
        POSTGRES,
    ),
    Mutant(
        "deleted contacts are answered on PostgreSQL",
        READ_SQL,
        " and m.deleted_at is null",
        "",
        POSTGRES,
    ),
    Mutant(
        "the values of all tenants are one",
        READ_SQL,
        "where i.tenant = read.tenant and i.kind",
        "where i.kind",
        POSTGRES,
        opened=True,
    ),
    Mutant(
        "the contacts of all tenants are one's own",
        READ_SQL,
        "where c.id = contact and c.tenant = read.tenant);",
        "where c.id = contact);",
        POSTGRES,
        opened=True,
    ),
    Mutant(
        "identities without a live contact are answered",
        READ_SQL,
        " and r.contacts > 0",
        "",
        POSTGRES,
    ),
    Mutant(
        "what was merged into an identity is not answered",
        READ_SQL,
        "where i.root_id = r.id offset 0",
        "where i.id = r.id offset 0",
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
        "a refused commit over HTTPS is taken for one that was done",
        "stores/supabase/store.py",
        """return None if answer == b"null" else answer""",
        "return answer",
        DATA_API,
    ),
    Mutant(
        "what is in the cache overtakes what came before it in a batch",
        "service/service.py",
        "if answer is None or (in_turn and rest):",
        "if answer is None:",
        CACHE,
    ),
    Mutant(
        "a reply is used after the licence",
        "caches/answers.py",
        "if mark is None or monotonic() > found.until:",
        "if mark is None:",
        CACHE,
    ),
    Mutant(
        "a reply that comes too late goes to whoever asked next",
        "caches/redis.py",
        "asked.is_late = True",
        "self._waiting.remove(asked)",
        CACHE,
    ),
    Mutant(
        "entries of an identity at two versions are a hit",
        "caches/entries.py",
        "(other.identity, other.version) != (entry.identity, entry.version)",
        "other.identity != entry.identity",
        CACHE,
    ),
    Mutant(
        "a fence is taken away though the commit may yet happen",
        "caches/answers.py",
        "except (Conflict, EpochOver):",
        "except Exception:",
        CACHE,
    ),
    Mutant(
        "a fill does not look at the lease",
        "caches/scripts/fill.lua",
        "if redis.call('GET', KEYS[i]) == lease then",
        "if lease then",
        CACHE,
    ),
    Mutant(
        "a fence takes another's place",
        "caches/scripts/fence.lua",
        "fences[i] = held .. ARGV[1]",
        "fences[i] = 'F' .. ARGV[1]",
        CACHE,
    ),
    Mutant(
        "a server that may drop a fence is used",
        "caches/redis.py",
        'facts.get("maxmemory", "0") != "0"',
        "False",
        CACHE,
    ),
    Mutant(
        "what is erased stays in the free space of the file",
        "stores/sqlite/database.py",
        '"secure_delete = on"',
        '"secure_delete = off"',
        FILES,
    ),
    Mutant(
        "what is erased stays in the log",
        "stores/sqlite/store.py",
        "if changes.erasure is not None and not",
        "if changes.erasure is None and not",
        FILES,
    ),
    Mutant(
        "an undated row brings back who is erased",
        "rules/erase.py",
        "made_at is None or made_at <= erased_at[value]",
        "made_at is not None and made_at <= erased_at[value]",
        ERASURE,
    ),
    Mutant(
        "deleted contacts of others keep what is erased",
        "rules/erase.py",
        "for carrier in carriers if carrier.contacts]",
        "for carrier in carriers if not carriers]",
        ERASURE,
    ),
    Mutant(
        "who has no live contact left stays",
        "rules/erase.py",
        "if not _live(i) and not values.isdisjoint",
        "if _live(i) is None and not values.isdisjoint",
        ERASURE,
    ),
]


def copy_source(folder):
    shutil.copytree(SOURCE, folder / "bitespeed", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "only_the_copy.py").write_text(PLUGIN)


def run_tests(folder, suite):
    """The exit code of pytest, and what it printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider"]
    command += ["-p", "only_the_copy", "-k", suite.only, "--tb=line"]
    # Hypothesis searches the same way each time, so that a mutant is not spared by chance.
    environ = os.environ | {
        "PYTHONPATH": str(folder),
        "CI": "true",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # importing them takes longer than the tests
    }
    outcome = subprocess.run(
        [*command, str(TESTS / suite.file)],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    return outcome.returncode, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("suite", sorted({m.tests for m in MUTANTS}), ids=" ".join)
def test_the_source_as_it_is_passes(suite, tmp_path):
    copy_source(tmp_path)
    code, output = run_tests(tmp_path, suite)
    assert code == PASSED, output


def test_tests_that_would_not_run_against_the_copy_are_told_apart(tmp_path):
    copy_source(tmp_path)
    shutil.move(tmp_path / "bitespeed", tmp_path / "elsewhere")
    code, output = run_tests(tmp_path, RULE)
    assert code not in (PASSED, FAILED), output


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_a_mistake_is_noticed(mutant, tmp_path):
    copy_source(tmp_path)
    file = tmp_path / "bitespeed" / mutant.file
    text = file.read_text()
    assert text.count(mutant.right) == 1
    text = text.replace(mutant.right, mutant.wrong)
    if mutant.opened:
        text, count = re.subn(r"set_config\('bitespeed.tenant', \w+\.tenant", EVERY_TENANT, text)
        assert count == 1
    file.write_text(text)
    code, output = run_tests(tmp_path, mutant.tests)
    assert code == FAILED, output
