"""What is asked of the figures; the report puts it beside what was measured.

Shares and ratios are plain numbers, times are in milliseconds. A row that is missing here is
reported without anything asked of it.
"""

from typing import NamedTuple


class Asked(NamedTuple):
    """A bound: at least for shares of a ceiling, at most for times."""

    bound: float
    at_least: bool

    def is_met(self, value: float) -> bool:
        """Whether the measured value keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Asked:
    return Asked(bound, at_least=True)


def at_most(bound: float) -> Asked:
    return Asked(bound, at_least=False)


ASKED: dict[str, Asked] = {
    "repeats": at_least(0.5),
    "new": at_least(0.3),
    "p99": at_most(25),
    "import": at_most(4),
    "size-1": at_most(1.5),
    "size-32": at_most(1.5),
}
"""By row: repeats, new, mix (share of the ceiling's throughput); repeats-cpu, new-cpu, mix-cpu
(the same by processor time); p50, p99 (of the mix); import, import-cpu, size-1, size-32 (ratios).
"""
