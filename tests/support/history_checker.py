"""Was every answer right? Checks a recorded history of requests against what is promised.

A history is a list of `Operation`, in any order, of one tenant, in which nothing was deleted.
Its instants come from one monotonic clock that all clients share. A request without an answer
(503, time-out, connection cut) may or may not have been carried out.

Because identities only grow and merge, no search over possible orders is needed. Two union-finds,
one of what had begun and one of what was acknowledged, each filled in the order of time, find
stale answers and those from the future; a third, filled in the order of size, finds answers that
are neither nested nor disjoint. All of it takes time nearly linear in the size of the answers.

With the final state of the store, as `Store.scan` gives it, the partition is checked too, and its
events are replayed: every answer must be a state that the events went through, at a point of time
between its request and its arrival. That is linearizability itself, decided exactly, for a store
whose events are true; the union-finds do not need to trust it.
"""

import math
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bitespeed.model.records import ContactRecord, EventRecord, IdentityRecords

KINDS = {
    "shape": "lists without doubles, the primary's own values first, then by age; the values sent",
    "stale": "I6: an answer contains everything acknowledged before its request began",
    "future": "I6: an answer contains nothing that had not begun before it arrived",
    "torn": "I6: any two answers are nested or disjoint",
    "lost": "I9: what was acknowledged is there and together in the end",
    "welded": "I9: nothing is together in the end that no request connects",
    "unkept": "an email and a phone that were acknowledged are a fact of the store in the end",
    "repeat": "I5: every contact brought something new, every pair was not known",
    "invented": "every contact, every merge and every pair comes from a request",
    "order": "every answer is a state of the store at a time between request and arrival",
}

MAX_WITNESSES = 20  # violations of a kind reported with a second operation; each costs a search

Node = str | int
"""A value or a contact id. No email is a phone, so values need no kind beside them."""


_Pair = tuple[str | None, str | None]
"""The email and the phone of a request."""


class Answer(NamedTuple):
    """What was answered."""

    primary_id: int
    emails: tuple[str, ...]
    phones: tuple[str, ...]
    secondary_ids: tuple[int, ...]

    def ids(self) -> tuple[int, ...]:
        """Of its contacts."""
        return (self.primary_id, *self.secondary_ids)

    def nodes(self) -> frozenset[Node]:
        """Everything that the answer says belongs together."""
        return frozenset((self.primary_id, *self.emails, *self.phones, *self.secondary_ids))


class Operation(NamedTuple):
    """One request and what became of it; instants in nanoseconds."""

    client: int
    begin: int
    end: int
    email: str | None
    phone: str | None
    answer: Answer | None
    """None where the outcome is unknown."""
    status: int = 200
    """Of the response; 0 where none came."""
    is_look_up: bool = False
    """A look-up, which connects nothing."""
    deletes: int | None = None
    """The contact that the request deletes; such histories are for `linearizability_checker`."""
    erases: str | None = None
    """The value whose data subject the request erases; likewise."""
    refusal: str | None = None
    """The sentence of a refusal."""

    def values(self) -> tuple[str, ...]:
        """The values that were sent."""
        return tuple(value for value in (self.email, self.phone) if value is not None)


@dataclass(frozen=True)
class Violation:
    """One broken promise; ``kind`` is one of `KINDS`."""

    kind: str
    what: str
    operations: tuple[Operation, ...] = ()


def check(
    history: Sequence[Operation], final: Sequence[IdentityRecords] | None = None
) -> list[Violation]:
    """Every broken promise that the history, and the store as it is afterwards, give away."""
    answered = [_Answered(op, op.answer, op.answer.nodes()) for op in history if op.answer]
    violations = [
        *_misshapen(answered),
        *_stale(answered),
        *_from_the_future(history, answered),
        *_torn(answered),
    ]
    if final is not None:
        contacts = {c.id: c for identity in final for c in identity.contacts}
        violations += [
            *_not_by_age(answered, contacts),
            *_lost(history, final),
            *_welded(history, final),
            *unkept(history, final),
            *_repeats(contacts.values()),
            *_out_of_order(history, answered, final),
        ]
    return violations


class _Answered(NamedTuple):
    operation: Operation
    answer: Answer
    nodes: frozenset[Node]


