"""The targets of the figures; the report puts each beside what was measured.

Shares and ratios are plain numbers, times are in milliseconds, sizes in bytes. A row that is
missing here is reported without a target.
"""

from typing import NamedTuple


class Target(NamedTuple):
    """A bound: a lower one for shares of a ceiling, an upper one for times."""

    bound: float
    at_least: bool

    def is_met(self, value: float) -> bool:
        """Whether the measured value keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Target:
    return Target(bound, at_least=True)


def at_most(bound: float) -> Target:
    return Target(bound, at_least=False)


TARGETS: dict[str, Target] = {
    "repeats": at_least(0.5),
    "new": at_least(0.3),
    "p99": at_most(25),
    "import": at_most(4),
    "size-1": at_most(1.5),
    "size-32": at_most(1.5),
    "production-repeats": at_least(0.85),
    "production-new": at_least(0.85),
    "postgres-repeats": at_least(0.65),
    "postgres-new": at_least(0.65),
    "postgres-repeats-2": at_least(1),
    "postgres-repeats-4": at_least(1),
    "postgres-new-2": at_least(1),
    "postgres-new-4": at_least(1),
    "postgres-mix-2": at_least(1),
    "postgres-mix-4": at_least(1),
    "postgres-size-1": at_most(1.5),
    "postgres-size-32": at_most(1.5),
    "postgres-merge": at_most(300),
    "postgres-merge-wal": at_most(100_000),
    "postgres-cached": at_least(1.5),
    "postgres-cache-away": at_least(0.9),
    "postgres-cached-lone": at_most(1.3),
}
"""By row: repeats, new, mix (share of the ceiling's throughput); repeats-cpu, new-cpu, mix-cpu
(the same by processor time); p50, p99 (of the mix); import, import-cpu, size-1, size-32 (ratios);
production-repeats, production-new (share of the throughput of the bare service) and with -cpu
behind them (the same by processor time).

With postgres before them: repeats, new, mix (share of the throughput of pgbench), with -prepared
(pgbench -M prepared) or -constant (uvicorn's constant answer) behind them of those ceilings; p50,
p99; repeats-2 and so on (ratio of so many workers to one); size-1, size-32; merge (the request over
HTTP), merge-repeat, merge-commit, merge-wal (bytes); cached, cache-away (ratios of throughput to
that without a cache), cached-lone (ratio of times).
"""
