"""Optional dependencies, and the advice given when one is missing."""

from collections.abc import Generator
from contextlib import contextmanager

from bitespeed.errors import InvalidInput


@contextmanager
def extra(name: str) -> Generator[None]:
    """Import optional dependencies inside. Raises `InvalidInput`, which names the extra to install,
    when one of them is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f'This needs the extra `{name}`. Run this in the source folder: pip install ".[{name}]"'
        ) from error