class Blobs:
    """A union-find over nodes that knows the size of each blob."""

    def __init__(self) -> None:
        self._parent: dict[Node, Node] = {}
        self._size: dict[Node, int] = {}

    def __contains__(self, node: Node) -> bool:
        return node in self._parent

    def find(self, node: Node) -> Node:
        """The node that stands for the blob of this one."""
        parent = self._parent
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    def join(self, nodes: Iterable[Node]) -> None:
        """Make one blob of all that the nodes touch."""
        first: Node | None = None
        for node in nodes:
            if self._parent.setdefault(node, node) == node:
                self._size.setdefault(node, 1)
            root = self.find(node)
            if first is None:
                first = root
            elif root != first:
                small, first = sorted((root, first), key=self._size.__getitem__)
                self._parent[small] = first
                self._size[first] += self._size.pop(small)

    def touched(self, nodes: Iterable[Node]) -> Counter[Node]:
        """The blobs that the nodes touch, with the number of nodes in each."""
        return Counter(self.find(node) for node in nodes if node in self._parent)

    def is_within(self, nodes: Iterable[Node]) -> bool:
        """Whether each blob that the nodes touch consists of some of them."""
        return all(self._size[root] == count for root, count in self.touched(nodes).items())


class _Reporter:
    """Makes violations of one kind; the first ones with a search for the operations involved."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._reported = 0

    def report(
        self, what: str, operation: Operation, find: Callable[[], Operation | None]
    ) -> Violation:
        self._reported += 1
        other = find() if self._reported <= MAX_WITNESSES else None
        involved = (operation,) if other is None else (operation, other)
        return Violation(self._kind, what, involved)


# What answers show by themselves


def _misshapen(answered: list[_Answered]) -> Iterator[Violation]:
    for operation, answer, nodes in answered:
        ids = (answer.primary_id, *answer.secondary_ids)
        count = len(ids) + len(answer.emails) + len(answer.phones)
        if len(nodes) != count:
            yield Violation("shape", "something is listed twice", (operation,))
        if not nodes.issuperset(operation.values()):
            yield Violation("shape", "a value that was sent is not in the answer", (operation,))
        if len(set(ids)) > len(answer.emails) + len(answer.phones):
            yield Violation("repeat", "there are more contacts than values", (operation,))


def _stale(answered: list[_Answered]) -> Iterator[Violation]:
    """Whatever was acknowledged before is in the answer as a whole, or not at all."""
    acknowledged = Blobs()
    by_end = sorted(answered, key=lambda a: a.operation.end)
    ended = iter(by_end)
    waiting = next(ended, None)
    reporter = _Reporter("stale")
    for operation, _, nodes in sorted(answered, key=lambda a: a.operation.begin):
        while waiting is not None and waiting.operation.end < operation.begin:
            acknowledged.join(waiting.nodes)
            waiting = next(ended, None)
        if not acknowledged.is_within(nodes):
            yield reporter.report(
                "something acknowledged before is missing",
                operation,
                lambda op=operation, nodes=nodes: next(
                    (
                        a.operation
                        for a in by_end
                        if a.operation.end < op.begin and _is_cut(a.nodes, nodes)
                    ),
                    None,
                ),
            )


def _is_cut(inner: frozenset[Node], outer: frozenset[Node]) -> bool:
    return not inner.isdisjoint(outer) and not inner <= outer


def _from_the_future(
    history: Sequence[Operation], answered: list[_Answered]
) -> Iterator[Violation]:
    """All values of an answer are connected by requests that had begun before it arrived."""
    begun = Blobs()
    by_begin = sorted((op for op in history if not op.is_look_up), key=lambda op: op.begin)
    begins = iter(by_begin)
    waiting = next(begins, None)
    reporter = _Reporter("future")
    for operation, answer, _ in sorted(answered, key=lambda a: a.operation.end):
        while waiting is not None and waiting.begin <= operation.end:
            begun.join(waiting.values())
            waiting = next(begins, None)
        values = {*answer.emails, *answer.phones}
        if len(begun.touched(values)) > 1 or not all(value in begun for value in values):
            yield reporter.report(
                "no request begun until then connects all of it",
                operation,
                lambda op=operation, values=values: next(
                    (o for o in by_begin if o.begin > op.end and values & {*o.values()}), None
                ),
            )


def _torn(answered: list[_Answered]) -> Iterator[Violation]:
    """The smaller answers come first, so each larger one must take them in whole."""
    distinct = {a.nodes: a.operation for a in answered}
    by_size = sorted(distinct.items(), key=lambda item: len(item[0]))
    blobs = Blobs()
    reporter = _Reporter("torn")
    for nodes, operation in by_size:
        if not blobs.is_within(nodes):
            yield reporter.report(
                "two answers overlap without one being part of the other",
                operation,
                lambda nodes=nodes: next(
                    (o for n, o in by_size if len(n) <= len(nodes) and _is_cut(n, nodes)), None
                ),
            )
        blobs.join(nodes)


# What they show beside the final state of the store


def _not_by_age(
    answered: list[_Answered], contacts: dict[int, ContactRecord]
) -> Iterator[Violation]:
    """An answer shows its contacts' values, by age, each once; contacts never change."""
    distinct = {a.answer: a.operation for a in answered}
    for answer, operation in distinct.items():
        ids = (answer.primary_id, *answer.secondary_ids)
        if not contacts.keys() >= set(ids):
            yield Violation("lost", "a contact that was answered is not there", (operation,))
            continue
        members = sorted((contacts[id_] for id_ in ids), key=lambda c: (c.created_at, c.id))
        expected = Answer(
            members[0].id,
            tuple(dict.fromkeys(c.email for c in members if c.email is not None)),
            tuple(dict.fromkeys(c.phone for c in members if c.phone is not None)),
            tuple(c.id for c in members[1:]),
        )
        if answer != expected:
            yield Violation("shape", f"its contacts make {expected}", (operation,))


