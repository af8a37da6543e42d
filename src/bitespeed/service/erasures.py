"""What the store knows about a data subject, and about values that were erased."""

from collections.abc import Mapping, Sequence

from bitespeed.model.identifiers import Observation
from bitespeed.rules.erase import Subject, SubjectRecords, Value, pseudonym, subject_records
from bitespeed.service.attempts import contention
from bitespeed.stores.protocols import Store

MAX_READS = 12  # of a subject's records; each may show further values, in practice the first does


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
