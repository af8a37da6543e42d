"""Every metric there is, declared once.

Labels have fixed sets of values, so the number of series does not depend on what callers send. A
tenant is never a label. docs/metrics.md lists what is declared here; a test compares the two.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from bitespeed.telemetry.shared_counters import shared_counters


class Counter:
    """A number that only grows, summed over all workers, also those that died."""

    kind = "counter"

    def __init__(self) -> None:
        self.slot = shared_counters.reserve()

    def add(self, count: float = 1) -> None:
        """Add ``count``."""
        shared_counters.values[self.slot] += count

    @property
    def value(self) -> float:
        """The count of this process, and of dead ones whose file it continues."""
        return shared_counters.values[self.slot]


class Gauge:
    """A number that goes up and down, and is 0 after its process ends."""

    kind = "gauge"

    def __init__(self) -> None:
        self.slot = shared_counters.reserve(transient=True)

    def set(self, value: float) -> None:
        """Replace the value."""
        shared_counters.values[self.slot] = value

    def add(self, count: float) -> None:
        """Add ``count``, which may be negative."""
        shared_counters.values[self.slot] += count


class Histogram:
    """Counts values in buckets. ``bounds`` are the upper bounds, without infinity."""

    kind = "histogram"

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.slot = shared_counters.reserve(
            len(bounds) + 2
        )  # the sum, a bucket for each bound, one for larger values

    def observe(self, value: float) -> None:
        """Count one value."""
        values, slot = shared_counters.values, self.slot
        values[slot] += value
        values[slot + 1 + bisect_left(self.bounds, value)] += 1


Series = TypeVar("Series", Counter, Gauge, Histogram)


Label = str | int


class Declared(NamedTuple):
    """A metric with its series, by the values of their labels."""

    name: str
    help: str
    labels: Sequence[str]
    series: Mapping[tuple[Label, ...], Counter | Gauge | Histogram]


DECLARED: list[Declared] = []


def _single(make: Callable[[], Series], name: str, help_: str) -> Series:
    series = make()
    DECLARED.append(Declared(name, help_, (), {(): series}))
    return series


def _by(
    make: Callable[[], Series], name: str, help_: str, **label: Sequence[str]
) -> dict[str, Series]:
    """A series for each value of the label."""
    ((label_name, values),) = label.items()
    series = {value: make() for value in values}
    by_labels: dict[tuple[Label, ...], Series] = {(v,): one for v, one in series.items()}
    DECLARED.append(Declared(name, help_, (label_name,), by_labels))
    return series


OTHER = "other"
STATUSES = (200, 202, 204, 400, 401, 403, 404, 405, 413, 415, 429, 500, 501, 503, OTHER)
STAGES = ("gather", "cache", "read", "rule", "commit")
REASONS = ("overloaded", "deadline", "contention", "store", "queue", "shutdown")

_TIMES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # observations; the last is the largest batch there is


def _seconds() -> Histogram:
    return Histogram(_TIMES)


def _sizes() -> Histogram:
    return Histogram(_SIZES)


answered: dict[tuple[Label, ...], Counter] = {}
"""By endpoint and status."""
request_seconds: dict[tuple[Label, ...], Histogram] = {}
"""By endpoint."""
DECLARED.append(
    Declared("bitespeed_requests_total", "Requests answered", ("endpoint", "status"), answered)
)
DECLARED.append(
    Declared(
        "bitespeed_request_seconds",
        "Time from the head of a request to its answer",
        ("endpoint",),
        request_seconds,
    )
)


def count_endpoints(names: Iterable[str]) -> None:
    """Count the requests to these endpoints under their names; those to others are `OTHER`.

    Every worker calls it with the same names before the counters are shared.
    """
    for name in names:
        request_seconds[name,] = _seconds()
        for status in STATUSES:
            answered[name, status] = Counter()


count_endpoints([OTHER])


def count_request(endpoint: str, status: int, seconds: float) -> None:
    """Count an answered request. An endpoint or a status not declared counts as `OTHER`."""
    timed = request_seconds.get((endpoint,))
    if timed is None:
        endpoint, timed = OTHER, request_seconds[OTHER,]
    timed.observe(seconds)
    counted = answered.get((endpoint, status))
    (counted or answered[endpoint, OTHER]).add()


unavailable = _by(
    Counter,
    "bitespeed_unavailable_total",
    "Requests answered with 503, by the reason",
    reason=REASONS,
)
failures = _single(
    Counter,
    "bitespeed_failures_total",
    "Unexpected errors, each with a log line at level error",
)
batch_observations = _single(
    _sizes, "bitespeed_batch_observations", "Observations that were decided in one batch"
)
stage_seconds = _by(
    _seconds,
    "bitespeed_stage_seconds",
    "Time that a batch took at a stage; gather is how long its first observation waited",
    stage=STAGES,
)
queue = _single(
    Gauge, "bitespeed_queue_observations", "Observations waiting or under way in all workers"
)
queue_limit = _single(
    Gauge,
    "bitespeed_queue_limit_observations",
    "How many observations may wait or be under way in all workers; beyond it, 503",
)
conflicts = _single(
    Counter,
    "bitespeed_conflicts_total",
    "Commits refused because another one was faster; each is tried again",
)
contentions = _single(
    Counter,
    "bitespeed_contentions_total",
    "Batches given up because the last attempt met a conflict too",
)
contacts_created = _single(Counter, "bitespeed_contacts_created_total", "Contacts created")
contacts_deleted = _single(Counter, "bitespeed_contacts_deleted_total", "Contacts deleted")
identities_created = _single(Counter, "bitespeed_identities_created_total", "Identities created")
identities_merged = _single(
    Counter, "bitespeed_identities_merged_total", "Identities ended by a merge with another"
)
pairs_seen = _single(
    Counter,
    "bitespeed_pairs_seen_total",
    "Pairs of known values of one identity, kept as facts without a contact",
)
cache_lookups = _by(
    Counter,
    "bitespeed_cache_lookups_total",
    "Observations looked up in the cache; away means that it did not answer",
    result=("hit", "miss", "away"),
)
cache_failures = _single(
    Counter, "bitespeed_cache_failures_total", "Commands that the cache did not answer in time"
)
cache_breaker_open = _single(
    Gauge,
    "bitespeed_cache_breaker_open",
    "Workers that pause using the cache because it failed",
)
cache_suspensions = _single(
    Counter, "bitespeed_cache_suspensions_total", "How often a worker suspended the cache"
)
pool_connections = _by(
    Gauge,
    "bitespeed_pool_connections",
    "Connections to the database server; waiting counts the work that has none yet",
    state=("used", "idle", "waiting"),
)
pool_limit = _single(
    Gauge, "bitespeed_pool_limit_connections", "How many connections all workers together may open"
)
log_lines_dropped = _single(
    Counter,
    "bitespeed_log_lines_dropped_total",
    "Log lines dropped, not being writable at once",
)
large_identities = _single(
    Counter,
    "bitespeed_large_identities_total",
    "Identities that grew to BITESPEED_LARGE_IDENTITY contacts or more, each counted once an hour",
)
worker_replacements = _single(
    Counter, "bitespeed_worker_replacements_total", "Workers started in place of one that died"
)

WORKERS = "bitespeed_workers"
BUILD = "bitespeed_build_info"
COMPUTED = {
    WORKERS: ("gauge", (), "Worker processes alive"),
    BUILD: ("gauge", ("version", "python"), "Version of this software and of Python; always 1"),
}
"""Metrics that are computed when `/metrics` is read."""
