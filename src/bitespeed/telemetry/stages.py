"""Times the stages of a batch, as metrics and as spans."""

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
    """Record the size of a batch, and how many seconds its first observation waited."""
    metrics.batch_observations.observe(observations)
    _GATHER.observe(waited)


def record_lookup(seconds: float) -> None:
    """Record how many seconds a look-up in the cache took."""
    _CACHE.observe(seconds)


def batch(
    requests: Sequence[Request | None], came: float, lookup_began: float | None
) -> AbstractContextManager[None]:
    """A span for the batch of these requests, from when the first one ``came``.

    A look-up in the cache lasted from ``lookup_began`` until now. Both are by `time.monotonic`.
    """
    if not tracing.is_on():
        return _NOTHING
    spans = [request.span for request in requests if request is not None]
    return tracing.batch(spans, came, lookup_began)


class stage:  # noqa: N801 - used as: with stage("read")
    """Times one stage of a batch."""

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
        traceback: TracebackType | None,
    ) -> None:
        metrics.stage_seconds[self._name].observe(perf_counter() - self._began)
        if self._span is not None:
            tracing.end(self._span, kind)
