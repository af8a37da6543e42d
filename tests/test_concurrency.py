"""Many clients at several processes on one file, all about the same few people: is every answer
right, and all that is stored? And would it be noticed if it were not?
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from bitespeed.check import broken
from bitespeed.stores.stored import StoredIdentity
from support.cluster import SERVER, SLEEPY_SERVER, cluster
from support.history import Operation, check
from support.load import CLIENTS, drive, mix

PROCESSES = 4


class Run(NamedTuple):
    """What came of a load: the history, what is stored afterwards, and what was printed."""

    history: list[Operation]
    final: list[StoredIdentity]
    log: str

    def statuses(self) -> Counter[int]:
        return Counter(operation.status for operation in self.history)

    def merges(self) -> int:
        return sum(e.kind == "identities.merged" for i in self.final for e in i.events)

    def violations(self) -> list[object]:
        """Of all invariants, those of answers and those of the store."""
        stored = [violation for identity in self.final for violation in broken(identity)]
        return [*check(self.history, self.final), *stored]

    def kinds(self) -> set[str]:
        return {violation.kind for violation in check(self.history, self.final)}


def under_load(folder: Path, command: tuple[str, ...], length: int, seed: int) -> Run:
    with cluster(folder, PROCESSES, command) as servers:
        history = drive(servers.ports, mix(seed, length), CLIENTS)
    run = Run(history, servers.stored(), servers.log())
    span = (max(o.end for o in history) - min(o.begin for o in history)) / 1e9
    print(
        f"{len(history)} requests in {span:.1f} s: {dict(run.statuses())}, {run.merges()} merges,"
        f" {len(run.final)} identities"
    )
    return run


def assert_right(run: Run, length: int) -> None:
    """Every promise is kept, and enough was asked and answered that this says something."""
    assert run.violations() == []
    assert len(run.history) == length
    assert run.statuses().keys() <= {200, 503}
    assert run.statuses()[200] > 0.9 * length
    assert run.merges() > length / 20
    assert "Traceback" not in run.log


def test_no_answer_is_stale_torn_or_from_the_future(tmp_path: Path) -> None:
    length = 20_000
    assert_right(under_load(tmp_path, SERVER, length, seed=1), length)


def test_nor_when_everyone_dawdles_wherever_another_may_come_between(tmp_path: Path) -> None:
    length = 3000
    assert_right(under_load(tmp_path, SLEEPY_SERVER, length, seed=2), length)


@pytest.mark.parametrize(
    ("mistake", "length", "noticed"),
    [
        ("old-snapshots", 3000, {"stale"}),
        ("cached-answers", 2000, {"stale"}),
        ("unsafe-commits", 1000, {"torn", "order"}),
    ],
)
def test_a_server_with_a_mistake_is_noticed_under_the_same_load(
    tmp_path: Path, mistake: str, length: int, noticed: set[str]
) -> None:
    run = under_load(tmp_path, (*SLEEPY_SERVER, "--mistake", mistake), length, seed=3)
    assert noticed <= run.kinds()


def test_commits_that_compare_nothing_are_noticed_in_what_is_stored(tmp_path: Path) -> None:
    run = under_load(tmp_path, (*SLEEPY_SERVER, "--mistake", "unsafe-commits"), 500, seed=4)
    assert [violation for identity in run.final for violation in broken(identity)]
