"""The name of a tenant: one shop, whose customers never match or merge with another's."""

import re

from bitespeed.errors import InvalidInput

DEFAULT_TENANT = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def tenant_name(text: str) -> str:
    """The same text. Raises `InvalidInput` when it cannot be the name of a tenant."""
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            "A tenant is named by up to 64 letters, digits, dots, hyphens and underscores"
        )
    return text
