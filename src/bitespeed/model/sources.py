"""Where facts come from."""

import msgspec

from bitespeed.errors import InvalidInput

MAX_LABEL = 64  # characters: a name, such as `newsletter 2026-11`; each fact keeps it

CLI = "cli"
QUEUE = "queue"
IMPORT = "import:"
"""What the names of sources begin with that are files."""


class Source(msgspec.Struct, frozen=True, gc=False):
    """Who said it, in which request, and what they call that."""

    name: str | None = None
    """The id of an API key, `CLI`, `QUEUE`, or `IMPORT` and the name of a file; None for a caller
    without a key.
    """
    request: str | None = None
    """The id of the request, as it is logged."""
    label: str | None = None
    """The caller's own words."""


NO_SOURCE = Source()


class SameSource:
    """The source of all of many observations, by the place of each among them."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __getitem__(self, place: int, /) -> Source:
        return self._source


def parse_label(text: str) -> str | None:
    """The label of a source; None where it is blank. Raises `InvalidInput`."""
    label = text.strip()
    if len(label) > MAX_LABEL or not label.isprintable():
        raise InvalidInput(f"X-Source may have at most {MAX_LABEL} characters, in one line of text")
    return label or None
