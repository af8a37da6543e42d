"""The command line in a process of its own, in a clean environment."""

import os
import subprocess
import sys
from pathlib import Path

from support.warnings_as_errors import IN_ENVIRONMENT


def bitespeed(
    *arguments: str | Path, cwd: Path, stdin: str | bytes = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BITESPEED", "DATABASE"))}
    return subprocess.run(
        [sys.executable, "-m", "bitespeed", *map(str, arguments)],
        cwd=cwd,
        env=clean | IN_ENVIRONMENT | environment,
        input=stdin if isinstance(stdin, str) else stdin.decode("latin-1"),
        capture_output=True,
        text=True,
        encoding="latin-1" if isinstance(stdin, bytes) else "utf-8",
        timeout=60,
        check=False,
    )


def succeed(*arguments: str | Path, cwd: Path, stdin: str = "", **environment: str) -> str:
    done = bitespeed(*arguments, cwd=cwd, stdin=stdin, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
