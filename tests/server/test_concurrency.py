"""Many clients at several processes on one file, all about the same few people: is every answer
right, and all that is stored? And would it be noticed if it were not?
"""

from pathlib import Path

import pytest

from support.cluster import SERVER, SLEEPY_SERVER
from support.load_trial import Trial, damage, under_load
from support.log_lines import unexpected_errors

ERASES = 0.05  # of the answers are followed by an erasure


def assert_right(run: Trial, length: int) -> None:
    """Every promise is kept, and enough was asked and answered that this says something."""
    assert run.violations() == []
    assert len(run.history) == length
    assert run.statuses().keys() <= {200, 503}
    assert run.statuses()[200] > 0.9 * length
    assert run.merges() > length / 20
    assert unexpected_errors(run.log) == []


def test_no_answer_is_stale_torn_or_from_the_future(tmp_path: Path) -> None:
    length = 20_000
    assert_right(under_load(tmp_path, SERVER, length, seed=1), length)


def test_pauses_at_every_step_leave_history_linear(tmp_path: Path) -> None:
    length = 3000
    assert_right(under_load(tmp_path, SLEEPY_SERVER, length, seed=2), length)


def test_erased_person_begins_anew_under_load(tmp_path: Path) -> None:
    run = under_load(tmp_path, SLEEPY_SERVER, length=600, seed=5, erases=ERASES)
    assert run.violations() == []
    assert len(run.erased) > 30
    assert run.statuses().keys() <= {200, 404, 503}
    assert "Traceback" not in run.log


def test_an_answer_of_who_is_erased_is_noticed(tmp_path: Path) -> None:
    command = (*SLEEPY_SERVER, "--mistake", "cached-answers")
    assert under_load(tmp_path, command, length=500, seed=6, erases=ERASES).kinds() == {"order"}


@pytest.mark.parametrize(
    ("mistake", "length", "noticed"),
    [
        ("old-snapshots", 3000, {"stale"}),
        ("cached-answers", 2000, {"stale"}),
        ("unsafe-commits", 1000, {"torn", "order"}),
    ],
)
def test_history_check_notices_a_server_with_a_mistake(
    tmp_path: Path, mistake: str, length: int, noticed: set[str]
) -> None:
    run = under_load(tmp_path, (*SLEEPY_SERVER, "--mistake", mistake), length, seed=3)
    assert noticed <= run.kinds()


def test_damage_check_notices_commits_that_compare_nothing(tmp_path: Path) -> None:
    run = under_load(tmp_path, (*SLEEPY_SERVER, "--mistake", "unsafe-commits"), 500, seed=4)
    assert damage(run.final)
