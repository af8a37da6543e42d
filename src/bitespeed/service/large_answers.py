"""Answers with so many contacts that making one would hold up everybody else.

They are made one at a time in a process, on a thread of their own, and so is everything that reads
an identity which was large when it was last answered. So memory holds one of them, however many
requests name it, and the event loop goes on with small ones.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from bitespeed.errors import AnswerTooLarge

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

LARGE_ANSWER = 2_000  # contacts; to sort and to encode them takes a millisecond or two
MAX_REMEMBERED = 10_000  # names of large identities; about 2 MB


class LargeAnswers:
    """The large identities met lately, by their values and contact ids, and the turn of each."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self._identities: dict[int, int] = {}
        self._thread: ThreadPoolExecutor | None = None

    def __bool__(self) -> bool:
        """Whether any is remembered."""
        return bool(self._identities)

    def primary_of(self, tenant: str, names: Iterable[str | int]) -> int | None:
        """The primary contact of a large identity that one of the names is remembered for."""
        for name in names:
            primary_id = self._identities.get(hash((tenant, name)))
            if primary_id is not None:
                return primary_id
        return None

    def remember(
        self, tenant: str, names: Iterable[str | int], primary_id: int, contacts: int
    ) -> None:
        """Remember the names if their identity is large, and forget them if it is not."""
        is_large = contacts >= LARGE_ANSWER
        if not (is_large or self._identities):
            return
        for name in names:
            # Hashes, so that nothing stays of a person who is erased. Where two are equal by
            # chance, one waits for a turn that it does not need.
            key = hash((tenant, name))
            self._identities.pop(key, None)
            if is_large:
                self._identities[key] = primary_id
        while len(self._identities) > MAX_REMEMBERED:
            del self._identities[next(iter(self._identities))]  # the oldest

    async def make(self, work: Callable[[], T]) -> T:
        """The result of the work, done on the thread."""
        if self._thread is None:
            from concurrent.futures import ThreadPoolExecutor  # not at a Lambda's cold start

            self._thread = ThreadPoolExecutor(1, "large-answers")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def too_large(limit: int, contacts: int, primary_id: int) -> AnswerTooLarge | None:
    """The refusal of an answer with more contacts than the limit; None within it."""
    if contacts <= limit:
        return None
    return AnswerTooLarge(
        f"The identity has {contacts} contacts, and an answer here has at most {limit}", primary_id
    )


def batch_too_large(primary_id: int) -> AnswerTooLarge:
    """The refusal of an answer for which those before it in the batch leave no room."""
    return AnswerTooLarge(
        "The answers of this batch are too large together. The observation is written;"
        " send it alone for its answer",
        primary_id,
    )
