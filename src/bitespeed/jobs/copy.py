"""Copy a whole store into another, and compare the two."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

from bitespeed.model.records import IdentityRecords
from bitespeed.stores.protocols import AnyStore, BulkStore, ScannableStore

MAX_DIFFERENCES = 1000  # the search ends there, as the cause matters then, not the number


@dataclass
class CopyCounts:
    """How much was read so far."""

    identities: int = 0
    contacts: int = 0
    events: int = 0
    last_event: int = 0

    def add(self, page: list[IdentityRecords]) -> None:
        """Count the rows of a page."""
        for identity in page:
            self.identities += identity.root_id is not None
            self.contacts += len(identity.contacts)
            self.events += len(identity.events)
            if identity.events:
                self.last_event = max(self.last_event, identity.events[-1].seq)


OnPage = Callable[[CopyCounts], None]
"""Called after each page with the counts so far."""


_Pair = tuple[IdentityRecords | None, IdentityRecords | None]


class Difference(NamedTuple):
    """A difference between a copy and its source, described by ids, so that it may be logged."""

    identity: int | None
    what: str


@dataclass
class Comparison:
    """How a copy differs from its source.

    ``changed`` counts the identities that the source changed after the copy. That they differ is no
    mistake of the copy.
    """

    changed: int = 0
    differences: list[Difference] = field(default_factory=list[Difference])

    @property
    def is_equal(self) -> bool:
        """Whether both have the same rows."""
        return not (self.changed or self.differences)


async def copy(source: AnyStore, target: BulkStore, on_page: OnPage = lambda _: None) -> CopyCounts:
    """Copy the source, as of one instant and with all ids, into an empty target.

    All is copied or nothing, also if a store fails or the copy is interrupted; except API keys,
    which are copied first, and may exist already. Raises `InvalidInput` if the target is not empty.
    """
    for key in await source.keys():
        await target.put_key(key)
    copied = CopyCounts()
    async with (
        aclosing(source.scan()) as scanned,
        aclosing(_counted(scanned, copied, on_page)) as pages,
    ):
        await target.load(pages)
    return copied


async def compare(
    source: ScannableStore,
    target: ScannableStore,
    copied: CopyCounts,
    on_page: OnPage = lambda _: None,
) -> Comparison:
    """Every identity that differs between the two, up to `MAX_DIFFERENCES`.

    Each store is read as of one instant. Identities that the source changed after the last copied
    event are counted apart from differences.
    """
    comparing = _Comparing(copied.last_event)
    async with (
        aclosing(source.scan()) as scanned,
        aclosing(_counted(scanned, CopyCounts(), on_page)) as ours,
        aclosing(target.scan()) as theirs,
        aclosing(_side_by_side(ours, theirs)) as pairs,
    ):
        async for page in pairs:
            for our, their in page:
                comparing.add(our, their)
            if comparing.is_full():
                break
    return comparing.finish()


async def _counted(
    pages: AsyncIterable[list[IdentityRecords]], counts: CopyCounts, on_page: OnPage
) -> AsyncGenerator[list[IdentityRecords]]:
    async for page in pages:
        yield page
        counts.add(page)
        on_page(counts)


class _Comparing:
    def __init__(self, last_event: int) -> None:
        self._last_event = last_event
        self._changed = 0
        self._differences: list[Difference] = []
        self._only_in_copy: set[int | None] = set()
        self._ended: set[int | None] = set()  # merged or erased after the copy

    def add(self, our: IdentityRecords | None, their: IdentityRecords | None) -> None:
        """Compare two identities with the same root. One of them may be missing."""
        if our is None:
            assert their is not None  # noqa: S101 - a pair has at least one
            self._only_in_copy.add(their.root_id)
        elif their is None or not _is_equal(our, their):
            since = [event for event in our.events if event.seq > self._last_event]
            if since:
                self._changed += len(since) if our.root_id is None else 1
                self._ended.update(event.merged_id for event in since)
                self._ended.update(e.identity_id for e in since if e.kind == "identity.erased")
            else:
                what = "is not in the copy" if their is None else _unlike(our, their)
                self._differences.append(Difference(our.root_id, what))

    def is_full(self) -> bool:
        """Whether there are `MAX_DIFFERENCES`."""
        return len(self._differences) >= MAX_DIFFERENCES

    def finish(self) -> Comparison:
        """The differences, sorted by identity."""
        self._differences += [
            Difference(root, "is only in the copy") for root in self._only_in_copy - self._ended
        ]
        self._differences.sort(key=lambda difference: difference.identity or 0)
        return Comparison(self._changed, self._differences[:MAX_DIFFERENCES])


async def _side_by_side(
    ours: AsyncIterable[list[IdentityRecords]], theirs: AsyncIterable[list[IdentityRecords]]
) -> AsyncGenerator[Iterator[_Pair]]:
    """Pairs of identities with the same root, in the order of roots."""
    our_pages, their_pages = aiter(ours), aiter(theirs)
    our, their = deque[IdentityRecords](), deque[IdentityRecords]()
    while True:
        if not our:
            our.extend(await anext(our_pages, list[IdentityRecords]()))
        if not their:
            their.extend(await anext(their_pages, list[IdentityRecords]()))
        if not our and not their:
            return
        yield _pairs(our, their)


def _pairs(our: deque[IdentityRecords], their: deque[IdentityRecords]) -> Iterator[_Pair]:
    """Take pairs until one side is empty; if it was empty from the start, all of the other side."""
    is_last = not our or not their
    while (our and their) or (is_last and (our or their)):
        first = min(_place(our), _place(their))
        yield (
            our.popleft() if _place(our) == first else None,
            their.popleft() if _place(their) == first else None,
        )


def _place(side: deque[IdentityRecords]) -> float:
    """The position of the next identity in a scan: rows without an identity come first."""
    return side[0].root_id or 0 if side else float("inf")


def _is_equal(our: IdentityRecords, their: IdentityRecords) -> bool:
    return (
        our.heads == their.heads
        and our.contacts == their.contacts
        and our.events == their.events
        and set(our.identifiers) == set(their.identifiers)  # a scan returns them in any order
        and (our.tombstones, our.secrets) == (their.tombstones, their.secrets)
    )


def _unlike(our: IdentityRecords, their: IdentityRecords) -> str:
    """The differing rows, by their ids."""
    return "; ".join(_parts(our, their))


def _parts(our: IdentityRecords, their: IdentityRecords) -> Iterator[str]:
    for name, mine, others in (
        ("identities", our.heads, their.heads),
        ("contacts", our.contacts, their.contacts),
        ("events", our.events, their.events),
    ):
        ids = sorted({row[0] for row in set(mine).symmetric_difference(others)})
        if ids:
            yield f"{name} {_listed(ids)}"
    unlike = set(our.identifiers).symmetric_difference(their.identifiers)
    if unlike:
        yield f"identifiers ({', '.join(sorted({row.kind for row in unlike}))})"
    if (our.tombstones, our.secrets) != (their.tombstones, their.secrets):
        yield "tombstones"


def _listed(ids: list[int], limit: int = 10) -> str:
    shown = ", ".join(map(str, ids[:limit]))
    return shown if len(ids) <= limit else f"{shown} and {len(ids) - limit} more"
