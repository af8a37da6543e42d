"""Values that differ by little."""

import tracemalloc

import pytest

from bitespeed.model.identity import Contact
from bitespeed.rules.near import MAX_NEAR, near_misses


def one(value: str) -> list[Contact]:
    is_email = "@" in value
    return [Contact(1, 1, value if is_email else None, None if is_email else value)]


@pytest.mark.parametrize(
    ("value", "other", "differ_by"),
    [
        ("mar.ty@x.co", "marty@x.co", "dots"),
        ("m.a.r.t.y@x.co", "ma.rty@x.co", "dots"),
        ("marty+shop@x.co", "marty@x.co", "plus tag"),
        ("marty+a@x.co", "marty+b@x.co", "plus tag"),
        ("marty@gmail.com", "marty@gmial.com", None),
        ("marty@gmail.com", "marty@gmeil.com", "domain"),
        ("marty@gmail.com", "marty@gmai.com", "domain"),
        ("marty@gmal.com", "marty@gmail.com", "domain"),
        ("marty@gmail.com", "marty@gmil.con", None),
        ("marty@gmail.com", "biff@gmail.com", None),
        ("+14155550100", "4155550100", "digits"),
        ("004915112345678", "015112345678", "digits"),
        ("4155550100", "4155550101", None),
        ("55550100", "155550100", None),
    ],
)
def test_a_difference_has_its_name(value: str, other: str, differ_by: str | None) -> None:
    found = near_misses(one(value), one(other))
    assert [near.differ_by for near in found] == ([] if differ_by is None else [differ_by])
    assert [(near.one[1], near.other[1]) for near in found] == ([(value, other)] if found else [])


def test_few_are_shown_of_many() -> None:
    ours = [Contact(n, n, f"marty+{n}@x.co", None) for n in range(50)]
    theirs = [Contact(n, n, f"marty+{n}@x.co", None) for n in range(50, 100)]
    assert len(near_misses(ours, theirs)) == MAX_NEAR


def test_search_ends_with_what_is_shown() -> None:
    """Of values that are all near each other there are as many pairs as their product."""
    tags = [f"marty+{n}@x.co" for n in range(2_400)]
    ours, theirs = ([Contact(1, 1, tag, None) for tag in tags[half::2]] for half in (0, 1))
    tracemalloc.start()
    assert len(near_misses(ours, theirs)) == MAX_NEAR
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100 * 1024 * 1024  # a million pairs take several times as much
