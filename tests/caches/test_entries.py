"""Entries of the cache, as values."""

import pytest

from bitespeed.caches.entries import MAX_CONTACTS, hit, text_of
from bitespeed.model.identifiers import Email, Phone, observe
from bitespeed.model.identity import Answer, Contact, Identity
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


def test_values_never_seen_together_are_no_hit() -> None:
    members = [Contact(1, 1, Email("a@x"), Phone("1")), Contact(2, 2, Email("b@x"), Phone("2"))]
    pairs = [("email", "a@x", "phone", "2")]
    answer = Answer(1, [Email("a@x"), Email("b@x")], [Phone("1"), Phone("2")], [2])
    text = text_of(Identity(1, 3, 70, 1, 1, 2, members, pairs), answer)
    entries = dict.fromkeys(("a@x", "b@x", "1", "2"), text)
    for sent in (("a@x", "1"), ("b@x", "2"), ("a@x", "2"), ("b@x", None), (None, "1")):
        assert hit(observe(*sent), entries) is not None
    assert hit(observe("b@x", "1"), entries) is None


def test_pairs_beyond_the_limit_are_no_hit() -> None:
    members = [Contact(n, n, Email(f"{n}@x"), Phone(f"{n}")) for n in range(1, MAX_CONTACTS + 1)]
    others = [("email", f"{n}@x", "phone", f"{n + 1}") for n in range(1, MAX_CONTACTS)]
    other = ("email", "1@x", "phone", "3")
    answer = answer_of(MAX_CONTACTS)
    sent = observe("1@x", "1")
    for pairs, is_hit in (([*others, other], True), ([*others, other, (*other[:3], "4")], False)):
        text = text_of(Identity(1, 7, 70, 1, 0, MAX_CONTACTS, members, pairs), answer)
        assert (hit(sent, {"1@x": text, "1": text}) is not None) == is_hit
        assert hit(observe("1@x", None), {"1@x": text}) is not None


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
