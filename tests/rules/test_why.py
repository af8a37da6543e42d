"""Chains of facts on random graphs: valid, shortest, the oldest of equals, and found by halves."""

from collections import defaultdict
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitespeed.model.facts import Fact, Node
from bitespeed.rules.why import TooManyFacts, search, shortest_chain

EMAILS = [Node("email", f"{letter}@x") for letter in "abcdefgh"]
PHONES = [Node("phone", digit) for digit in "12345678"]
PAIRS = st.lists(
    st.tuples(st.sampled_from(EMAILS), st.sampled_from(PHONES)), unique=True, max_size=24
)
NODES = st.sampled_from(EMAILS + PHONES)


def fact(number: int, one: Node, other: Node) -> Fact:
    return Fact(number, number, 1, None, one, other)


def facts_of(pairs: list[tuple[Node, Node]]) -> list[Fact]:
    return [fact(number, *pair) for number, pair in enumerate(pairs, start=1)]


def distances(facts: list[Fact]) -> dict[tuple[Node, Node], float]:
    """By Floyd and Warshall."""
    nodes = EMAILS + PHONES
    far: dict[tuple[Node, Node], float] = defaultdict(lambda: float("inf"))
    for node in nodes:
        far[node, node] = 0
    for known in facts:
        one, other = known.nodes
        far[one, other] = far[other, one] = 1
    for middle, one, other in product(nodes, nodes, nodes):
        far[one, other] = min(far[one, other], far[one, middle] + far[middle, other])
    return far


def found(facts: list[Fact], start: Node, goal: Node, limit: int = 2000) -> list[Fact] | None:
    """What `search` finds, with a store that has these facts."""
    searching = search(start, goal, limit)
    try:
        wanted, most = next(searching)
        while True:
            told = [f for f in facts if any((n.kind, n.value) in wanted for n in f.nodes)]
            wanted, most = searching.send(told if len(told) <= most else None)
    except StopIteration as end:
        return end.value


@given(PAIRS, NODES, NODES)
def test_a_chain_leads_there_and_is_shortest(pairs, start, goal):
    facts = facts_of(pairs)
    chain = found(facts, start, goal)
    far = distances(facts)[start, goal]
    if chain is None:
        assert far == float("inf")
        return
    assert len(chain) == far
    if not chain:
        assert start == goal
        return
    assert start in chain[0].nodes
    assert goal in chain[-1].nodes
    assert all(set(one.nodes) & set(other.nodes) for one, other in pairwise(chain))


@given(PAIRS, NODES, NODES)
def test_search_from_both_ends_finds_the_same(pairs, start, goal):
    facts = facts_of(pairs)
    assert found(facts, start, goal) == shortest_chain(facts, start, goal)


def test_freed_value_is_another_one_afterwards():
    before, after = Node("phone", "1", until=7), Node("phone", "1")
    facts = [fact(1, EMAILS[0], before), fact(2, EMAILS[1], before), fact(9, EMAILS[2], after)]
    assert found(facts, EMAILS[0], EMAILS[1]) == facts[:2]
    assert found(facts, EMAILS[0], EMAILS[2]) is None


def test_crowd_that_shares_a_value_is_not_read():
    shared = PHONES[0]
    crowd = [fact(n, Node("email", f"{n}@y"), shared) for n in range(10, 5000)]
    two = [fact(1, EMAILS[0], shared), fact(2, EMAILS[1], shared)]
    assert found(two + crowd, EMAILS[0], EMAILS[1]) == two


@pytest.mark.parametrize("is_turned", [False, True])
def test_crowd_is_reached_and_not_read(is_turned):
    crowd = [fact(n, Node("email", f"{n}@y"), PHONES[0]) for n in range(10, 5000)]
    way = facts_of(list(zip(EMAILS[:4], PHONES[:4], strict=True)))
    way += [fact(5 + n, EMAILS[n], PHONES[n + 1]) for n in range(3)]
    ends = [Node("email", "10@y"), PHONES[3]]
    chain = found(way + crowd, *(reversed(ends) if is_turned else ends))
    assert chain is not None
    assert len(chain) == 7


def test_a_search_ends_at_its_limit():
    facts = facts_of([(EMAILS[0], PHONES[0]), (EMAILS[1], PHONES[0])])
    assert found(facts, EMAILS[0], EMAILS[1], 2) == facts
    with pytest.raises(TooManyFacts):
        found(facts, EMAILS[0], EMAILS[1], 1)


def test_a_search_ends_where_one_has_nobody():
    crowd = [fact(n, Node("email", f"{n}@y"), PHONES[0]) for n in range(10, 5000)]
    assert found([*crowd, fact(1, EMAILS[0], PHONES[0])], EMAILS[0], EMAILS[1]) is None
