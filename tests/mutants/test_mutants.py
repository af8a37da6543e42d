"""Mistakes made on purpose, which the tests must notice.

Each is one replacement in a copy of the source; the tests of one file run against the copy. The
mistakes are listed beside this file, a list for each part of the source.
"""

import shutil

import pytest

from mutants import (
    api,
    caches,
    check,
    erasure,
    imports,
    postgres,
    rules,
    server,
    service,
    sqlite,
    supabase,
)
from support.mutants import FAILED, PASSED, copy_source, make_mistake, run_tests

LISTS = (rules, service, server, api, sqlite, postgres, supabase, caches, erasure, check, imports)
MUTANTS = [mutant for part in LISTS for mutant in part.MUTANTS]


@pytest.mark.parametrize("suite", sorted({m.tests for m in MUTANTS}), ids=" ".join)
def test_unchanged_source_passes(suite, tmp_path):
    copy_source(tmp_path)
    code, output = run_tests(tmp_path, suite)
    assert code == PASSED, output


def test_run_that_misses_the_copy_is_an_error(tmp_path):
    copy_source(tmp_path)
    shutil.move(tmp_path / "bitespeed", tmp_path / "elsewhere")
    code, output = run_tests(tmp_path, rules.RULES)
    assert code not in (PASSED, FAILED), output


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_mistake_is_noticed(mutant, tmp_path):
    copy_source(tmp_path)
    make_mistake(tmp_path, mutant)
    code, output = run_tests(tmp_path, mutant.tests)
    assert code == FAILED, output
