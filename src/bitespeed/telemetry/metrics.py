"""Every metric there is, declared once.

Labels have a fixed set of values, so that what is kept is bounded whatever is sent: a tenant is
none. docs/metrics.md is made from this file.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from bitespeed.telemetry.shared_counters import shared_counters


class Counter:
    """A number that only grows, over all workers and their deaths."""

    kind = "counter"

    def __init__(self) -> None:
        self.slot = shared_counters.reserve()

    def add(self, count: float = 1) -> None:
        """Count so many more."""
        shared_counters.values[self.slot] += count

    @property
    def value(self) -> float:
        """What this process has counted, and one that died before in its place."""
        return shared_counters.values[self.slot]


class Gauge:
    """A number that goes up and down, and is 0 again when its process has ended."""

    kind = "gauge"

    def __init__(self) -> None:
        self.slot = shared_counters.reserve(transient=True)

    def set(self, value: float) -> None:
        """It is so much now."""
        shared_counters.values[self.slot] = value

    def add(self, count: float) -> None:
        """It is so much more now, or less."""
        shared_counters.values[self.slot] += count


class Histogram:
    """How often something was at most so much; ``bounds`` are upper ones, beside infinity."""

    kind = "histogram"

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.slot = shared_counters.reserve(
            len(bounds) + 2
        )  # the sum, a slot for each bound, one beyond

    def observe(self, value: float) -> None:
        """It was so much this time."""
        values, slot = shared_counters.values, self.slot
        values[slot] += value
        values[slot + 1 + bisect_left(self.bounds, value)] += 1


Series = TypeVar("Series", Counter, Gauge, Histogram)


Label = str | int


class Declared(NamedTuple):
    """A metric and its series, by the values of its labels."""

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


requests: dict[tuple[Label, ...], Counter] = {}
"""By endpoint and status."""
request_seconds: dict[tuple[Label, ...], Histogram] = {}
"""By endpoint."""
DECLARED.append(
    Declared("bitespeed_requests_total", "Requests answered", ("endpoint", "status"), requests)
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
            requests[name, status] = Counter()


count_endpoints([OTHER])


def count_request(endpoint: str, status: int, seconds: float) -> None:
    """Count an answered request. An endpoint or a status not declared counts as `OTHER`."""
    timed = request_seconds.get((endpoint,))
    if timed is None:
        endpoint, timed = OTHER, request_seconds[OTHER,]
    timed.observe(seconds)
    counted = requests.get((endpoint, status))
    (counted or requests[endpoint, OTHER]).add()


unavailable = _by(
    Counter,
    "bitespeed_unavailable_total",
    "Requests answered with 503, by the reason",
    reason=REASONS,
)
failures = _single(
    Counter,
    "bitespeed_failures_total",
    "Things that must not happen, each with a line of log at level error",
)
batch_observations = _single(
    _sizes, "bitespeed_batch_observations", "Observations that were settled together"
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
    "How many may wait or be under way in all workers; beyond it, 503",
)
conflicts = _single(
    Counter,
    "bitespeed_conflicts_total",
    "Commits refused since somebody else was faster; each is tried again",
)
contentions = _single(
    Counter,
    "bitespeed_contentions_total",
    "Batches given up after the last attempt met a conflict too",
)
contacts_created = _single(Counter, "bitespeed_contacts_created_total", "Contacts created")
contacts_deleted = _single(Counter, "bitespeed_contacts_deleted_total", "Contacts deleted")
identities_created = _single(Counter, "bitespeed_identities_created_total", "Identities created")
identities_merged = _single(
    Counter, "bitespeed_identities_merged_total", "Identities ended by a merge with another"
)
cache_lookups = _by(
    Counter,
    "bitespeed_cache_lookups_total",
    "Observations looked up in the cache; away is without an answer from it",
    result=("hit", "miss", "away"),
)
cache_failures = _single(
    Counter, "bitespeed_cache_failures_total", "Commands that the cache did not answer in time"
)
cache_breaker_open = _single(
    Gauge, "bitespeed_cache_breaker_open", "Workers that leave the cache alone for a while"
)
cache_suspensions = _single(
    Counter, "bitespeed_cache_suspensions_total", "Times that the cache was suspended by a worker"
)
pool_connections = _by(
    Gauge,
    "bitespeed_pool_connections",
    "Connections to the database server; waiting are those who need one and have none",
    state=("used", "idle", "waiting"),
)
pool_limit = _single(
    Gauge, "bitespeed_pool_limit_connections", "How many there may be, of all workers"
)
log_lines_dropped = _single(
    Counter, "bitespeed_log_lines_dropped_total", "Lines of log that nobody took in time"
)
large_identities = _single(
    Counter,
    "bitespeed_large_identities_total",
    "Identities that grew to BITESPEED_LARGE_IDENTITY contacts or beyond, each told once an hour",
)
worker_replacements = _single(
    Counter, "bitespeed_worker_replacements_total", "Workers that took the place of one that died"
)

WORKERS = "bitespeed_workers"
BUILD = "bitespeed_build_info"
COMPUTED = {
    WORKERS: ("gauge", (), "Worker processes alive"),
    BUILD: ("gauge", ("version", "python"), "What runs; always 1"),
}
"""What is not counted but known when asked."""
