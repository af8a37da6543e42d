"""The way of a batch, timed: how long each stage takes, as metrics and as spans."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from bitespeed.telemetry import metrics, tracing
from bitespeed.telemetry.requests import Request

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Stage = Literal["read", "rule", "commit"]

_NOTHING = nullcontext()
_GATHER, _CACHE = metrics.stage_seconds["gather"], metrics.stage_seconds["cache"]


def gathered(observations: int, waited: float) -> None:
    """So many are to be settled together, the first of which has waited so many seconds."""
    metrics.batch_observations.observe(observations)
    _GATHER.observe(waited)


def looked_up(seconds: float) -> None:
    """The cache has been asked, and took so long."""
    _CACHE.observe(seconds)


def batch(
    requests: Sequence[Request | None], came: float, looked_up: float | None
) -> AbstractContextManager[None]:
    """The way of these requests from when the first one came, with a look into the cache from
    ``looked_up`` until now; both by `time.monotonic`.
    """
    if not tracing.is_on():
        return _NOTHING
    spans = [request.span for request in requests if request is not None]
    return tracing.batch(spans, came, looked_up)


class stage:  # noqa: N801 - reads as what it is: with stage("read")
    """A part of the way of a batch."""

    __slots__ = ("_began", "_name", "_span")

    def __init__(self, name: Stage) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._span: Span | None = tracing.begin(self._name)
        self._began = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        metrics.stage_seconds[self._name].observe(perf_counter() - self._began)
        if self._span is not None:
            tracing.end(self._span, kind)
