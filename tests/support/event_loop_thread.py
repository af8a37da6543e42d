"""An event loop in a thread of its own, so that what serves is not held up by a test."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

LOOP_TIMEOUT = 15.0  # seconds for a coroutine to end; it is idle otherwise


class Background:
    """The loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, run in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LOOP_TIMEOUT)


@contextmanager
def background() -> Iterator[Background]:
    """A loop that runs meanwhile; tasks still under way at the end are cancelled."""
    own = Background()
    thread = threading.Thread(target=own._loop.run_forever, daemon=True)
    thread.start()
    try:
        yield own
    finally:
        own.run(_cancel_all())
        own._loop.call_soon_threadsafe(own._loop.stop)
        thread.join(LOOP_TIMEOUT)
        own._loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
