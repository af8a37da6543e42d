"""Answers with so many contacts that making one would hold up everybody else.

They are made one at a time in a process, on a thread of their own. A large identity is read in
turn too: who meets one unexpectedly lets go of what was read, and reads again in its turn. So
memory holds one of them, however many requests name it, and the event loop goes on with small ones.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from bitespeed.errors import AnswerTooLarge
from bitespeed.model.identity import Answer, Snapshot

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

LARGE_ANSWER = 2_000  # contacts; to sort and to encode them takes a millisecond or two
MAX_SMALL = LARGE_ANSWER - 1  # contacts of what is read without a turn
MAX_REMEMBERED = 10_000  # names of large identities; about 2 MB


class MetLarge(Exception):
    """An identity that was read without a turn is large; it is remembered by now."""


class LargeAnswers:
    """The large identities met lately, by their values and contact ids, and the turn of each."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        # A plain dict would iterate over the places of removed entries.
        self._identities: OrderedDict[int, int] = OrderedDict()
        self._answers: WeakValueDictionary[tuple[str, int], Answer] = WeakValueDictionary()
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
            if not is_large:
                self._identities.pop(key, None)
            elif self._identities.get(key) != primary_id:
                # Not each time: an entry made while a large identity is in memory keeps pieces of
                # that memory from being given back.
                self._identities[key] = primary_id
        while len(self._identities) > MAX_REMEMBERED:
            self._identities.popitem(last=False)  # the oldest

    def remember_read(self, tenant: str, snapshot: Snapshot) -> bool:
        """Remember the values in it that are of large identities; whether there are any."""
        large = {i.id: i for i in snapshot.identities.values() if i.contacts >= LARGE_ANSWER}
        if not large:
            return False
        for name, id_ in (*snapshot.emails.items(), *snapshot.phones.items()):
            if id_ in large:
                self.remember(tenant, [name], large[id_].primary_id, large[id_].contacts)
        return True

    async def answer(self, tenant: str, stamp: int | None, make: Callable[[], Answer]) -> Answer:
        """The answer that ``make`` makes, on the thread; or the one that somebody still has of the
        identity with this stamp, as no other state has it.
        """
        answer = None if stamp is None else self._answers.get((tenant, stamp))
        if answer is None:
            answer = await self._make(make)
            if stamp is not None:
                self._answers[tenant, stamp] = answer
        return answer

    async def _make(self, work: Callable[[], Answer]) -> Answer:
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
