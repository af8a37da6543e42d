"""The numbers of damages and of mutants in docs/correctness.md are those of the lists."""

import re
from pathlib import Path

import pytest

from mutants.test_mutants import MUTANTS
from support import damages

PAGE = Path(__file__).parents[2] / "docs" / "correctness.md"

FIGURES = {
    r"A database damaged in (\d+) ways by hand": len(
        [*damages.ROWS, *damages.AMONG_ADOPTED, *damages.SCHEMA]
    ),
    r"ways by hand, rows and schema; (\d+) changes that are no fault": len(
        [*damages.HARMLESS_ROWS, *damages.HARMLESS_SCHEMA]
    ),
    r"no fault; (\d+) databases whose functions or tables forward": len(damages.FORWARDING),
    r"\| (\d+) of \d+ killed": len(MUTANTS),
    r"\| \d+ of (\d+) killed": len(MUTANTS),
}
"""By where a number stands on the page, the number."""


def wrong_figures(page: str) -> list[str]:
    """Where the page has another number than the lists, or none."""
    return [place for place, number in FIGURES.items() if re.findall(place, page) != [str(number)]]


def test_numbers_on_the_page_are_those_of_the_lists() -> None:
    assert wrong_figures(PAGE.read_text()) == []


@pytest.mark.parametrize("place", FIGURES)
def test_wrong_number_on_the_page_is_noticed(place: str) -> None:
    page = PAGE.read_text()
    found = re.search(place, page)
    assert found is not None
    start, end = found.span(1)
    assert wrong_figures(f"{page[:start]}9{page[start:]}") == [place]
    assert wrong_figures(f"{page[: found.start()]}{page[end:]}") != []
