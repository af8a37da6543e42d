"""What many noisy runs say together."""

import statistics
from collections.abc import Sequence

import msgspec


class Summary(msgspec.Struct, frozen=True):
    """The median of some values, and how they spread."""

    median: float
    low: float
    """The first quartile, or the lowest of fewer than eight values."""
    high: float
    least: float
    most: float
    count: int


FEW = 8  # values; of fewer than these, quartiles say little


def summarise(values: Sequence[float]) -> Summary:
    """The summary of one or more values."""
    least, most = min(values), max(values)
    low, high = least, most
    if len(values) >= FEW:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Summary(statistics.median(values), low, high, least, most, len(values))


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Pair by pair: what was measured side by side shared the machine's mood."""
    return [one / other for one, other in zip(numerators, denominators, strict=True)]


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the line of least squares through two or more points."""
    return statistics.linear_regression(xs, ys).slope
