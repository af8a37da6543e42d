"""The progress bar of every command that takes longer than a moment."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bitespeed.cli.common import err


class Bar:
    """A bar on standard error, where that is a terminal; see `progress_bar`."""

    def __init__(self, progress: Progress, counted: str) -> None:
        self._progress = progress
        self._counted = counted

    def show(self, done: float, count: int | None = None) -> None:
        """Show how much of the total is done, and how many that are where this differs."""
        (task,) = self._progress.tasks
        count = int(done) if count is None else count
        rate = count / (task.elapsed or 1.0)
        text = f"{count:,} {self._counted}, {rate:,.0f}/s" if self._counted else ""
        self._progress.update(task.id, completed=done, count=text)

    def show_step(self, step: str, done: int, total: int | None, count: int | None = None) -> None:
        """Show how much is done of a step, as `show`; ``total`` is None where it is unknown."""
        (task,) = self._progress.tasks
        task.total = total
        self._progress.update(task.id, description=step)
        self.show(done, count)


@contextmanager
def progress_bar(step: str, counted: str = "", total: float | None = None) -> Generator[Bar]:
    """A bar for what is done, and gone at its end; without a total it moves to and fro.

    ``counted`` is a plural noun: what is counted beside the bar, with the rate.
    """
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    columns = *columns, TextColumn("{task.fields[count]}"), TimeElapsedColumn()
    columns = *columns, TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        progress.add_task(step, total=total, count="")
        yield Bar(progress, counted)
