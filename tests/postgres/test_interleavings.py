"""Does the commit of the PostgreSQL store hold in every interleaving? A model of it says so.

Any three of ten requests come at the same time to a small database, and every schedule of their
steps is taken. Each must end, and answer, as if they had come one after the other. Protocols with
a mistake show that the same walk finds what there is to find.
"""

import time
from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement, permutations

import pytest

from bitespeed.model.identifiers import observe
from bitespeed.rules.invariants import violations_of
from support.history_checker import Blobs
from support.interleavings import (
    Explorer,
    Findings,
    Insert,
    Lock,
    Relabel,
    State,
    Step,
    Variant,
    begun,
    in_turn,
)
from support.model_store import Request


def identify(name: str, *pairs: tuple[str, str]) -> Request:
    return Request(name, tuple(observe(f"{letter}@x", phone) for letter, phone in pairs))


# Identity 3 has taken over 4, whose row is dead, and has two contacts; identity 5 has three.
STORED = [
    identify("stored", (p[0], p[1])) for p in ("a1", "b2", "c3", "d4", "e5", "e6", "f5", "c4")
]
START = in_turn(State(), STORED, range(len(STORED)))

REQUESTS = {
    request.name: request
    for request in (
        identify("repeat", ("a", "1")),
        identify("link", ("a", "7")),
        identify("found", ("h", "9")),
        identify("found two", ("i", "9"), ("h", "8")),  # brings h and 9 as well, 9 first
        identify("bridge", ("a", "2")),  # 2 ends in 1
        identify("cross", ("b", "1")),  # 1 ends in 2
        identify("chain", ("c", "2")),  # 2, or what has become of it, ends in 3
        identify("swallow", ("e", "4")),  # 3 and its dead row end in 5
        Request("delete", deletes=2),  # b and 2 are free again
        Request("erase", erases=4),  # 3 and its dead row go
    )
}


def test_any_three_concurrent_requests_end_as_in_some_sequence():
    findings = explore_all(combinations_with_replacement(REQUESTS, 3), Variant())
    assert not findings.wrong, findings.wrong[0]
    assert not findings.deadlocks, findings.deadlocks[0]
    assert not findings.starved, findings.starved[0]


# Two who merge the same pair, and a third who merges what the faster one has made of it.
MERGES = ("bridge", "cross", "chain")


def test_without_comparing_there_are_wrong_ends_and_deadlocks():
    findings = explore_all([MERGES], Variant(compares="never"))
    assert findings.wrong
    assert waits(findings) == {(Lock, Relabel)}


@pytest.mark.parametrize(
    ("variant", "requests", "ring"),
    [
        pytest.param(Variant(compares="late"), MERGES, (Lock, Relabel), id="compared late"),
        pytest.param(
            Variant(sorts_locks=False),
            ("repeat", "bridge", "cross"),
            (Lock, Lock),
            id="locks as they come",
        ),
        pytest.param(
            Variant(sorts_keys=False),
            ("repeat", "found", "found two"),
            (Insert, Insert),
            id="keys as they come",
        ),
    ],
)
def test_mistake_causes_deadlocks_without_wrong_results(variant, requests, ring):
    findings = explore_all([requests], variant)
    assert waits(findings) == {ring}
    assert not findings.wrong


def test_read_without_one_snapshot_gives_impossible_answer():
    findings = explore_all([("repeat", "bridge", "cross")], Variant(reads_at_once=False))
    assert findings.wrong


def waits(findings: Findings) -> set[tuple[type[Step], ...]]:
    """At which steps requests wait for each other, for each deadlock."""
    kinds = [[type(step) for _, step in bad.waiting] for bad in findings.deadlocks]
    return {tuple(sorted(kind, key=lambda step: step.__name__)) for kind in kinds}


def explore_all(choices: Iterable[Sequence[str]], variant: Variant) -> Findings:
    """What comes of all the choices of requests together; printed too."""
    begin = time.perf_counter()
    total = Findings()
    for names in choices:
        total.add(explore([REQUESTS[name] for name in names], variant))
    print(
        f"\n{variant}: {total.states:,} states, {total.schedules:.2g} schedules,"
        f" {len(total.wrong)} wrong ends, {len(total.deadlocks)} deadlocks,"
        f" {len(total.starved)} starved, {time.perf_counter() - begin:.1f} s"
    )
    for bads in (total.wrong, total.deadlocks, total.starved):
        if bads:
            print(min(bads, key=lambda bad: len(bad.schedule)))
    return total


def explore(requests: Sequence[Request], variant: Variant) -> Findings:
    """Take the requests through every schedule, and compare each end with those of every order."""
    orders = permutations(range(len(requests)))
    right = {outcome(in_turn(START, requests, order)) for order in orders}
    connected = components([*STORED, *requests])

    def judge(state: State) -> str | None:
        for identity in state.database.identities():
            for violation in violations_of(identity):
                return str(violation)
        if outcome(state) not in right:
            return "no order of the requests, one after the other, ends and answers like this"
        if connected not in (None, partition(state)):
            return "the persons are not what the observations connect"
        return None

    return Explorer(judge, variant).explore(begun(START, requests))


def outcome(state: State) -> tuple:
    """Every person and every answer."""
    return state.database.persons(), tuple(run.answers for run in state.runs)


def partition(state: State) -> set[frozenset[str]]:
    return {frozenset(value for _, value in keys) for _, keys in state.database.persons()}


def components(requests: Sequence[Request]) -> set[frozenset[str]] | None:
    """The values that belong together, whatever the order; None if something is deleted."""
    if any((request.deletes, request.erases) != (None, None) for request in requests):
        return None
    blobs = Blobs()
    observed = [(o.email, o.phone) for request in requests for o in request.observations]
    for both in observed:
        blobs.join(both)
    parts: dict = {}
    for both in observed:
        parts.setdefault(blobs.find(both[0]), set()).update(both)
    return {frozenset(part) for part in parts.values()}
