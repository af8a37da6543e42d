"""A load on a cluster, and what came of it: were all promises kept?"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from bitespeed.model.records import ContactRecord, IdentityRecords
from bitespeed.rules.invariants import violations_of
from support import linearizability_checker
from support.cluster import cluster
from support.erasure_triggers import erasures_recorded
from support.history_checker import Operation, check
from support.load_clients import CLIENTS, drive, mix

PROCESSES = 4


class Trial(NamedTuple):
    """The history of a load, what is stored afterwards, and what the servers printed."""

    history: list[Operation]
    final: list[IdentityRecords]
    log: str
    erased: Sequence[ContactRecord] = ()

    def statuses(self) -> Counter[int]:
        """How often each was answered."""
        return Counter(operation.status for operation in self.history)

    def merges(self) -> int:
        """How many identities ended in another one."""
        return sum(e.kind == "identities.merged" for i in self.final for e in i.events)

    def deletions(self) -> int:
        """How many contacts are deleted."""
        return sum(c.deleted_at is not None for i in self.final for c in i.contacts)

    def violations(self) -> list[object]:
        """Of all invariants, those of answers and those of the store."""
        return [*self._of_answers(), *damage(self.final)]

    def _of_answers(self) -> list[object]:
        if any(o.deletes is not None or o.erases is not None for o in self.history):
            return [*linearizability_checker.check(self.history, self.final, self.erased)]
        return [*check(self.history, self.final)]

    def kinds(self) -> set[str]:
        """Which promises about answers were broken."""
        return {violation.kind for violation in self._of_answers()}

    def summary(self) -> str:
        """For people who want to know how hard it was."""
        if not self.history:
            return "no request was sent"
        span = (max(o.end for o in self.history) - min(o.begin for o in self.history)) / 1e9
        return (
            f"{len(self.history)} requests in {span:.1f} s: {dict(self.statuses())},"
            f" {self.merges()} merges, {self.deletions()} deletions,"
            f" {len(self.erased)} contacts erased, {len(self.final)} identities"
        )


def under_load(
    folder: Path,
    command: Sequence[str],
    length: int,
    seed: int,
    *,
    deletes: float = 0,
    erases: float = 0,
    until: Callable[[], bool] = lambda: False,
    **where: Any,
) -> Trial:
    """The mix of workloads from many clients on so many processes; see `cluster` for where.

    It ends after so many requests, or earlier, once ``until`` is met.
    """
    with (
        cluster(folder, PROCESSES, command, **where) as servers,
        erasures_recorded(servers.database) as erased,
    ):
        requests = takewhile(lambda _: not until(), mix(seed, length))
        history = drive(servers.ports, requests, CLIENTS, deletes=deletes, erases=erases)
        final = servers.stored()
    trial = Trial(history, final, servers.log(), erased)
    print(trial.summary())
    return trial


def damage(final: list[IdentityRecords]) -> list[object]:
    """What is wrong with what is stored."""
    return [violation for identity in final for violation in violations_of(identity)]


class Contention(NamedTuple):
    """How often batches were in each other's way, over all servers."""

    commits: int
    conflicts: Counter[int]
    """By which of its batch they were."""

    def attempts(self) -> int:
        """The most that a batch needed."""
        return max(self.conflicts, default=0) + 1

    def summary(self) -> str:
        """For people."""
        by_attempt = ", ".join(
            f"{count} at attempt {n}" for n, count in sorted(self.conflicts.items())
        )
        return (
            f"{self.commits} commits, {self.conflicts.total()} conflicts ({by_attempt or 'none'}),"
            f" at most {self.attempts()} attempts"
        )


def contention(trial: Trial) -> Contention:
    """The counts that `support.sleepy_server` printed at the end of each process."""
    commits, conflicts = 0, Counter[int]()
    printed = [line for line in trial.log.splitlines() if line.startswith("contention ")]
    assert len(printed) == PROCESSES, trial.log
    for line in printed:
        mine, by_turn = json.loads(line.removeprefix("contention "))
        commits += mine
        conflicts.update({int(turn): count for turn, count in by_turn.items()})
    return Contention(commits, conflicts)
