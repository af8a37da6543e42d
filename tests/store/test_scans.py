"""Reading everything that a store has, page by page."""

import asyncio
from contextlib import aclosing

import pytest

from bitespeed.stores import pages
from bitespeed.stores.postgres.bulk import scan as postgres_scan
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    on_one_store,
    on_two_stores,
    stores,
)
from support.stores import (
    decide,
    delete_contact,
    write,
)


async def scanned(store):
    async with aclosing(store.scan()) as pages:
        return [identity async for page in pages for identity in page]


def test_scan_returns_all_records_of_every_tenant(backend):
    async def test(store):
        await write(store, (" A@x", "1"), ("b@x", "2"), ("a@x", "3"), ("b@x", "1"))
        await store.commit("other", await decide(store, ("a@x", "1"), tenant="other"))
        await delete_contact(store, 2)
        merged, alone = await scanned(store)
        assert (merged.root_id, [head.id for head in merged.heads]) == (1, [1, 2])
        assert [(c.id, c.identity_id, c.raw_email) for c in merged.contacts] == [
            (1, 1, " A@x"),
            (2, 2, None),
            (3, 1, None),
        ]
        assert [c.deleted_at is None for c in merged.contacts] == [True, False, True]
        assert sorted((i.kind, i.value) for i in merged.identifiers) == [
            ("email", "a@x"),
            ("phone", "1"),
            ("phone", "3"),
        ]
        assert [event.kind for event in merged.events] == [
            "contact.created",
            "contact.created",
            "contact.created",
            "identities.merged",
            "contact.deleted",
        ]
        ours = {row.tenant for row in (*merged.heads, *merged.contacts, *merged.events)}
        assert ours == {DEFAULT_TENANT}
        assert (alone.root_id, alone.heads[0].tenant, alone.contacts[0].tenant) == (
            4,
            "other",
            "other",
        )

    on_one_store(backend, test)


def test_scan_returns_rows_without_identity_first(backend):
    async def main():
        async with stores(backend) as (store,):
            await write(store, ("a@x", "1"), ("b@x", "2"))
            backend.query("delete from identity where id = 2")
            astray, sound = await scanned(store)
            assert (astray.root_id, sound.root_id) == (None, 1)
            assert [c.id for c in astray.contacts] == [2]
            assert len(astray.identifiers) == 2
            assert len(astray.events) == 1

    asyncio.run(main())


def test_scan_pages_show_one_instant(backend, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_SIZE", 1)
    monkeypatch.setattr(postgres_scan, "FETCH_ROWS", 1)

    async def test(store, other):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(5)])
        seen = []
        async with aclosing(store.scan()) as pages:
            async for (identity,) in pages:
                seen.append((identity.root_id, len(identity.contacts)))
                if len(seen) == 1:
                    await write(other, ("3@x", "33"), ("4@x", "2"), ("new@x", None))
        assert seen == [(n, 1) for n in range(1, 6)]
        assert len(await scanned(store)) == 5

    on_two_stores(backend, test)


def test_abandoned_scan_can_be_started_again(backend, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_SIZE", 1)

    async def test(store):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(5)])
        for _ in range(3):
            async with aclosing(store.scan()) as pages:
                async for _page in pages:
                    break
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving is what is tested
                async with aclosing(store.scan()) as pages:
                    async for _page in pages:
                        1 / 0  # noqa: B018 - whatever the reader does wrong
            async with aclosing(store.scan()):
                pass
        assert len(await scanned(store)) == 5

    on_one_store(backend, test)
