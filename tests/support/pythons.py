"""The Pythons of this machine that the service runs on, one path a line, the oldest first.

    python tests/support/pythons.py           one of each version
    python tests/support/pythons.py --newer   the newest one, if it is newer than this one

Looks for `python3.N` on the path and where pyenv keeps its own. A Python that is not final is left
out, and so is one without sqlite3, ssl or venv.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
MINORS = range(100)  # of Python 3, on the path; there is one a year
ANSWER_TIMEOUT = 30.0  # seconds for a Python to print its version, on a busy machine

PRINT_VERSION = """
import sqlite3, ssl, sys, venv
if sys.version_info.releaselevel == "final":
    print(*sys.version_info[:3])
"""

Version = tuple[int, ...]


def oldest_supported() -> Version:
    """From which version on the service runs, as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minimum = re.fullmatch(r">=(\d+)\.(\d+)", project["requires-python"])
    assert minimum
    return tuple(map(int, minimum.groups()))


def candidates() -> list[Path]:
    """Where a Python may be; pyenv's programs on the path work only if their version is chosen."""
    on_path = [shutil.which(f"python3.{minor}") for minor in MINORS]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [*map(Path, filter(None, on_path)), *pyenv.glob("versions/3.*/bin/python3")]


def version_of(python: Path) -> Version | None:
    """Its version; nothing if it does not run, is not final, or has not all that we need."""
    command = [python, "-I", "-c", PRINT_VERSION]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT, check=False
        )
    except OSError:
        return None
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 and done.stdout else None


def supported(found: Iterable[tuple[Version | None, Path]]) -> list[Path]:
    """The newest of each minor version that the service runs on, the oldest first."""
    newest: dict[Version, tuple[Version, Path]] = {}
    for version, python in found:
        if version and version >= oldest_supported():
            newest[version[:2]] = max((version, python), newest.get(version[:2], ((), python)))
    return [python for _, python in sorted(newest.values())]


def main(arguments: list[str]) -> None:
    """Print the paths."""
    pythons = supported((version_of(python), python) for python in candidates())
    if arguments == ["--newer"]:
        newer = [p for p in pythons[-1:] if (version_of(p) or ())[:2] > sys.version_info[:2]]
        pythons = newer
    for python in pythons:
        print(python)


if __name__ == "__main__":
    main(sys.argv[1:])
