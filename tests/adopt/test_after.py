"""The service after an adoption, and the way back."""

import re
from collections import Counter
from pathlib import Path

from bitespeed.jobs.check import check
from bitespeed.model.identifiers import observe
from bitespeed.service.service import Service
from support.adoption import COLUMNS, LIVELY, S, adopted, on_service, on_store
from support.published_table import Row, fill, query, run

DOCUMENT = Path(__file__).parents[2] / "docs" / "adopt.md"


def test_service_works_on_adopted_contacts(database: str) -> None:
    fill(
        database,
        [
            Row(3, "a@x", "1"),
            Row(5, "a@x", "2", created_at=1),  # founded twice by a race
            Row(6, "b@x", "3", created_at=2),
            Row(8, "c@x", "3", 6, S, created_at=3),
            Row(9, "gone@x", "9", created_at=4, deleted_at=5),
            Row(11, "", "", created_at=5),
        ],
    )
    run(database, "select setval('contact_id_seq', 20)")  # 12 to 20 were deleted for good
    adopted(database)

    async def live(service: Service) -> None:
        known = await service.identify(observe("a@x", "2"))
        assert (known.primary_id, known.secondary_ids) == (3, [5])
        linked = await service.identify(observe("a@x", "4"))
        assert (linked.primary_id, linked.secondary_ids) == (3, [5, 21])
        merged = await service.identify(observe("c@x", "4"))
        assert (merged.primary_id, merged.secondary_ids) == (3, [5, 6, 8, 21])
        assert (await service.identify(observe("gone@x", None))).primary_id == 22
        assert (await service.contact(11)).emails == []
        for contact in (3, 11, 8):
            await service.delete(contact)
        rest = await service.identify(observe("a@x", None))
        assert (rest.primary_id, rest.secondary_ids) == (5, [6, 21])
        assert (await service.identify(observe("c@x", None))).primary_id == 23

    on_service(database, live)
    assert on_store(database, check) == []
    events = Counter(kind for (kind,) in query(database, "select kind from bitespeed.event"))
    assert events == {
        "contact.adopted": 6,
        "contact.created": 3,
        "contact.deleted": 4,
        "identities.merged": 1,
    }
    assert query(
        database, "select count(distinct seq), min(seq), max(seq) from bitespeed.event"
    ) == [(14, 1, 14)]


def test_documented_way_back_restores_the_table(database: str) -> None:
    fill(database, LIVELY)
    before = query(database, f"select {COLUMNS} from contact order by id")
    adopted(database)
    (way_back,) = re.findall(
        r"^```sql\n(begin;.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    run(database, way_back)
    assert query(database, f"select {COLUMNS} from contact order by id") == before
    assert query(database, "insert into contact (email) values ('z@x') returning id") == [(5,)]
    result, _ = adopted(database)
    assert result.contacts == 5
