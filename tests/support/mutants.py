"""Run one file of tests against a copy of the source that has a mistake in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import bitespeed

SOURCE = Path(bitespeed.__file__).parent
TESTS = Path(__file__).parents[1]

PASSED, FAILED = 0, 1  # exit codes of pytest; errors of collection and of its own have others
TEST_TIMEOUT = 180  # seconds, on a busy machine; a mutant whose tests hang is not noticed

EVERY_TENANT = "set_config('bitespeed.tenant', '*'"

PLUGIN = """
from pathlib import Path

import bitespeed
import pytest

def pytest_configure(config):
    if Path(bitespeed.__file__).parent.parent != Path(__file__).parent:
        pytest.exit("The tests would not run against the copy", returncode=9)
"""


class Suite(NamedTuple):
    """The tests of a file or folder below `tests/` whose names match pytest's expression."""

    file: str
    only: str = "not many_processes"


class Mutant(NamedTuple):
    """What a mistake does, and where it is made: ``right`` occurs once in the file.

    At least one test of ``tests`` must fail. ``opened`` disables row level security too, which
    would hide a mistake in the tenant predicate of a statement.
    """

    mistake: str
    file: str
    right: str
    wrong: str
    tests: Suite
    opened: bool = False


def copy_source(folder: Path) -> None:
    """Copy the package to ``folder``, with a plugin that refuses to test anything else."""
    shutil.copytree(SOURCE, folder / "bitespeed", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "only_the_copy.py").write_text(PLUGIN)


def make_mistake(folder: Path, mutant: Mutant) -> None:
    """Change the copy in ``folder``. Fails unless the right text occurs exactly once."""
    file = folder / "bitespeed" / mutant.file
    text = file.read_text()
    assert text.count(mutant.right) == 1
    text = text.replace(mutant.right, mutant.wrong)
    if mutant.opened:
        text, count = re.subn(r"set_config\('bitespeed.tenant', \w+\.tenant", EVERY_TENANT, text)
        assert count == 1
    file.write_text(text)


def run_tests(folder: Path, suite: Suite) -> tuple[int, str]:
    """The exit code of pytest over the copy in ``folder``, and what it printed."""
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
        timeout=TEST_TIMEOUT,
        check=False,
    )
    return outcome.returncode, outcome.stdout + outcome.stderr
