"""Bringing everything from one store into another, and seeing that both hold the same."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

from bitespeed.model.records import IdentityRecords
from bitespeed.stores.protocols import AnyStore, BulkStore, ScannableStore

MAX_DIFFERENCES = 1000  # found before the search ends; by then the cause matters, not the number


@dataclass
class CopyCounts:
    """What has been read so far."""

    identities: int = 0
    contacts: int = 0
    events: int = 0
    last_event: int = 0

    def add(self, page: list[IdentityRecords]) -> None:
        """Count a page."""
        for identity in page:
            self.identities += identity.root_id is not None
            self.contacts += len(identity.contacts)
            self.events += len(identity.events)
            if identity.events:
                self.last_event = max(self.last_event, identity.events[-1].seq)


OnPage = Callable[[CopyCounts], None]
"""Called after each page with how far the copy is."""


_Pair = tuple[IdentityRecords | None, IdentityRecords | None]


class Difference(NamedTuple):
    """Where a copy differs from its source; named by ids, so that it may be logged."""

    identity: int | None
    what: str


@dataclass
class Comparison:
    """How a copy differs from its source.

    ``changed`` counts the identities that something has happened to in the source since it was
    copied; that they differ is no fault of the copy.
    """

    changed: int = 0
    differences: list[Difference] = field(default_factory=list[Difference])

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same, row by row."""
        return not (self.changed or self.differences)


async def copy(source: AnyStore, target: BulkStore, on_page: OnPage = lambda _: None) -> CopyCounts:
    """Bring all that the source holds as of one instant into an empty target, ids and all.

    Whole or not at all, also when either fails or it is interrupted; but for API keys, which come
    first and may be there already. Raises `InvalidInput` when the target is not empty.
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
    """Every identity in which the two differ, up to `MAX_DIFFERENCES`.

    Each is read as of one instant. What happened in the source after the last event that was
    copied is distinguished from differences.
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
            if comparing.has_enough():
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
        self._ended: set[int | None] = set()  # merged into another one, or erased, since

    def add(self, our: IdentityRecords | None, their: IdentityRecords | None) -> None:
        """Compare what has the same root, either of which may be missing."""
        if our is None:
            assert their is not None  # noqa: S101 - one of the two is there
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

    def has_enough(self) -> bool:
        """Whether to look no further."""
        return len(self._differences) >= MAX_DIFFERENCES

    def finish(self) -> Comparison:
        """What was found, by identity."""
        self._differences += [
            Difference(root, "is only in the copy") for root in self._only_in_copy - self._ended
        ]
        self._differences.sort(key=lambda difference: difference.identity or 0)
        return Comparison(self._changed, self._differences[:MAX_DIFFERENCES])


async def _side_by_side(
    ours: AsyncIterable[list[IdentityRecords]], theirs: AsyncIterable[list[IdentityRecords]]
) -> AsyncGenerator[Iterator[_Pair]]:
    """The identities of both in the order of their roots, paired where both have one."""
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
    """Take pairs away until one side has no more; all that is left where it had none at all."""
    is_last = not our or not their
    while (our and their) or (is_last and (our or their)):
        first = min(_place(our), _place(their))
        yield (
            our.popleft() if _place(our) == first else None,
            their.popleft() if _place(their) == first else None,
        )


def _place(side: deque[IdentityRecords]) -> float:
    """Of the next one in the order of a scan: rows that belong to no identity come first."""
    return side[0].root_id or 0 if side else float("inf")


def _is_equal(our: IdentityRecords, their: IdentityRecords) -> bool:
    return (
        our.heads == their.heads
        and our.contacts == their.contacts
        and our.events == their.events
        and set(our.identifiers) == set(their.identifiers)  # they come in no order
        and (our.tombstones, our.secrets) == (their.tombstones, their.secrets)
    )


def _unlike(our: IdentityRecords, their: IdentityRecords) -> str:
    """What differs, by the ids of its rows."""
    return "; ".join(_parts(our, their))


def _parts(our: IdentityRecords, their: IdentityRecords) -> Iterator[str]:
    for name, mine, others in (
        ("identities", our.heads, their.heads),
        ("contacts", our.contacts, their.contacts),
        ("events", our.events, their.events),
    ):
        ids = sorted({row[0] for row in set(mine).symmetric_difference(others)})
        if ids:
            yield f"{name} {_some(ids)}"
    unlike = set(our.identifiers).symmetric_difference(their.identifiers)
    if unlike:
        yield f"identifiers ({', '.join(sorted({row.kind for row in unlike}))})"
    if (our.tombstones, our.secrets) != (their.tombstones, their.secrets):
        yield "tombstones"


def _some(ids: list[int], limit: int = 10) -> str:
    shown = ", ".join(map(str, ids[:limit]))
    return shown if len(ids) <= limit else f"{shown} and {len(ids) - limit} more"
