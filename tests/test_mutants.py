"""Mistakes made on purpose, which the tests must notice.

Each is one replacement in a copy of the source; the tests of one file run against the copy.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import bitespeed

SOURCE = Path(bitespeed.__file__).parent
TESTS = Path(__file__).parent

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


class Mutant(NamedTuple):
    """What a mistake does, and where it is made; ``tests`` is the file that must notice."""

    mistake: str
    file: str
    right: str
    wrong: str
    tests: str


RULE, STORE, SERVICE = "test_rule.py", "test_sqlite_store.py", "test_service.py"

MUTANTS = [
    Mutant(
        "the younger primary wins",
        "rule.py",
        "(self.primary_at, self.primary) < (other.primary_at, other.primary)",
        "(self.primary_at, self.primary) > (other.primary_at, other.primary)",
        RULE,
    ),
    Mutant(
        "ages that are equal are not told apart",
        "rule.py",
        "(self.primary_at, self.primary) < (other.primary_at, other.primary)",
        "self.primary_at < other.primary_at",
        RULE,
    ),
    Mutant(
        "of two born in a batch the later one stays primary",
        "rule.py",
        "self.primary > other.primary",
        "self.primary < other.primary",
        RULE,
    ),
    Mutant(
        "whoever holds the email stays primary",
        "rule.py",
        "elder = one if one.is_older_than(other) else other",
        "elder = one",
        RULE,
    ),
    Mutant(
        "the larger identity keeps its own primary",
        "rule.py",
        "larger.primary, larger.primary_at = elder.primary, elder.primary_at",
        "del elder",
        RULE,
    ),
    Mutant(
        "the contacts of a merged identity are not counted",
        "rule.py",
        "        larger.contacts += smaller.contacts\n",
        "",
        RULE,
    ),
    Mutant(
        "a merge writes into the snapshot",
        "rule.py",
        "larger.members = larger.members + smaller.members",
        "larger.members += smaller.members",
        RULE,
    ),
    Mutant(
        "contacts born in the batch are lost from replies in a merge",
        "rule.py",
        "        larger.created += smaller.created\n",
        "",
        RULE,
    ),
    Mutant(
        "an identity born in the batch takes over a stored one",
        "rule.py",
        "return person.version > 0, person.contacts",
        "return False, person.contacts",
        RULE,
    ),
    Mutant(
        "replies are as of the end of the batch",
        "rule.py",
        "[_place(draft, observation).reply() for observation in observations]",
        "[_survivor(p).reply() for p in [_place(draft, o) for o in observations]]",
        RULE,
    ),
    Mutant(
        "a reply from before a change is given again after it",
        "rule.py",
        "        self.last_reply = None\n",
        "",
        RULE,
    ),
    Mutant(
        "every reply counts as settled",
        "rule.py",
        "Reply(self.members, self.created, not self.is_changed)",
        "Reply(self.members, self.created, True)",
        RULE,
    ),
    Mutant(
        "a deletion frees no email",
        "rule.py",
        "[email] if email and all(c.email != email for c in rest) else []",
        "[]",
        RULE,
    ),
    Mutant(
        "a deletion frees a phone that another contact carries",
        "rule.py",
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
        "where root_id = ?;",
        "where id = ?;",
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
        "service.py",
        "if reply.is_settled:",
        "if reply.is_settled or reply.members:",
        SERVICE,
    ),
    Mutant(
        "what has been answered is tried again",
        "service.py",
        "waiting = [pending for pending, _ in unsettled if not pending.answer.done()]",
        "waiting = batch",
        SERVICE,
    ),
    Mutant(
        "a failure is logged with its text",
        "service.py",
        "type(error).__name__, place)",
        "error, place)",
        SERVICE,
    ),
    Mutant(
        "neighbours of a poisoned observation fail with it",
        "service.py",
        "except StoreUnavailable as refusal:",
        "except Exception as refusal:",
        SERVICE,
    ),
    Mutant(
        "the queue has no bound",
        "service.py",
        "if self._waiting + count > self._limits.queue:",
        "if count > self._limits.queue:",
        SERVICE,
    ),
]


def copy_source(folder):
    shutil.copytree(SOURCE, folder / "bitespeed", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "only_the_copy.py").write_text(PLUGIN)


def run_tests(folder, *names):
    """The exit code of pytest, and what it printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider"]
    command += ["-p", "only_the_copy", "-k", "not many_processes", "--tb=line"]
    # Hypothesis searches the same way each time, so that a mutant is not spared by chance.
    environ = os.environ | {
        "PYTHONPATH": str(folder),
        "CI": "true",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # importing them takes longer than the tests
    }
    outcome = subprocess.run(
        [*command, *[str(TESTS / name) for name in names]],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    return outcome.returncode, outcome.stdout + outcome.stderr


def test_the_source_as_it_is_passes(tmp_path):
    copy_source(tmp_path)
    code, output = run_tests(tmp_path, RULE, STORE, SERVICE)
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
    file.write_text(text.replace(mutant.right, mutant.wrong))
    code, output = run_tests(tmp_path, mutant.tests)
    assert code == FAILED, output
