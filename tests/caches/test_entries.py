"""Entries of the cache, as values."""

import pytest

from bitespeed.caches.entries import hit, text_of
from bitespeed.model.identifiers import Email, observe
from bitespeed.model.identity import Answer, Identity
from bitespeed.wire.answers import encode_answer


def answer_of(count: int) -> Answer:
    return Answer(1, [Email(f"{n}@x") for n in range(count)], [], list(range(2, count + 1)))


@pytest.mark.parametrize("count", [1, 200])
def test_short_and_long_entries_are_read_as_written(count: int) -> None:
    answer = answer_of(count)
    text = text_of(Identity(1, 7, 70, 1, 0, count), answer)
    assert text.startswith(b"E" if count == 1 else b"Z")
    assert text.isascii()
    kept = hit(observe("0@x", None), {"0@x": text})
    assert kept is not None
    assert kept.answer() == answer
    assert encode_answer(kept) == encode_answer(answer)


def test_only_one_identity_at_one_stamp_is_a_hit() -> None:
    text = {
        (id_, stamp): text_of(Identity(id_, 1, stamp, 1, 0, 1), answer_of(id_))
        for id_ in (1, 2)
        for stamp in (1, 2)
    }
    both = observe("a@x", "1")
    kept = hit(both, {"a@x": text[1, 1], "1": text[1, 1]})
    assert kept is not None
    assert kept.answer() == answer_of(1)
    for other in (text[1, 2], text[2, 1], None, b"Ftoken", b"Ltoken"):
        assert hit(both, {"a@x": text[1, 1], "1": other}) is None
        assert hit(both, {"a@x": other, "1": text[1, 1]}) is None
