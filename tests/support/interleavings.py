"""Every interleaving of a few requests on a model of the PostgreSQL store's commit.

`commit_steps` is the protocol. Each step says what it does and which run it waits for, as with READ
COMMITTED: a row stays locked until its transaction ends, a run that gets it after a wait sees the
newest committed row, and an insert waits for the run that has written its key. `Explorer` gives
the requests their turns in every possible order and judges every end that they come to.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, permutations
from typing import Literal, NamedTuple, Protocol

from bitespeed.model.changes import Committed
from support.model_store import (
    EMPTY,
    GONE,
    Database,
    Decision,
    Key,
    Request,
    Writing,
    decide,
    freed_keys,
    new_keys,
)


@dataclass(frozen=True)
class Variant:
    """The protocol, or one with a mistake."""

    compares: Literal["at once", "late", "never"] = "at once"
    sorts_locks: bool = True
    sorts_keys: bool = True
    reads_at_once: bool = True


class Run(NamedTuple):
    """How far a request has come, and what its transaction holds and has written so far."""

    place: int  # among the runs
    request: Request
    attempt: int = 1
    found_in: Database | None = None  # where it found the holders, while its read is under way
    decision: Decision | None = None  # None until it has read
    at: int = 0  # the step of its commit that comes next
    locks: tuple[int, ...] = ()  # rows of identities
    keys: tuple[Key, ...] = ()  # identifiers inserted or deleted
    ids: tuple[int, ...] = ()  # of its new contacts
    rows: tuple[int, ...] | None = None  # that the statement under way has yet to relabel
    relabelled: tuple[tuple[int, int], ...] = ()  # rows with their new roots
    instant: int = 0  # of the commit, and the age of its contacts
    first_event: int = 0
    answers: tuple | None = None  # its answers; None until it is over

    def onward(self, **written: object) -> "Run":
        return self._replace(at=self.at + 1, **written)

    def end(self, answers: tuple) -> "Run":
        return Run(self.place, self.request, self.attempt, answers=answers)

    def roll_back(self) -> "Run":
        """Everything is released, and the next step is to read again."""
        return Run(self.place, self.request, self.attempt + 1)


class State(NamedTuple):
    """One instant: what is committed, the clock, the sequences, and how far each request is."""

    database: Database = EMPTY
    clock: int = 0
    last_id: int = 0
    last_event: int = 0
    runs: tuple[Run, ...] = ()

    def is_locked(self, row: int, mine: Run) -> bool:
        return any(row in run.locks for run in self.runs if run is not mine)

    def is_being_written(self, key: Key, mine: Run) -> bool:
        return any(key in run.keys for run in self.runs if run is not mine)

    def then(self, run: Run, **shared: object) -> "State":
        runs = (*self.runs[: run.place], run, *self.runs[run.place + 1 :])
        return self._replace(runs=runs, **shared)


Judge = Callable[[State], str | None]


# The protocol


class Step(Protocol):
    """Something that happens as a whole: others come before it or after it."""

    def take(self, run: Run, state: State) -> list[State]:
        """The states that may follow; none while it has to wait for another transaction."""
        ...


@cache
def commit_steps(decision: Decision, variant: Variant) -> list[Step]:
    """The commit, in the order of its SQL."""
    changes = decision.changes
    stored = [change for change in changes.identities if change.id > 0]
    keys = [key for contact in changes.contacts for key in new_keys(contact)]
    ended = [change for change in stored if change.root != change.id]
    if variant.sorts_locks:
        stored.sort(key=lambda change: change.id)
    if variant.sorts_keys:
        keys.sort()
    locks = [Lock(change.id) for change in stored]
    compares = [Compare(change.id, change.stamp) for change in stored]
    locking: dict[str, Iterable[Step]] = {
        "at once": chain(*zip(locks, compares, strict=True)),
        "late": locks + compares,
        "never": locks,
    }
    return [
        *locking[variant.compares],
        TakeIds(len(changes.contacts)),
        *[Insert(key) for key in keys],
        *[Relabel(change.id, change.root) for change in ended],
        *[Free(key) for key in freed_keys(changes)],
        *[Relabel(root, GONE) for root in (changes.erasure.identities if changes.erasure else [])],
        InsertEvents(len(changes.events)),
        Commit(),
    ]


class Read(NamedTuple):
    """Read and decide; a request that changes nothing is answered at once."""

    at_once: bool

    def take(self, run: Run, state: State) -> list[State]:
        if run.found_in is None and not self.at_once:
            return [state.then(run._replace(found_in=state.database))]
        decision = decide(run.request, run.found_in or state.database, state.database)
        if isinstance(decision, str):
            return [state.then(run.end((decision,)))]
        if decision.changes:
            return [state.then(run._replace(found_in=None, decision=decision))]
        answers = decision.answers(Committed([], []))
        return [state.then(run.end(state.database.described(answers)))]


class Lock(NamedTuple):
    """Select the row of an identity for update."""

    id: int

    def take(self, run: Run, state: State) -> list[State]:
        if state.is_locked(self.id, run):
            return []
        return [state.then(run.onward(locks=(*run.locks, self.id)))]


class Compare(NamedTuple):
    """Conflict, unless the identity is its own root and at the stamp that was read."""

    id: int
    stamp: int

    def take(self, run: Run, state: State) -> list[State]:
        head = state.database.heads.get(self.id)
        is_as_read = head and head.root_id == self.id and head.stamp == self.stamp
        return [state.then(run.onward() if is_as_read else run.roll_back())]


class TakeIds(NamedTuple):
    """Look at the clock, and take ids from the sequence, which no rollback gives back."""

    contacts: int

    def take(self, run: Run, state: State) -> list[State]:
        now, last_id = state.clock + 1, state.last_id + self.contacts
        ids = tuple(range(state.last_id + 1, last_id + 1))
        return [state.then(run.onward(ids=ids, instant=now), clock=now, last_id=last_id)]


class Insert(NamedTuple):
    """Insert an identifier. Conflict, if another has committed it since it was read."""

    key: Key

    def take(self, run: Run, state: State) -> list[State]:
        if state.is_being_written(self.key, run):
            return []
        if self.key in state.database.identifiers:
            return [state.then(run.roll_back())]
        return [state.then(run.onward(keys=(*run.keys, self.key)))]


class Relabel(NamedTuple):
    """Update identity set root_id = root where root_id = ended: one row, and lock, after another.
    With `GONE`, delete from identity where root_id = ended.

    The statement sees which rows they are when it begins, comes to them in any order, and looks
    at each again once it is locked.
    """

    ended: int
    root: int

    def take(self, run: Run, state: State) -> list[State]:
        heads = state.database.heads
        if run.rows is None:
            rows = [id_ for id_, head in heads.items() if head.root_id == self.ended]
            return [state.then(self._go_on(run, order)) for order in permutations(rows)]
        row, *rest = run.rows
        if state.is_locked(row, run):
            return []
        if row not in run.locks:
            run = run._replace(locks=(*run.locks, row))
        if heads[row].root_id == self.ended:
            run = run._replace(relabelled=(*run.relabelled, (row, self.root)))
        return [state.then(self._go_on(run, rest))]

    def _go_on(self, run: Run, rest: Sequence[int]) -> Run:
        return run._replace(rows=tuple(rest)) if rest else run.onward(rows=None)


class Free(NamedTuple):
    """Delete an identifier. It belongs to an identity that is locked, so nobody is in the way."""

    key: Key

    def take(self, run: Run, state: State) -> list[State]:
        return [state.then(run.onward(keys=(*run.keys, self.key)))]


class InsertEvents(NamedTuple):
    """Insert the events, numbered by another sequence."""

    events: int

    def take(self, run: Run, state: State) -> list[State]:
        after = run.onward(first_event=state.last_event + 1)
        return [state.then(after, last_event=state.last_event + self.events)]


class Commit(NamedTuple):
    """All of it becomes visible, every lock is released, and the caller is answered."""

    def take(self, run: Run, state: State) -> list[State]:
        assert run.decision is not None
        changes = run.decision.changes
        ages = [max(run.instant, contact.not_before) for contact in changes.contacts]
        committed = Committed([*run.ids], ages)
        writing = Writing(state.database, changes, committed, run.instant)
        after = writing.write(dict(run.relabelled), run.first_event)
        answers = after.described(run.decision.answers(committed))
        return [state.then(run.end(answers), database=after)]


# Every schedule


def next_step(run: Run, variant: Variant) -> Step:
    """What the request does when it is its turn."""
    if run.decision is None:
        return Read(variant.reads_at_once)
    return commit_steps(run.decision, variant)[run.at]


def begun(start: State, requests: Iterable[Request]) -> State:
    """All requests have come, none has done anything."""
    return start._replace(runs=tuple(Run(*numbered) for numbered in enumerate(requests)))


def in_turn(start: State, requests: Sequence[Request], order: Iterable[int]) -> State:
    """The end, if each request is over before the next one begins."""
    state = begun(start, requests)
    for place in order:
        while (run := state.runs[place]).answers is None:
            state, *_ = next_step(run, Variant()).take(run, state)
    return state


@dataclass
class Bad:
    """An end that must not be, with a schedule that leads to it."""

    what: str
    schedule: list[tuple[str, Step]]
    waiting: list[tuple[str, Step]]

    def __str__(self) -> str:
        taken = [f"{name:>12}: {step}" for name, step in self.schedule]
        return "\n".join([self.what, *taken, *(f"{n:>12} waits: {s}" for n, s in self.waiting)])


@dataclass
class Findings:
    """What came of all schedules."""

    states: int = 0
    schedules: int = 0
    wrong: list[Bad] = field(default_factory=list)
    deadlocks: list[Bad] = field(default_factory=list)
    starved: list[Bad] = field(default_factory=list)

    def add(self, other: "Findings") -> None:
        self.states += other.states
        self.schedules += other.schedules
        self.wrong += other.wrong
        self.deadlocks += other.deadlocks
        self.starved += other.starved


class Explorer:
    """Takes requests that come at the same time through every schedule, each state once.

    ``judge`` says what is wrong with a state in which all are over. A request is starved if it is
    sent back more often than there are others that can have been faster.
    """

    def __init__(self, judge: Judge, variant: Variant) -> None:
        self._judge = judge
        self._variant = variant
        self._schedules: dict[State, int] = {}  # that lead on from a state
        self._taken: list[tuple[str, Step]] = []  # on the way to the present one
        self._findings = Findings()

    def explore(self, start: State) -> Findings:
        self._findings.schedules = self._visit(start)
        self._findings.states = len(self._schedules)
        return self._findings

    def _visit(self, state: State) -> int:
        if state not in self._schedules:
            is_starved = any(run.attempt > len(state.runs) for run in state.runs)
            count = 0 if is_starved else sum(self._go_on(run, state) for run in state.runs)
            if count == 0:
                self._end(state, is_starved)
            self._schedules[state] = max(count, 1)
        return self._schedules[state]

    def _go_on(self, run: Run, state: State) -> int:
        """The number of schedules in which this request takes the next step."""
        if run.answers is not None:
            return 0
        step = next_step(run, self._variant)
        self._taken.append((run.request.name, step))
        count = sum(map(self._visit, step.take(run, state)))
        self._taken.pop()
        return count

    def _end(self, state: State, is_starved: bool) -> None:
        waiting = [
            (run.request.name, next_step(run, self._variant))
            for run in state.runs
            if run.answers is None
        ]
        if is_starved:
            self._findings.starved.append(Bad("starved", [*self._taken], waiting))
        elif waiting:
            self._findings.deadlocks.append(Bad("deadlock", [*self._taken], waiting))
        elif what := self._judge(state):
            self._findings.wrong.append(Bad(what, [*self._taken], waiting))
