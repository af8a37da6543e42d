"""Which Pythons are tested, and where their environments are."""

import ast
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


LEAVES_3_14 = {
    *(f"ast.{name}" for name in ("Num", "Str", "Bytes", "NameConstant", "Ellipsis")),
    *("asyncio.get_child_watcher", "asyncio.set_child_watcher", "asyncio.ThreadedChildWatcher"),
    *("importlib.abc.ResourceReader", "importlib.abc.Traversable", "pkgutil.find_loader"),
    *("pkgutil.get_loader", "pty.master_open", "pty.slave_open", "sqlite3.version"),
    *("sqlite3.version_info", "urllib.parse.Quoter", "urllib.request.URLopener"),
}
CHANGES_3_14 = {
    "asyncio.get_event_loop",  # raises where no loop runs
    # The method of starting has changed, so the context names one.
    *("multiprocessing.Process", "multiprocessing.Pool", "concurrent.futures.ProcessPoolExecutor"),
}
DEPRECATED_3_14 = {
    *("asyncio.get_event_loop_policy", "asyncio.set_event_loop_policy"),
    *("asyncio.iscoroutinefunction", "codecs.open", "argparse.FileType"),
    *("collections.abc.ByteString", "typing.ByteString"),
}
NOT_FOR_3_14 = LEAVES_3_14 | CHANGES_3_14 | DEPRECATED_3_14


def used_names(source: str, names: set[str]) -> set[str]:
    """Those of the dotted names that the source imports or uses by their module."""
    last = {name.rpartition(".")[2] for name in names}
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=attr) if attr in last:
                found.add(ast.unparse(node))
            case ast.ImportFrom(module=str(module), names=imported):
                found |= {f"{module}.{alias.name}" for alias in imported}
            case _:
                pass
    return found & names


def test_nothing_uses_what_python_3_14_removes_or_deprecates() -> None:
    paths = [
        p for folder in ("src", "tests", "bench", "deploy") for p in (ROOT / folder).rglob("*.py")
    ]
    assert len(paths) > 300
    found = {str(p.relative_to(ROOT)): used_names(p.read_text(), NOT_FOR_3_14) for p in paths}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("name", sorted(NOT_FOR_3_14))
def test_name_that_python_3_14_removes_is_noticed(name: str) -> None:
    module, _, last = name.rpartition(".")
    assert used_names(f"from {module} import {last}", NOT_FOR_3_14) == {name}
    assert used_names(f"import {module}\nprint({name}())", NOT_FOR_3_14) == {name}
    assert used_names(f"import {module}\nprint(self.{last}, '{name}')", NOT_FOR_3_14) == set()
