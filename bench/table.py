"""What the pages share: a table with a row for each figure, and where and when it was measured."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from bench.figures import Summary
from bench.results import Part
from bench.size import LONE, Sizes
from bench.targets import TARGETS

Format = Callable[[float], str]

NAMES = {"repeats": "Repeats", "new": "New customers", "mix": "Mix, 90 % repeats and 10 % new"}


@dataclass(frozen=True)
class Row:
    """One line of the table; ``key`` names it in `bench.targets`, ``command`` measures it anew."""

    key: str
    what: str
    value: float
    show: Format
    measured: str
    spread: str
    command: str

    def line(self) -> str:
        """The row in Markdown."""
        cells = self.what, self.target(), self.measured, self.spread, f"`{self.command}`"
        return f"| {' | '.join(cells)} |"

    def target(self) -> str:
        """The target, and whether the figure misses it; empty where the row has none."""
        target = TARGETS.get(self.key)
        if target is None:
            return ""
        bound = "at least" if target.at_least else "at most"
        met = "" if target.is_met(self.value) else " (missed)"
        return f"{bound} {self.show(target.bound)}{met}"


def size_rows(of: Sizes, prefix: str, command: str) -> Iterator[Row]:
    """Rows about two sizes of a database; ``prefix`` stands before their keys."""
    for connections, those in of.by_connections.items():
        load = "one after the other" if connections == LONE else f"{connections} connections"
        yield Row(
            f"{prefix}size-{connections}",
            f"Repeats, {load}: p50 with {of.big_contacts:,} contacts, "
            f"beside that with {of.small_contacts:,}",
            those.ratio.median,
            times,
            f"**{times(those.ratio.median)}** "
            f"({millis(those.big.median)} beside {millis(those.small.median)})",
            spread(those.ratio, times),
            command,
        )


def percent(share: float) -> str:
    """A share as it is shown; so below for other kinds of figures."""
    return f"{share * 100:.0f} %"


def times(ratio: float) -> str:
    return f"{ratio:.2f} times"


def micros(microseconds: float) -> str:
    return f"{microseconds:.1f} µs"


def millis(milliseconds: float) -> str:
    return f"{milliseconds:.2f} ms" if milliseconds < 1 else f"{milliseconds:.1f} ms"


def kilobytes(size: float) -> str:
    return f"{size / 1000:.0f} KB"


def spread(of: Summary, show: Format) -> str:
    """The range of the middle half of the values."""
    return f"{show(of.low)} to {show(of.high)}" if of.count > 1 else "one run"


def lines(of: Iterable[Row]) -> str:
    """The body of the table."""
    return "\n".join(row.line() for row in of)


def taken(parts: Mapping[str, Part[object] | None]) -> str:
    """Where and when each part was measured; one line where that is the same for all."""
    by_place: dict[str, list[str]] = {}
    for name, part in parts.items():
        if part is not None:
            by_place.setdefault(where(part), []).append(name)
    if len(by_place) == 1:
        return next(iter(by_place)) + "."
    return "\n".join(f"- {', '.join(names)}: {place}." for place, names in by_place.items())


def where(part: Part[object]) -> str:
    """When it was, on which machine and with what software."""
    on = part.machine
    return (
        f"{part.date}, {on.cpu}, {on.cores} cores, {on.memory}, {on.system}, Python {on.python},"
        f" {on.postgres or f'SQLite {on.sqlite}'}"
    )
