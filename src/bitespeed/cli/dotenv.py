"""Settings from a file ``.env`` in the working directory."""

import os
from pathlib import Path

from bitespeed.errors import InvalidInput

DOTENV = Path(".env")


def read_dotenv() -> bool:
    """Set the environment variables that ``.env`` names and that are not set. Whether it exists.

    Values are taken as they are, without expanding ``${NAME}``. Raises `InvalidInput` for a file
    that cannot be read and for a line that is not ``NAME=value``, without quoting the line: it may
    hold a password.
    """
    try:
        file = DOTENV.open(encoding="utf-8")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InvalidInput(f"{DOTENV} cannot be read: {error.strerror}") from None
    from dotenv.parser import parse_stream  # few have such a file

    with file:
        try:
            bindings = list(parse_stream(file))
        except UnicodeDecodeError:
            raise InvalidInput(f"{DOTENV} is not a text in UTF-8") from None
    for binding in bindings:
        text = binding.original.string
        if binding.error or (binding.key is not None and binding.value is None):
            line = binding.original.line + len(text) - len(text.lstrip("\n"))
            raise InvalidInput(f"{DOTENV}, line {line}: this is not NAME=value")
    for binding in bindings:
        if binding.key is not None and binding.value is not None:
            os.environ.setdefault(binding.key, binding.value)
    return True
