"""Take out of a package what a Lambda function never reads, and compile the rest where we can:
nothing can be written there later, and compiling takes longer than all else at a cold start.
"""

import compileall
import shutil
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

NEEDLESS = (
    *("bin", "**/__pycache__", "**/tests", "**/*.pyi", "**/*.pyx"),
    *(f"bitespeed/{part}" for part in ("cli", "stores/sqlite", "stores/postgres/adopt")),
    *(f"bitespeed/http/{part}.py" for part in ("server", "connection", "exchange", "app")),
)


def slim(package: Path) -> None:
    """The functions work as before."""
    for pattern in NEEDLESS:
        for path in list(package.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


if __name__ == "__main__":
    slim(Path(sys.argv[1]))
    if sys.argv[2] == f"{sys.version_info.major}.{sys.version_info.minor}":
        compileall.compile_dir(
            sys.argv[1],
            quiet=2,
            stripdir=sys.argv[1],
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
