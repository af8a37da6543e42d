"""Could the requests have been carried out one after the other? For histories with deletions or
erasures, though not with both: of who is erased, deleted contacts are not known any more.

A deletion frees values, which another identity may then take, so `support.history_checker` and its
union-finds do not hold. Here an order is searched for: one that lies within the time of each
request, in which each of them, by the rule as naively as can be, is answered what it was answered,
makes the contacts that are stored, and leaves behind what is stored in the end. If there is one,
nobody can tell that it was not so; if there is none, something was wrong.

Values that no request connects have nothing to do with each other, so there is a search for each
group of values, its requests and its contacts. It says nothing of I9, the final partition of all
histories: deletions make that depend on the order. What was acknowledged must be kept all the same,
see `unkept`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from bitespeed.model.records import ContactRecord, IdentityRecords
from support.history_checker import Answer, Blobs, Node, Operation, Violation, unkept

BUDGET = 200_000  # steps of one search; those of histories that are right take some dozens

Person = frozenset[int]
"""The live contacts of an identity."""


def check(
    history: Sequence[Operation],
    final: Sequence[IdentityRecords],
    erased: Sequence[ContactRecord] = (),
) -> list[Violation]:
    """Every group of requests that no order explains, and every pair that is not kept. ``erased``
    are the contacts that were.
    """
    violations = [*unkept(history, final, erased)]
    for operations, contacts, persons in _groups(history, final, erased):
        search = _Search(operations, contacts, persons)
        if not search.succeeds():
            furthest = [op for op in operations if op not in search.furthest]
            what = f"no order of {len(operations)} requests explains these {len(furthest)}"
            violations.append(Violation("order", what, tuple(furthest)))
    return violations


_Group = tuple[list[Operation], list[ContactRecord], set[Person]]


def _groups(
    history: Sequence[Operation],
    final: Sequence[IdentityRecords],
    erased: Sequence[ContactRecord],
) -> Iterator[_Group]:
    blobs = _connected(history, final, erased)
    operations: dict[Node, list[Operation]] = defaultdict(list)
    contacts: dict[Node, list[ContactRecord]] = defaultdict(list)
    persons: dict[Node, set[Person]] = defaultdict(set)
    for op in history:
        operations[blobs.find(_nodes(op)[0])].append(op)
    for contact in erased:
        contacts[blobs.find(contact.id)].append(contact)
    for identity in final:
        for contact in identity.contacts:
            contacts[blobs.find(contact.id)].append(contact)
        live = frozenset(c.id for c in identity.contacts if c.deleted_at is None)
        if live:
            persons[blobs.find(next(iter(live)))].add(live)
    for key in operations.keys() | contacts.keys():
        yield operations[key], contacts[key], persons[key]


def _connected(
    history: Sequence[Operation],
    final: Sequence[IdentityRecords],
    erased: Sequence[ContactRecord],
) -> Blobs:
    """All that has to do with each other."""
    blobs = Blobs()
    for op in history:
        blobs.join(_nodes(op))
    for identity in final:
        blobs.join(node for contact in identity.contacts for node in _of_contact(contact))
    for contact in erased:
        blobs.join(_of_contact(contact))
    return blobs


def _nodes(op: Operation) -> tuple[Node, ...]:
    if op.deletes is not None:
        return (op.deletes,)
    if op.erases is not None:
        return (op.erases,)
    return (*op.values(), *(op.answer.nodes() if op.answer else ()))


def _of_contact(contact: ContactRecord) -> tuple[Node, ...]:
    return (contact.id, *_values(contact))


def _values(contact: ContactRecord) -> Iterable[str]:
    return (value for value in (contact.email, contact.phone) if value is not None)


class _State(NamedTuple):
    """Between two requests: who lives, and which contacts there are yet to be."""

    persons: frozenset[Person]
    unmade: frozenset[int]


class _Node(NamedTuple):
    pending: int  # a bit for each operation
    state: _State


class _Search:
    """After Wing and Gong: whatever may come next is tried, and what was tried is remembered."""

    def __init__(
        self, operations: list[Operation], contacts: list[ContactRecord], persons: set[Person]
    ) -> None:
        self._operations = sorted(operations, key=lambda op: op.begin)
        self._contacts = {contact.id: contact for contact in contacts}
        self._end = _State(frozenset(persons), frozenset())
        self._seen: set[_Node] = set()
        self._answers: dict[Person, Answer] = {}
        self._steps = count(1)
        self.furthest: list[Operation] = []
        """As many as could be carried out."""

    def succeeds(self) -> bool:
        everything = (1 << len(self._operations)) - 1
        stack = [_Node(everything, _State(frozenset(), frozenset(self._contacts)))]
        while stack:
            node = self._without_what_changes_nothing(stack.pop())
            if node in self._seen:
                continue
            self._seen.add(node)
            self._note(node.pending)
            if self._is_over(node):
                return True
            assert next(self._steps) < BUDGET, "No order was found in reasonable time"
            stack += self._after(node)
        return False

    def _is_over(self, node: _Node) -> bool:
        is_answered = not any(_is_known(op) for _, op in self._pending(node.pending))
        return is_answered and node.state == self._end

    def _note(self, pending: int) -> None:
        done = [op for place, op in enumerate(self._operations) if not pending >> place & 1]
        if len(done) > len(self.furthest):
            self.furthest = done

    def _pending(self, pending: int) -> Iterator[tuple[int, Operation]]:
        for place, op in enumerate(self._operations):
            if pending >> place & 1:
                yield place, op

    def _may_be_next(self, pending: int) -> Iterator[tuple[int, Operation]]:
        """Those that no other one, by the clock, must come before.

        One without an answer may be carried out at any time after it was sent, or never.
        """
        ends = [op.end for _, op in self._pending(pending) if _is_known(op)]
        horizon = min(ends, default=None)
        for place, op in self._pending(pending):
            if horizon is None or op.begin <= horizon:
                yield place, op

    def _without_what_changes_nothing(self, node: _Node) -> _Node:
        """Carry out at once what changes nothing now and is answered as it was.

        An order in which it comes later is as good with it here: there, too, it changes nothing.
        For had it made a contact, its answer would show one that is not there yet, and had it
        merged two persons into one like this, they would not be one already.
        """
        pending = node.pending
        while True:
            for place, op in self._may_be_next(pending):
                if _is_known(op) and node.state in self._outcomes(node.state, op):
                    pending &= ~(1 << place)
                    break
            else:
                return _Node(pending, node.state)

    def _after(self, node: _Node) -> list[_Node]:
        found = [
            _Node(node.pending & ~(1 << place), state)
            for place, op in self._may_be_next(node.pending)
            for state in self._outcomes(node.state, op)
            if state != node.state  # else it is as if it had not been carried out
        ]
        return found[::-1]  # the first one is to be tried first

    # The rule

    def _outcomes(self, state: _State, op: Operation) -> Iterator[_State]:
        """What the request may make of the state, if what it was answered allows it."""
        if op.deletes is not None:
            yield from self._deleted(state, op)
        elif op.erases is not None:
            yield from self._erased(state, op)
        elif op.is_look_up:
            touched = self._touched(state, op)
            answer = self._answer(touched[0]) if len(touched) == 1 else None
            if op.answer == answer or not _is_known(op):
                yield state
        else:
            for person, then in self._identified(state, op):
                if op.answer is None or op.answer == self._answer(person):
                    yield then

    def _deleted(self, state: _State, op: Operation) -> Iterator[_State]:
        person = next((p for p in state.persons if op.deletes in p), None)
        if person is None:
            if op.status != 204:
                yield state
        elif op.status != 404:
            rest = person - {op.deletes}
            yield state._replace(persons=state.persons - {person} | ({rest} if rest else set()))

    def _erased(self, state: _State, op: Operation) -> Iterator[_State]:
        person = next((p for p in state.persons if op.erases in self._values_of(p)), None)
        if person is None:
            if op.status != 200:
                yield state
        elif op.status != 404:
            yield state._replace(persons=state.persons - {person})

    def _values_of(self, person: Person) -> set[str]:
        return {value for id_ in person for value in _values(self._contacts[id_])}

    def _identified(self, state: _State, op: Operation) -> Iterator[tuple[Person, _State]]:
        touched = self._touched(state, op)
        old = frozenset[int]().union(*touched)
        known = self._values_of(old)
        if len(touched) == 2:
            yield old, state._replace(persons=state.persons - {*touched} | {old})
        elif known.issuperset(op.values()):
            yield old, state
        else:
            for id_ in state.unmade:
                contact = self._contacts[id_]
                if (contact.email, contact.phone) == (op.email, op.phone):
                    person = old | {id_}
                    persons = state.persons - {*touched} | {person}
                    yield person, _State(persons, state.unmade - {id_})

    def _touched(self, state: _State, op: Operation) -> list[Person]:
        values = set(op.values())
        return [person for person in state.persons if values & self._values_of(person)]

    def _answer(self, person: Person) -> Answer:
        answer = self._answers.get(person)
        if answer is None:
            members = sorted(
                (self._contacts[id_] for id_ in person), key=lambda c: (c.created_at, c.id)
            )
            answer = self._answers[person] = Answer(
                members[0].id,
                tuple(dict.fromkeys(c.email for c in members if c.email is not None)),
                tuple(dict.fromkeys(c.phone for c in members if c.phone is not None)),
                tuple(c.id for c in members[1:]),
            )
        return answer


def _is_known(op: Operation) -> bool:
    return op.status in {200, 204, 404}
