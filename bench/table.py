"""What the pages share: a table with a row for each figure, and where and when it was measured."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from bench.asked import ASKED
from bench.figures import Summary
from bench.results import Part
from bench.size import LONE, Sizes

Format = Callable[[float], str]

NAMES = {"repeats": "Repeats", "new": "New customers", "mix": "Mix, 90 % repeats and 10 % new"}


@dataclass(frozen=True)
class Row:
    """One line of the table; ``key`` names it in `bench.asked`, ``command`` measures it anew."""

    key: str
    what: str
    value: float
    show: Format
    measured: str
    spread: str
    command: str

    def line(self) -> str:
        """The row in Markdown."""
        cells = self.what, self.asked(), self.measured, self.spread, f"`{self.command}`"
        return f"| {' | '.join(cells)} |"

    def asked(self) -> str:
        """What is asked, and whether it is met; nothing where nothing is."""
        asked = ASKED.get(self.key)
        if asked is None:
            return ""
        bound = "at least" if asked.at_least else "at most"
        met = "" if asked.is_met(self.value) else " (missed)"
        return f"{bound} {self.show(asked.bound)}{met}"


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
    """Between what most of the values are."""
    return f"{show(of.low)} to {show(of.high)}" if of.count > 1 else "one run"


def lines(of: Iterable[Row]) -> str:
    """The body of the table."""
    return "\n".join(row.line() for row in of)


def taken(parts: Mapping[str, Part[object] | None]) -> str:
    """Where and when; once, where that is the same for all."""
    said: dict[str, list[str]] = {}
    for name, part in parts.items():
        if part is not None:
            said.setdefault(where(part), []).append(name)
    if len(said) == 1:
        return next(iter(said)) + "."
    return "\n".join(f"- {', '.join(names)}: {place}." for place, names in said.items())


def where(part: Part[object]) -> str:
    """When it was, on which machine and with what software."""
    on = part.machine
    return (
        f"{part.date}, {on.cpu}, {on.cores} cores, {on.memory}, {on.system}, Python {on.python},"
        f" {on.postgres or f'SQLite {on.sqlite}'}"
    )
