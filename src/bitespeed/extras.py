"""Dependencies that only some need, and what to say where one is missing."""

from collections.abc import Generator
from contextlib import contextmanager

from bitespeed.errors import InvalidInput


@contextmanager
def extra(name: str) -> Generator[None]:
    """Name the extra to install where an import inside fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f'This setting needs an extra: pip install "bitespeed-identity[{name}]"'
        ) from error
