"""Erase a data subject, and know what the store has about one and about values erased before."""

import os
from collections.abc import Mapping, Sequence

from bitespeed.errors import InvalidInput
from bitespeed.model.changes import ErasureCounts, Receipt
from bitespeed.model.identifiers import Observation
from bitespeed.rules.erase import (
    Subject,
    SubjectRecords,
    Value,
    counts_of,
    erase,
    erasure_of,
    pseudonym,
    receipt_of,
    snapshot_of,
    subject_records,
)
from bitespeed.service.attempts import contention, until_committed
from bitespeed.service.commits import Commits
from bitespeed.stores.protocols import Store
from bitespeed.telemetry.requests import Request

MAX_READS = 12  # of a subject's records; each may show further values, in practice the first does
ERASURE_ID = 16  # bytes
SECRET = 32  # bytes


async def erase_subject(
    store: Store,
    commits: Commits,
    tenant: str,
    subject: Subject,
    request: Request | None,
    agreed: ErasureCounts | None,
) -> Receipt:
    """Remove all records about a data subject. Raises `NotFound` when there are none.

    With ``agreed``, raises `InvalidInput` unless that is exactly how much would be removed.
    """
    id_ = os.urandom(ERASURE_ID).hex()

    async def attempt() -> Receipt:
        person = await read_subject_records(store, tenant, subject)
        counts = counts_of(person)
        if agreed is not None and counts != agreed:
            raise InvalidInput(
                "What is stored about this customer has changed since it was counted;"
                " nothing was erased, run the command again"
            )
        known = await store.tombstones(tenant)
        secret = known.secret or os.urandom(SECRET).hex()
        erasure = erasure_of(tenant, person, id_, secret)
        committed = await commits.commit(
            erase(person, erasure), snapshot_of(person), request=request
        )
        return receipt_of(counts, erasure, committed.at)

    return await until_committed(attempt)


async def read_subject_records(store: Store, tenant: str, subject: Subject) -> SubjectRecords:
    """All records about a data subject, as of one instant.

    Raises `NotFound` when there are none, `Contention` when each read showed further values.
    """
    wanted = subject.values()
    for _ in range(MAX_READS):
        stored = await store.records(tenant, wanted, subject.contact)
        person = subject_records(stored, subject)
        if person.all_values <= wanted:
            return person
        wanted |= person.all_values
    raise contention()


async def read_erasures(
    store: Store, tenant: str, observations: Sequence[Observation]
) -> Mapping[Value, int]:
    """When values of the observations were erased, for those that were; microseconds since 1970."""
    secret = (await store.tombstones(tenant)).secret
    if secret is None:
        return {}
    values = {v for o in observations for v in (o.email, o.phone) if v is not None}
    pseudonyms = {value: pseudonym(secret, tenant, value) for value in values}
    known = await store.tombstones(tenant, pseudonyms.values())
    return {v: known.erased_at[p] for v, p in pseudonyms.items() if p in known.erased_at}
