"""SQL that stands in files beside the code that runs it.

`importlib.resources` and `pathlib` would read them too, and take longer to import than all that a
Lambda function reads; see docs/decisions/0022-cold-start.md.
"""

import os
from importlib import import_module


def text(package: str, name: str) -> str:
    """The text of a file of a package."""
    with open(f"{_folder(package)}/{name}", encoding="utf-8") as file:  # noqa: PTH123 - see above
        return file.read()


def names(package: str, folder: str) -> list[str]:
    """The names of all such files in a folder of a package, in their order."""
    found = os.listdir(f"{_folder(package)}/{folder}")  # noqa: PTH208 - see above
    return sorted(name for name in found if name.endswith(".sql"))


def _folder(package: str) -> str:
    return import_module(package).__path__[0]


def named(script: str) -> dict[str, str]:
    """The statements of a script by the names in their ``-- name:`` lines."""
    sections = script.split("-- name: ")[1:]
    return {name: text for name, _, text in (section.partition("\n") for section in sections)}
