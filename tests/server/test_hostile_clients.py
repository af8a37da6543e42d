"""Hostile clients of eight kinds together: memory stays bounded, and no 5xx but 503.

`python -m bench.hostile` does the same for a minute, and measures a healthy client beside them.
"""

from pathlib import Path

import msgspec
import pytest

from bench import data, hostile, processes
from bench.hostile import MAX_GROWTH, MAX_KEPT, Figures
from bench.hostile_clients import KINDS, Hostile
from support.log_lines import unexpected_errors
from support.warnings_as_errors import IN_ENVIRONMENT

SECONDS = 6.0  # of the attack
FIGURES = Figures(
    begin=40.0,
    most=40.0 + MAX_GROWTH,
    end=40.0 + MAX_KEPT,
    p50=1.0,
    p95=1.0,
    p99=1.0,
    slowest=1.0,
    healthy={200: 300, 503: 1},
    hostile=Hostile({name: {kind.usual: 9, 503: 1} for name, kind in KINDS.items()}, 0.1),
    server_cpu=0.9,
)


def test_hostile_clients_together_are_bounded(tmp_path: Path) -> None:
    database = data.url(tmp_path / "contacts.db")
    key = hostile.fill(database, tmp_path)
    with processes.service(database, tmp_path, **IN_ENVIRONMENT) as server:
        figures = hostile.measure(server, key, SECONDS, [*KINDS])
    print(*hostile.lines(figures), sep="\n")
    assert hostile.broken(figures) == []
    assert unexpected_errors((tmp_path / f"server-{server.port}.log").read_text()) == []


def test_figures_within_all_bounds_are_accepted() -> None:
    assert hostile.broken(FIGURES) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"most": 41.0 + MAX_GROWTH}, "grew"),
        ({"end": 41.0 + MAX_KEPT}, "given back"),
        ({"healthy": {200: 300, 500: 1}}, "healthy"),
        ({"healthy": {200: 300, 429: 1}}, "healthy"),
        *(
            ({"hostile": Hostile(FIGURES.hostile.statuses | {name: counts}, 0.1)}, name)
            for name, kind in KINDS.items()
            for counts in ({kind.usual: 9, 500: 1}, {kind.usual: 9, 504: 1}, {503: 1}, {})
        ),
    ],
)
def test_broken_bound_is_noticed(changes: dict[str, object], word: str) -> None:
    (found,) = hostile.broken(msgspec.structs.replace(FIGURES, **changes))
    assert word in found
