"""Read, decide, commit; and again when somebody else was faster."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bitespeed.errors import Conflict, Contention
from bitespeed.telemetry import metrics

T = TypeVar("T")

MAX_ATTEMPTS = 12  # with the pauses about half a second
FIRST_PAUSE = 0.001  # seconds; the limit doubles with each attempt, a pause is random below it ...
LONGEST_PAUSE = 0.1  # ... so that processes that conflict do not meet again


async def until_committed(attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of the first attempt that does not raise `Conflict`.

    ``attempt`` reads, decides and commits. Raises `Contention` after `MAX_ATTEMPTS`, and whatever
    else an attempt raises.
    """
    max_pause = FIRST_PAUSE
    for _ in range(MAX_ATTEMPTS):
        try:
            return await attempt()
        except Conflict:
            await _pause(max_pause)
        max_pause = min(2 * max_pause, LONGEST_PAUSE)
    raise contention()


async def _pause(max_pause: float) -> None:
    from random import uniform  # not at each start of a Lambda function

    metrics.conflicts.add()
    await asyncio.sleep(uniform(0, max_pause))  # noqa: S311 - no secret


def contention() -> Contention:
    """The error for a caller whose attempts are used up; counted."""
    metrics.contentions.add()
    return Contention("Others keep changing the same identity; try again")
