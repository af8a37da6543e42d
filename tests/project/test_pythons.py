"""Which Pythons are tested, and where their environments are."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from project.test_make import ROOT, would_run
from support.pythons import candidates, oldest_supported, supported, version_of
from support.warnings_as_errors import IN_ENVIRONMENT

CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())


def python_of(folder: Path, version: str) -> Path:
    """A program that answers as a Python of that version does."""
    program = folder / f"python-{version}"
    program.write_text(f"#!/bin/sh\necho {version.replace('.', ' ')}\n")
    program.chmod(0o755)
    return program


def makefile_python(path: Path, version: str) -> Path:
    """A program that answers as the Makefile expects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def test_newest_of_each_supported_version_is_tested(tmp_path: Path) -> None:
    found = [python_of(tmp_path, v) for v in ("3.10.13", "3.13.0", "3.11.7", "3.13.2", "3.12.1")]
    chosen = supported((version_of(python), python) for python in found)
    assert [p.name for p in chosen] == ["python-3.11.7", "python-3.12.1", "python-3.13.2"]


def test_python_that_does_not_run_is_left_out(tmp_path: Path) -> None:
    broken = python_of(tmp_path, "3.13.0")
    broken.write_text("#!/bin/sh\nexit 127\n")
    unfinished = python_of(tmp_path, "3.14.0")
    unfinished.write_text("#!/bin/sh\n")
    absent = tmp_path / "python-3.12.1"
    assert [version_of(p) for p in (broken, unfinished, absent)] == [None, None, None]


def test_python_that_runs_the_tests_is_supported() -> None:
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    assert version_of(base) == sys.version_info[:3]
    assert oldest_supported() <= sys.version_info[:2]
    assert sys.version_info[:2] in {(version_of(p) or ())[:2] for p in [base, *candidates()]}


def test_every_place_that_names_the_oldest_python_agrees() -> None:
    oldest = ".".join(map(str, oldest_supported()))
    assert CONFIGURATION["tool"]["basedpyright"]["pythonVersion"] == oldest
    assert CONFIGURATION["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    for name in ("Makefile", "README.md", "docs/deploy-aws.md"):
        named = re.findall(r"Python (3\.\d+) or later", (ROOT / name).read_text())
        assert named, name
        assert set(named) == {oldest}, name


@pytest.mark.parametrize(
    ("wanted", "environment"), [("3.11", ".venv"), ("3.13", ".venv-3.13"), (None, ".venv")]
)
def test_another_python_has_an_environment_of_its_own(
    tmp_path: Path, wanted: str | None, environment: str
) -> None:
    makefile_python(tmp_path / ".venv" / "bin" / "python", "3.11")
    given = [f"PYTHON={makefile_python(tmp_path / 'python', wanted)}"] if wanted else []
    installed = f"--old-file={environment}/installed"
    served = would_run(installed, *given, "serve", cwd=tmp_path)
    assert served == f"exec env {environment}/bin/bitespeed serve"


def test_first_environment_is_of_whatever_python_is_given(tmp_path: Path) -> None:
    python = makefile_python(tmp_path / "python", "3.13")
    served = would_run(f"PYTHON={python}", "serve", cwd=tmp_path)
    assert served == "exec env .venv/bin/bitespeed serve"


def test_warnings_of_deprecation_fail_a_test() -> None:
    assert CONFIGURATION["tool"]["pytest"]["ini_options"]["filterwarnings"] == ["error"]


@pytest.mark.parametrize("category", ["DeprecationWarning", "PendingDeprecationWarning"])
def test_warnings_of_deprecation_fail_started_processes(category: str) -> None:
    deprecated = f"import warnings; warnings.warn('old', {category})"
    command = [sys.executable, "-c", deprecated]
    done = subprocess.run(
        command, env=os.environ | IN_ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.stderr.endswith(f"{category}: old\n")
    assert done.returncode == 1


def test_every_module_imports_without_a_warning() -> None:
    """On every Python that runs the tests; most are imported where no test looks."""
    everything = """
import importlib, pkgutil, bitespeed
for module in pkgutil.walk_packages(bitespeed.__path__, "bitespeed."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    command = [sys.executable, "-B", "-c", everything]
    environ = os.environ | IN_ENVIRONMENT | {"PYTHONPYCACHEPREFIX": "/nowhere"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