def _holders(final: Sequence[IdentityRecords]) -> dict[str, int | None]:
    return {value: i.root_id for i in final for c in i.contacts for value in _values(c)}


def _values(row: ContactRecord) -> list[str]:
    return [value for value in (row.email, row.phone) if value is not None]


def _pair_of(event: EventRecord) -> _Pair:
    return event.value, event.other


def _lost(history: Sequence[Operation], final: Sequence[IdentityRecords]) -> Iterator[Violation]:
    holders = _holders(final)
    for op in history:
        if op.answer is not None:
            found = {holders.get(value) for value in op.values()}
            if len(found) != 1 or None in found:
                yield Violation("lost", "acknowledged, but not together in the end", (op,))


def unkept(
    history: Sequence[Operation],
    final: Sequence[IdentityRecords],
    erased: Iterable[ContactRecord] = (),
) -> Iterator[Violation]:
    """Acknowledged pairs that neither a contact, live or deleted, nor an event has.

    An erasure removes the pairs of the values that it erases, so those are not missed.
    """
    facts = {(c.email, c.phone) for i in final for c in i.contacts}
    facts |= {_pair_of(event) for i in final for event in i.events}
    gone = {value for contact in erased for value in _values(contact)}
    for op in history:
        is_pair = op.answer is not None and not op.is_look_up and len(op.values()) == 2
        if is_pair and (op.email, op.phone) not in facts and gone.isdisjoint(op.values()):
            yield Violation("unkept", "acknowledged, but nothing says so in the end", (op,))


def _welded(history: Sequence[Operation], final: Sequence[IdentityRecords]) -> Iterator[Violation]:
    """Each identity is connected by requests that may have been carried out: those whose values
    are together in the end. Any other one, had it been carried out, would have put them there.
    """
    holders = _holders(final)
    explained = Blobs()
    for op in history:
        values = op.values()
        if not op.is_look_up and len({holders.get(value) for value in values}) == 1:
            explained.join(values)
    for identity in final:
        values = [value for contact in identity.contacts for value in _values(contact)]
        strangers = [value for value in values if value not in explained]
        groups = {explained.find(value): value for value in values if value in explained}
        if strangers or len(groups) > 1:
            apart = [*strangers, *groups.values()]
            involved = tuple(op for op in history if {*op.values()} & {*apart})[:MAX_WITNESSES]
            yield Violation("welded", f"nothing connects {apart}", involved)


def _repeats(contacts: Iterable[ContactRecord]) -> Iterator[Violation]:
    """There must be an order in which each contact brings a value that none before it had;
    the events show whether it was the true one.

    From its end: take away, again and again, a contact with a value that no other one has.
    """
    carriers: dict[str, set[ContactRecord]] = defaultdict(set)
    left = set(contacts)
    for contact in left:
        for value in _values(contact):
            carriers[value].add(contact)
    lonely = deque(value for value, those in carriers.items() if len(those) == 1)
    while lonely:
        for contact in carriers[lonely.popleft()] & left:
            left.discard(contact)
            for value in _values(contact):
                carriers[value].discard(contact)
                if len(carriers[value]) == 1:
                    lonely.append(value)
    for contact in sorted(left):
        yield Violation("repeat", f"contact {contact.id} brought nothing new")


# The events replayed


class _Requests:
    """When each pair was first sent, and the first request with it that was acknowledged."""

    def __init__(self, history: Sequence[Operation]) -> None:
        sent = [op for op in history if not op.is_look_up]
        latest_first = sorted(sent, key=lambda op: -op.begin)
        self.first_begins: dict[_Pair, int] = {(o.email, o.phone): o.begin for o in latest_first}
        last_end_first = sorted((op for op in sent if op.answer), key=lambda op: -op.end)
        self.first_ends: dict[_Pair, Operation] = {(o.email, o.phone): o for o in last_end_first}


