"""Pages of what is asked for: how long they may be, and from where to where they go."""

from bitespeed.errors import InvalidInput

MAX_PAGE = 1_000  # events or merges in an answer; about 300 KB
PAGE = 100
MAX_NUMBER = 2**63 - 1  # of an event, as databases count


def limited(limit: int) -> int:
    """The limit of a page. Raises `InvalidInput` for one that is out of bounds."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"limit must be from 1 to {MAX_PAGE:,}")
    return limit