@dataclass(eq=False, slots=True)
class _Point:
    """When one event can have happened: not before ``earliest``, not after ``latest``."""

    event: EventRecord
    parents: list["_Point"]
    earliest: float
    latest: float = math.inf
    after: Operation | None = None
    before: Operation | None = None

    def not_before(self, instant: float, witness: Operation | None) -> None:
        if instant > self.earliest:
            self.earliest, self.after = instant, witness

    def not_after(self, instant: float, witness: Operation) -> None:
        if instant < self.latest:
            self.latest, self.before = instant, witness

    def has_a_time(self) -> bool:
        """Whether it can have happened at all; call this for those it follows first."""
        for parent in self.parents:
            self.not_before(parent.earliest, parent.after)
        return self.earliest <= self.latest


@dataclass(eq=False, slots=True)
class _State:
    """An identity from one event until the next one that changes it."""

    since: _Point
    digest: int
    until: _Point | None = None
    seen: list[_Point] = field(default_factory=list)
    """The pairs that were seen meanwhile, which change no answer."""

    def was_seen_by(self, operation: Operation) -> None:
        self.since.not_after(operation.end, operation)
        if self.until is not None:
            self.until.not_before(operation.begin, operation)


@dataclass(eq=False)
class _Replay:
    """The states that identities went through, by a digest of what each contained.

    The digest of a set is the exclusive or of a random number for each node, so that it
    follows from the one before in the time that the change takes.
    """

    points: list[_Point] = field(default_factory=list)
    states: dict[int, _State] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    _current: dict[int, _State] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _facts: set[_Pair] = field(default_factory=set)
    _codes: dict[Node, int] = field(default_factory=dict)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def digest(self, nodes: Iterable[Node]) -> int:
        result = 0
        for node in nodes:
            code = self._codes.get(node)
            if code is None:
                code = self._codes[node] = self._random.getrandbits(64)
            result ^= code
        return result

    def run(self, identity: IdentityRecords, requests: "_Requests") -> None:
        """Take in the events of one identity and of all that were merged into it."""
        contacts = {contact.id: contact for contact in identity.contacts}
        for event in identity.events:
            contact = contacts.get(event.contact_id or 0)
            pair = _pair_of(event) if contact is None else (contact.email, contact.phone)
            begin = requests.first_begins.get(pair)
            if begin is None:
                self._object("invented", f"no request explains event {event.seq}")
            point = _Point(event, [], begin or 0)
            acknowledged = requests.first_ends.get(pair)
            if acknowledged is not None and None not in pair and pair not in self._facts:
                point.not_after(acknowledged.end, acknowledged)
            if event.kind == "pair.seen":
                self._see(point, pair)
            else:
                self._change(point, [] if contact is None else self._brought(contact))
            self._facts.add(pair)

    def _see(self, point: _Point, pair: _Pair) -> None:
        if pair in self._facts:
            self._object("repeat", f"the pair of event {point.event.seq} was known")
        state = self._current.get(point.event.identity_id)
        if state is not None:
            point.parents += [state.since, *state.seen[-1:]]
            state.seen.append(point)
        self.points.append(point)

    def _brought(self, contact: ContactRecord) -> list[Node]:
        values = [value for value in _values(contact) if value not in self._known]
        if not values:
            self._object("repeat", f"contact {contact.id} brought nothing new in its turn")
        self._known.update(values)
        return [contact.id, *values]

    def _object(self, kind: str, what: str) -> None:
        self.violations.append(Violation(kind, what))

    def _change(self, point: _Point, new: list[Node]) -> None:
        event = point.event
        digest = self.digest(new)
        for id_ in (event.identity_id, event.merged_id or 0):
            before = self._current.pop(id_, None)
            if before is not None:
                before.until = point
                point.parents += [before.since, *before.seen[-1:]]
                digest ^= before.digest
        state = _State(point, digest)
        self._current[event.identity_id] = self.states[digest] = state
        self.points.append(point)


def _out_of_order(
    history: Sequence[Operation], answered: list[_Answered], final: Sequence[IdentityRecords]
) -> Iterator[Violation]:
    """Find a time for every event so that each answer saw its state; report those that have none.

    An answer bounds the event that made its state, which came before it arrived, and the one
    that ended the state, which came after its request began. Events of one identity follow
    one another; those of two identities that have not met yet may come in any order.
    """
    replay = _Replay()
    requests = _Requests(history)
    for identity in final:
        replay.run(identity, requests)
    yield from replay.violations
    for operation, _, nodes in answered:
        state = replay.states.get(replay.digest(nodes))
        if state is None:
            yield Violation("order", "no identity ever was like this answer", (operation,))
        else:
            state.was_seen_by(operation)
    for point in replay.points:
        if not point.has_a_time():
            involved = tuple(op for op in (point.before, point.after) if op is not None)
            what = f"event {point.event.seq} was seen by one before it had happened for the other"
            yield Violation("order", what, involved)
